from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from lifecycle.errors import Refused, Unavailable, refuse
from lifecycle.instance.models import CertificateState
from lifecycle.pki.csr import read_csr
from lifecycle.pki.keys import generate_key, key_to_pem
from lifecycle.pki.topic import Topic
from lifecycle.wire.messages import Probe

if TYPE_CHECKING:
    from tests.instance.conftest import World


@pytest.fixture
def world(linked_world: World) -> World:
    """Every test here runs over both kinds of link."""
    return linked_world


NEW_TOPIC = Topic("com.apple.mgmt.External.99999999-3333-4c22-9a33-5d6e7f809103")


def test_nothing_owed_is_nothing_done(world: World) -> None:
    before = world.files()
    assert world.agent.step().done == ()
    assert world.files() == before


class TestCsr:
    def test_a_csr_is_made_with_the_subject_that_the_vendor_wants(self, world: World) -> None:
        world.vendor.open_renewal()
        assert world.agent.step().codes == ("csr_sent",)
        assert world.vendor.csr is not None
        csr = read_csr(world.vendor.csr)
        assert (csr.common_name, csr.email) == ("Acme Corp", "it@acme.example")
        assert world.vault.keys.fingerprints() == {csr.key_fingerprint}

    def test_the_same_renewal_gets_the_same_bytes_again(self, world: World) -> None:
        world.vendor.open_renewal()
        world.agent.step()
        world.vendor.wants_csr = True  # the vendor lost it
        world.reopen()
        world.agent.step()
        first, second = world.vendor.csrs[1]
        assert first == second
        assert len(world.vault.keys.fingerprints()) == 1

    def test_every_renewal_gets_a_key_of_its_own(self, world: World) -> None:
        first, second = world.renew(), world.renew_until_upload()
        assert first.key_fingerprint in world.vault.keys.fingerprints()
        assert len(world.vault.keys.fingerprints()) == 2
        assert first.pem.encode() != second

    def test_a_changed_subject_keeps_the_key(self, world: World) -> None:
        world.vendor.refuses_csr = refuse("name_bad", "No.", "Change the name.")
        world.vendor.open_renewal()
        world.agent.step()
        world.vendor.refuses_csr = None
        world.vendor.common_name = "Acme Incorporated"
        world.agent.step()
        assert world.vendor.csr is not None
        assert read_csr(world.vendor.csr).common_name == "Acme Incorporated"
        assert len(world.vault.keys.fingerprints()) == 1

    def test_a_refused_csr_is_a_setback_with_the_vendors_code(self, world: World) -> None:
        world.vendor.refuses_csr = refuse("csr_key_taken", "Taken.", "Make another.")
        world.vendor.open_renewal()
        outcome = world.agent.step()
        assert outcome.setback is not None
        assert outcome.setback.code == "csr_key_taken"
        assert [f.code for f in outcome.refusals] == ["csr_key_taken"]
        assert world.vendor.setbacks == [outcome.setback]

    def test_a_renewal_number_given_out_again_still_gets_a_fresh_key(self, world: World) -> None:
        old = world.renew()
        world.vendor.renewal_id = 0  # restored from a backup of before the first renewal
        world.clock.advance(timedelta(days=330))
        outcome = world.agent.upload(world.renew_until_upload())
        assert outcome.activated
        assert outcome.renewal_id == 1
        assert outcome.certificate.key_fingerprint != old.key_fingerprint
        assert old.key_fingerprint in world.vault.keys.fingerprints()

    def test_the_key_of_a_renewal_that_ended_matches_no_upload_any_more(self, world: World) -> None:
        stale = world.renew_until_upload()
        world.vendor.open_renewal()
        assert world.agent.step().codes == ("keys_retired", "csr_sent")
        with pytest.raises(Refused) as refused:
            world.agent.upload(stale)
        assert refused.value.codes == ("key_mismatch",)
        assert len(world.vault.keys.fingerprints()) == 2, "kept all the same"


class TestActivation:
    def test_the_first_certificate_is_activated_without_a_push(self, world: World) -> None:
        certificate = world.renew()
        active = world.vault.require_active()
        assert active.certificate == certificate
        assert world.apns.pushed == []
        assert [a.own_push for a in world.vendor.activations] == [None]
        key = world.vault.private_key(active)
        assert key.public_key() == certificate.certificate.public_key()

    def test_the_old_one_is_kept_as_superseded_with_its_key(self, world: World) -> None:
        old = world.renew()
        world.import_device("D1")
        world.clock.advance(timedelta(days=330))
        new = world.renew()
        states = {h.certificate.serial: h.state for h in world.vault.certificates.history()}
        assert states == {
            old.serial: CertificateState.SUPERSEDED,
            new.serial: CertificateState.ACTIVE,
        }
        assert {old.key_fingerprint, new.key_fingerprint} == world.vault.keys.fingerprints()

    def test_the_new_one_proves_itself_by_a_push_to_the_own_device(self, world: World) -> None:
        world.renew()
        world.import_device("D1")
        world.clock.advance(timedelta(days=330))
        outcome = world.agent.upload(world.renew_until_upload())
        assert [d.what for d in outcome.done] == ["own_push", "activated", "activation_reported"]
        assert world.apns.pushed == [(outcome.certificate.serial, "D1")]
        proof = world.vendor.activations[-1].own_push
        assert proof is not None
        assert (proof.probe, proof.status) == (Probe.OWN, 200)

    @pytest.mark.parametrize(
        ("answer", "code"),
        [
            ((None, "apns_unreachable"), "apns_unreachable"),
            ((None, "stalled"), "apns_unreachable"),
            ((503, "ServiceUnavailable"), "apns_unreachable"),
            ((429, "TooManyRequests"), "apns_unreachable"),
            ((None, "certificate_refused"), "certificate_refused"),
            ((400, "DeviceTokenNotForTopic"), "own_push_refused"),
            ((400, "TopicDisallowed"), "own_push_refused"),
            ((403, "BadCertificate"), "own_push_refused"),
        ],
    )
    def test_the_old_one_stays_until_the_push_gets_through(
        self, world: World, answer: tuple[int | None, str], code: str
    ) -> None:
        old = world.renew()
        world.import_device("D1")
        world.clock.advance(timedelta(days=330))
        world.apns.answers["D1"] = answer
        outcome = world.agent.upload(world.renew_until_upload())
        assert outcome.setback is not None
        assert outcome.setback.code == code
        assert not outcome.activated
        assert world.vendor.setbacks == [outcome.setback]
        assert world.vault.require_active().certificate == old
        again = world.agent.step()
        assert again.setback == outcome.setback
        world.apns.answers.clear()
        world.reopen()
        assert world.agent.step().codes == ("own_push", "activated", "activation_reported")
        assert world.vault.require_active().certificate == outcome.certificate
        assert world.vault.candidate() is None

    def test_a_device_that_is_gone_is_noted_and_the_next_is_tried(self, world: World) -> None:
        world.renew()
        world.import_device("D1")
        world.import_device("D2")
        world.vault.devices.set_canary("D2", canary=True)
        world.clock.advance(timedelta(days=330))
        world.apns.answers["D2"] = (410, "Unregistered")
        outcome = world.agent.upload(world.renew_until_upload())
        assert outcome.activated
        assert [udid for _, udid in world.apns.pushed] == ["D2", "D1"]
        gone = {d.udid: d.gone_at for d in world.vault.devices.all()}
        assert gone == {"D1": None, "D2": world.clock.now()}

    def test_when_every_device_is_gone_the_new_one_is_activated(self, world: World) -> None:
        world.renew()
        world.import_device("D1")
        world.clock.advance(timedelta(days=330))
        world.apns.answers["D1"] = (410, "ExpiredToken")
        outcome = world.agent.upload(world.renew_until_upload())
        assert outcome.activated
        proof = world.vendor.activations[-1].own_push
        assert proof is not None
        assert proof.status == 410

    def test_a_200_from_one_device_outweighs_a_wrong_token_of_another(self, world: World) -> None:
        world.renew()
        world.import_device("D1")
        world.import_device("D2")
        world.clock.advance(timedelta(days=330))
        world.apns.answers["D1"] = (400, "DeviceTokenNotForTopic")
        assert world.agent.upload(world.renew_until_upload()).activated

    def test_a_dead_old_one_is_replaced_at_once(self, world: World) -> None:
        world.renew()
        world.import_device("D1")
        world.apns.answers["D1"] = (None, "apns_unreachable")
        world.clock.advance(timedelta(days=366))
        assert world.agent.upload(world.renew_until_upload()).activated
        assert world.apns.pushed == []

    def test_an_accepted_new_topic_needs_no_push_since_no_device_listens_to_it(
        self, world: World
    ) -> None:
        world.renew()
        world.import_device("D1")
        world.clock.advance(timedelta(days=330))
        data = world.renew_until_upload(NEW_TOPIC)
        outcome = world.agent.upload(data, accept_new_topic=str(NEW_TOPIC))
        assert outcome.activated
        assert world.apns.pushed == []
        assert world.vault.require_active().certificate.topic == NEW_TOPIC

    def test_a_certificate_that_only_the_vendor_has_is_taken_from_there(self, world: World) -> None:
        data = world.renew_until_upload()
        world.vendor.received = data.decode()
        assert world.agent.step().codes == ("activated", "activation_reported")
        assert world.vault.require_active().certificate.pem == data.decode()

    def test_a_received_certificate_of_another_key_is_a_setback(self, world: World) -> None:
        world.renew_until_upload()
        foreign = world.authority.issue(generate_key().public_key())
        world.vendor.received = foreign.decode()
        outcome = world.agent.step()
        assert outcome.setback is not None
        assert outcome.setback.code == "key_missing"
        assert world.vault.candidate() is None

    def test_a_vendor_restored_from_a_backup_does_not_bring_an_old_one_back(
        self, world: World
    ) -> None:
        old = world.renew()
        world.clock.advance(timedelta(days=330))
        new = world.renew()
        world.vendor.received = old.pem
        outcome = world.agent.step()
        assert outcome.setback is not None
        assert outcome.setback.code == "already_superseded"
        assert world.vault.require_active().certificate == new

    def test_a_better_upload_takes_the_place_of_a_refused_one(self, world: World) -> None:
        world.renew()
        world.import_device("D1")
        world.clock.advance(timedelta(days=330))
        world.apns.answers["D1"] = (400, "DeviceTokenNotForTopic")
        first = world.agent.upload(world.renew_until_upload())
        world.apns.answers.clear()
        second = world.agent.upload(world.issue())
        assert second.activated
        assert world.vault.candidate() is None
        states = {h.certificate.serial: h.state for h in world.vault.certificates.history()}
        assert states[first.certificate.serial] is CertificateState.SUPERSEDED


class TestProbes:
    def test_evidence_carries_the_answers_and_the_fingerprints_of_all_tokens(
        self, world: World
    ) -> None:
        certificate = world.renew()
        devices = [world.import_device(f"D{n}") for n in range(3)]
        world.vendor.order_check()
        assert world.agent.step().codes == ("evidence_sent",)
        (evidence,) = world.vendor.evidence
        assert evidence.fault is None
        assert evidence.fingerprint == certificate.fingerprint
        assert [a.probe for a in evidence.answers] == [Probe.OWN, Probe.FOREIGN_TOKEN]
        assert set(evidence.token_fingerprints) == {d.token.fingerprint for d in devices}

    def test_the_canary_is_the_chosen_device_else_the_one_seen_last(self, world: World) -> None:
        world.renew()
        world.import_device("A")
        world.clock.advance(timedelta(hours=1))
        world.import_device("B")
        world.vendor.order_check()
        world.agent.step()
        world.vault.devices.set_canary("A", canary=True)
        world.vendor.order_check()
        world.agent.step()
        assert [udid for _, udid, _ in world.apns.probed] == ["B", "A"]

    def test_a_canary_that_is_gone_gives_way_to_the_next(self, world: World) -> None:
        world.renew()
        world.import_device("A")
        world.import_device("B")
        world.apns.answers["A"] = (410, "Unregistered")
        world.vendor.order_check()
        world.agent.step()
        assert world.vendor.evidence[0].answers[0].status == 200
        assert [d.udid for d in world.vault.devices.all() if d.gone_at] == ["A"]

    def test_a_canary_with_a_token_that_apns_does_not_know_gives_way_too(
        self, world: World
    ) -> None:
        world.renew()
        world.import_device("A")
        world.import_device("B")
        world.apns.answers["A"] = (400, "BadDeviceToken")
        world.vendor.order_check()
        world.agent.step()
        assert world.vendor.evidence[0].answers[0].status == 200
        assert [d.udid for d in world.vault.devices.all() if d.gone_at] == []

    def test_without_a_device_the_fault_says_so(self, world: World) -> None:
        world.renew()
        world.vendor.order_check()
        world.agent.step()
        assert world.vendor.evidence[0].fault == "no_canary"

    def test_without_another_tenant_the_fault_says_so(self, world: World) -> None:
        world.renew()
        world.import_device("D1")
        world.canaries.tenant = None
        world.vendor.order_check()
        world.agent.step()
        assert world.vendor.evidence[0].fault == "no_other_tenant"

    def test_without_a_certificate_the_fault_says_so(self, world: World) -> None:
        world.vendor.order_check()
        world.agent.step()
        assert world.vendor.evidence[0].fault == "no_certificate"

    def test_a_vault_that_lost_its_key_file_still_answers(self, world: World) -> None:
        world.renew()
        world.import_device("D1")
        (world.directory / "vault.key").unlink()
        world.reopen()
        world.vendor.order_check()
        world.agent.step()
        assert world.vendor.evidence[0].fault == "vault_key_missing"


class TestAdoption:
    def test_an_existing_pair_becomes_the_active_one(self, world: World) -> None:
        key = generate_key()
        pem = world.authority.issue(key.public_key())
        world.agent.adopt(key_to_pem(key, b"pass"), pem, b"pass")
        held = world.vault.require_active()
        assert held.renewal_id is None
        assert held.certificate.pem.encode() == pem
        world.agent.adopt(key_to_pem(key, None), pem)
        assert len(world.vault.certificates.history()) == 1

    def test_a_renewal_after_adoption_supersedes_it(self, world: World) -> None:
        key = generate_key()
        world.agent.adopt(key_to_pem(key, None), world.authority.issue(key.public_key()))
        world.clock.advance(timedelta(days=330))
        world.renew()
        states = [h.state for h in world.vault.certificates.history()]
        assert states == [CertificateState.SUPERSEDED, CertificateState.ACTIVE]

    def test_a_key_that_does_not_fit_is_refused(self, world: World) -> None:
        pem = world.authority.issue(generate_key().public_key())
        before = world.files()
        with pytest.raises(Refused) as refused:
            world.agent.adopt(key_to_pem(generate_key(), None), pem)
        assert refused.value.codes == ("key_mismatch",)
        assert world.files() == before

    def test_a_vault_with_a_certificate_adopts_no_other(self, world: World) -> None:
        world.renew()
        key = generate_key()
        with pytest.raises(Refused) as refused:
            world.agent.adopt(key_to_pem(key, None), world.authority.issue(key.public_key()))
        assert refused.value.codes == ("vault_in_use",)


def test_an_unreachable_vendor_ends_the_step_and_the_next_goes_on(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.vendor.open_renewal()

    def down(_: object) -> None:
        raise Unavailable("The vendor cannot be reached.")

    with monkeypatch.context() as patch:
        patch.setattr(world.vendor, "submit_csr", down)
        with pytest.raises(Unavailable):
            world.agent.step()
    (made,) = world.vault.keys.fingerprints()
    assert world.agent.step().codes == ("csr_sent",)
    assert world.vault.keys.fingerprints() == {made}


def test_nothing_that_crosses_holds_a_key_or_a_token(world: World) -> None:
    world.renew()
    devices = [world.import_device(f"D{n}") for n in range(2)]
    world.clock.advance(timedelta(days=330))
    world.renew()
    world.vendor.order_check()
    world.agent.step()
    crossed = b"".join(world.crossed)
    assert devices[0].token.fingerprint.encode() in crossed, "the search would find a token"
    for device in devices:
        assert device.token.hex.encode() not in crossed.lower()
    assert b"PRIVATE KEY" not in crossed
