"""Deploying follows activation, never stops it, and is tried again until it is done."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from lifecycle.errors import PushcertError, Unavailable, refuse
from lifecycle.instance.deploy.plan import About, Step
from lifecycle.mdm_servers.server import ServerDown

if TYPE_CHECKING:
    from lifecycle.pki.pair import Pair
    from tests.instance.conftest import Executioner, World

HOUR = timedelta(hours=1)


class Place:
    """A target in memory that can be broken."""

    def __init__(self, name: str = "mdm", needs: tuple[str, ...] = ()) -> None:
        self.about = About(name, "nanomdm", f"https://{name}.example", "settings", needs)
        self.has: str | None = None
        self.fault: PushcertError | None = None
        self.deployed = self.verified = 0

    def deploy(self, pair: Pair) -> None:
        if self.fault is not None:
            raise self.fault
        self.deployed += 1
        self.has = pair.certificate.fingerprint

    def verify(self, pair: Pair) -> None:
        if self.fault is not None:
            raise self.fault
        self.verified += 1
        if self.has != pair.certificate.fingerprint:
            raise refuse("deploy_other_expiry", "It has another one.", "Find out why.")


def down() -> ServerDown:
    return ServerDown("mdm.example gave no answer (ConnectError).", "Check that it is running.")


@pytest.fixture
def mdm(world: World) -> Place:
    place = Place()
    world.targets = [place]
    return place


def active(world: World) -> str:
    return world.vault.require_active().certificate.fingerprint


class TestAfterARenewal:
    def test_the_certificate_is_deployed_as_soon_as_it_is_active(
        self, world: World, mdm: Place
    ) -> None:
        outcome = world.agent.upload(world.renew_until_upload())
        assert [d.what for d in outcome.done] == ["activated", "activation_reported", "deployed"]
        assert mdm.has == active(world)
        (report,) = world.vendor.deployments
        assert (report.target, report.target_kind, report.code) == ("mdm", "nanomdm", None)
        assert report.fingerprint == active(world)

    def test_a_target_that_fails_does_not_stop_activation(self, world: World, mdm: Place) -> None:
        mdm.fault = refuse("mdm_server_denied", "The key is wrong.", "Mend it.")
        outcome = world.agent.upload(world.renew_until_upload())
        assert outcome.activated
        assert outcome.done[-1].what == "deploy_failed"
        assert len(world.vendor.activations) == 1
        (report,) = world.vendor.deployments
        assert report.code == "mdm_server_denied"
        assert report.message == "The key is wrong. Mend it."
        assert report.again_at is not None

    def test_it_is_tried_again_with_longer_waits_until_it_works(
        self, world: World, mdm: Place
    ) -> None:
        mdm.fault = down()
        world.renew()
        waits: list[float] = []
        for _ in range(9):
            before = world.clock.now()
            while len(world.vendor.deployments) == len(waits) + 1:
                world.agent.step()
                world.clock.advance(timedelta(seconds=30))
            waits.append((world.clock.now() - before) / timedelta(minutes=1))
        assert waits[:5] == pytest.approx([1.5, 2, 4, 8, 16], abs=0.6)
        assert max(waits) == pytest.approx(60, abs=1)
        mdm.fault = None
        world.clock.advance(HOUR)
        world.agent.step()
        assert mdm.has == active(world)
        assert world.vendor.deployments[-1].code is None

    def test_a_step_with_nothing_owed_does_nothing(self, world: World, mdm: Place) -> None:
        world.renew()
        before = world.files()
        assert world.agent.step().done == ()
        assert (mdm.deployed, mdm.verified) == (1, 0)
        assert world.files() == before

    def test_the_next_certificate_is_deployed_in_its_turn(self, world: World, mdm: Place) -> None:
        old = world.renew()
        assert mdm.has == old.fingerprint
        world.clock.advance(timedelta(days=330))
        new = world.renew()
        assert mdm.has == new.fingerprint

    @pytest.mark.usefixtures("mdm")
    def test_a_vault_without_a_certificate_owes_nothing(self, world: World) -> None:
        assert world.agent.step().done == ()
        assert world.vendor.deployments == []

    def test_what_was_adopted_is_deployed_as_well(self, world: World, mdm: Place) -> None:
        from lifecycle.pki.keys import generate_key, key_to_pem

        key = generate_key()
        world.agent.adopt(key_to_pem(key, None), world.authority.issue(key.public_key()))
        assert mdm.has == active(world)
        assert world.vendor.adopted == [active(world)]


class TestLevelTriggered:
    def test_a_target_that_lost_it_gets_it_again_at_the_daily_check(
        self, world: World, mdm: Place
    ) -> None:
        world.renew()
        mdm.has = "something else"
        world.clock.advance(timedelta(hours=23))
        world.agent.step()
        assert mdm.deployed == 1
        world.clock.advance(HOUR)
        outcome = world.agent.step()
        assert outcome.codes == ("deployed",)
        assert mdm.has == active(world)

    def test_one_that_still_has_it_is_only_looked_at(self, world: World, mdm: Place) -> None:
        world.renew()
        world.clock.advance(timedelta(hours=24))
        assert world.agent.step().codes == ("verified",)
        assert (mdm.deployed, mdm.verified) == (1, 1)

    def test_a_new_target_is_served_without_a_renewal(self, world: World, mdm: Place) -> None:
        world.renew()
        other = Place("other")
        world.targets.append(other)
        world.agent.step()
        assert other.has == active(world)
        assert mdm.deployed == 1

    def test_other_settings_make_it_owed(self, world: World, mdm: Place) -> None:
        world.renew()
        mdm.about = replace(mdm.about, settings="others")
        world.agent.step()
        assert mdm.deployed == 2

    def test_one_that_fails_holds_up_no_other(self, world: World, mdm: Place) -> None:
        other = Place("other")
        world.targets.append(other)
        mdm.fault = down()
        world.renew()
        assert other.has == active(world)

    def test_one_that_needs_another_waits_for_it(self, world: World, mdm: Place) -> None:
        reload = Place("reload", needs=("mdm",))
        world.targets.append(reload)
        mdm.fault = down()
        world.renew()
        assert reload.deployed == 0
        assert [d.step for d in world.deployer.plan()] == [Step.WAIT, Step.WAIT]
        mdm.fault = None
        world.clock.advance(HOUR)
        world.agent.step()
        assert reload.has == active(world)

    @pytest.mark.usefixtures("mdm")
    def test_a_target_that_is_gone_is_forgotten_and_the_vendor_told(self, world: World) -> None:
        world.renew()
        world.targets.clear()
        assert world.agent.step().codes == ("removed",)
        assert world.vendor.deployments[-1].removed
        assert world.vault.deployments.all() == {}
        assert world.agent.step().codes == ()

    @pytest.mark.usefixtures("pooled_keys")
    def test_after_a_crash_at_any_write_it_ends_up_deployed(
        self,
        build_world: Callable[[], World],
        crash: tuple[type[Executioner], type[BaseException]],
    ) -> None:
        executioner, killed = crash
        boundaries = 0
        while True:
            world, place = build_world(), Place()
            world.targets = [place]
            upload = world.renew_until_upload()
            boundaries += 1
            world.observe(executioner(boundaries))
            try:
                world.agent.upload(upload)
            except killed:
                pass
            else:
                break
            world.observe(executioner())
            for _ in range(3):
                world.agent.step()
            if world.vendor.received is None and world.vault.active() is None:
                world.agent.upload(upload)
            assert place.has == active(world), f"boundary {boundaries}"
            assert world.vendor.deployments[-1].code is None
        assert boundaries > 8, "the observer saw the writes"


class TestTellingTheVendor:
    def test_an_instance_whose_vendor_is_down_deploys_all_the_same_and_tells_later(
        self, world: World, mdm: Place
    ) -> None:
        mdm.fault = down()
        world.renew()
        world.clock.advance(HOUR)
        mdm.fault = None
        world.vendor.is_down = True
        with pytest.raises(Unavailable):
            world.agent.step()
        assert mdm.has == active(world)
        assert world.vendor.deployments[-1].code == "mdm_server_down"
        world.vendor.is_down = False
        world.agent.step()
        assert world.vendor.deployments[-1].code is None
        count = len(world.vendor.deployments)
        world.agent.step()
        assert len(world.vendor.deployments) == count, "told once"

    @pytest.mark.usefixtures("mdm")
    def test_a_removal_that_could_not_be_told_is_told_later(self, world: World) -> None:
        world.renew()
        world.targets.clear()
        world.vendor.is_down = True
        with pytest.raises(Unavailable):
            world.agent.step()
        world.vendor.is_down = False
        world.agent.step()
        assert world.vendor.deployments[-1].removed

    def test_no_secret_crosses(self, world: World, mdm: Place) -> None:
        mdm.fault = refuse("mdm_server_denied", "No.", "Mend it.")
        world.renew()
        from cryptography.hazmat.primitives.serialization import (
            Encoding,
            NoEncryption,
            PrivateFormat,
        )

        der = world.pair().key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
        crossed = b"".join(world.crossed)
        assert b'"kind":"deployment"' in crossed
        assert b"PRIVATE KEY" not in crossed
        assert der not in crossed
        assert der.hex().encode()[40:80] not in crossed


class TestByHand:
    def test_a_person_need_not_wait(self, world: World, mdm: Place) -> None:
        mdm.fault = down()
        world.renew()
        mdm.fault = None
        (done,) = world.deployer.run(at_once=True)
        assert done.outcome == "deployed"

    def test_what_is_up_to_date_is_verified(self, world: World, mdm: Place) -> None:
        world.renew()
        (done,) = world.deployer.run(at_once=True)
        assert done.outcome == "verified"
        mdm.has = None
        (done,) = world.deployer.run(at_once=True)
        assert done.outcome == "deployed"

    def test_only_what_is_named_is_touched(self, world: World, mdm: Place) -> None:
        other = Place("other")
        world.targets.append(other)
        world.renew()
        world.deployer.run(["other"], at_once=True)
        assert (mdm.verified, other.verified) == (0, 1)

    def test_a_dry_run_changes_nothing(self, world: World, mdm: Place) -> None:
        mdm.fault = down()
        world.renew()
        before, told = world.files(), len(world.vendor.deployments)
        (decision,) = world.deployer.plan()
        assert decision.step is Step.WAIT
        assert "mdm_server_down" in decision.why
        assert (world.files(), len(world.vendor.deployments)) == (before, told)
