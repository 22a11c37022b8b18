"""A renewal across the network, from the invitation to the proven isolation, in one process.

Signing and judging is done by the vendor's plane alone; the instances ask over TLS.
"""

from __future__ import annotations

import plistlib
import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest
from sqlmodel import select

from lifecycle.config import CONFIG_NAME, load_config
from lifecycle.errors import Refused
from lifecycle.lab.authority import Authority
from lifecycle.lab.gateway import ApnsGateway
from lifecycle.lab.portal import Portal
from lifecycle.pki.keys import generate_key
from lifecycle.standalone import Standalone
from lifecycle.vendor import store
from lifecycle.vendor.access_models import SealedCanary
from lifecycle.vendor.facts import CustomerKind
from lifecycle.vendor_plane import VendorPlane
from tests.serve.conftest import BuildVendor, Vendor


@dataclass
class World:
    """A served vendor, its worker, Apple's place taken by the lab."""

    vendor: Vendor
    plane: VendorPlane
    gateway: ApnsGateway
    portal: Portal
    apple: str

    def enrolled(self, slug: str, kind: CustomerKind = CustomerKind.CUSTOMER) -> Standalone:
        self.vendor.add(slug, kind)
        alone = self.instance(slug)
        alone.enrol(self.vendor.invite(slug))
        return alone

    def instance(self, slug: str) -> Standalone:
        config = self.vendor.instance_config(slug)
        with (config.base / CONFIG_NAME).open("a") as file:
            file.write(self.apple)
        alone = Standalone(
            load_config(config.base / CONFIG_NAME), self.vendor.clock, sleep=lambda _: None
        )
        alone.make_vault()
        return self.vendor.opened.enter_context(alone)

    def upload(self, alone: Standalone, slug: str) -> None:
        """The customer's admin does the three steps."""
        with alone.agent() as agent:
            request = agent.request()
        assert request is not None
        account, text = f"push@{slug}.example", request.request.encode()
        file = (
            self.portal.create(account, text)
            if request.renew_serial is None
            else self.portal.renew(account, text, request.renew_serial)
        )
        assert alone.upload(file).activated

    def renew(self, alone: Standalone, slug: str) -> None:
        self.plane.tick()
        alone.step()
        self.plane.tick()
        self.upload(alone, slug)

    def enrol_device(self, alone: Standalone) -> bytes:
        with alone.vault() as vault:
            topic = vault.require_active().certificate.topic
            token = self.gateway.register_device(topic)
            message = {
                "MessageType": "TokenUpdate",
                "Token": token,
                "PushMagic": "MAGIC",
                "Topic": topic,
                "UDID": token.hex()[:40],
            }
            vault.import_devices(plistlib.dumps(message), self.vendor.clock.now())
        return token

    def record(self, slug: str) -> store.CustomerRecord:
        with self.vendor.served.database.reading() as session:
            return store.load(session, store.customer_by_slug(session, slug))


@pytest.fixture
def world(build_vendor: BuildVendor, tmp_path: Path) -> Iterator[World]:
    ca, trust = tmp_path / "gateway-ca.pem", tmp_path / "apple-ca.pem"
    vendor = build_vendor(f'[trust]\nextra = ["{trust}"]\n')
    authority = Authority(vendor.clock, 5)
    trust.write_text(authority.trust_pem())
    gateway = ApnsGateway(authority, vendor.clock)
    gateway.write_ca(ca)
    gateway.start()
    apple = (
        f'[trust]\nextra = ["{trust}"]\n[apns]\nhost = "{gateway.host}"\n'
        f'port = {gateway.port}\nca_file = "{ca}"\nbackoff_seconds = 0.01\n'
    )
    with VendorPlane(vendor.served.config, vendor.clock) as plane:
        key = generate_key()
        certificate = authority.issue_signing_certificate(key.public_key(), "Example MDM")
        plane.signer.install(certificate, key, (), plane.trust, at=vendor.clock.now())
        portal = Portal(authority, vendor.clock, random.Random(3))  # noqa: S311
        yield World(vendor, plane, gateway, portal, apple)
    gateway.stop()


def test_from_the_invitation_to_the_proven_isolation(world: World) -> None:
    canary = world.enrolled("vendor-canary", CustomerKind.CANARY)
    world.renew(canary, "vendor-canary")
    token = world.enrol_device(canary)
    acme = world.enrolled("acme")
    world.renew(acme, "acme")
    own = world.enrol_device(acme)

    assert canary.step().codes == ("canary_sealed",)
    assert canary.step().codes == (), "once"
    verification = acme.verify()
    assert (verification.verdict, verification.failed) == ("isolated", False)

    first = world.record("acme").active
    world.vendor.clock.advance(timedelta(days=330))
    world.renew(acme, "acme")
    second = world.record("acme").active
    assert first is not None
    assert second is not None
    assert (first.topic, first.serial == second.serial) == (second.topic, False)
    for path in (world.vendor.directory / "vendor").rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            for secret in (token, own):
                assert secret not in data, path
                assert secret.hex().encode() not in data.lower(), path


def test_a_canary_whose_device_changes_is_sealed_anew(world: World) -> None:
    canary = world.enrolled("vendor-canary", CustomerKind.CANARY)
    world.renew(canary, "vendor-canary")
    token = world.enrol_device(canary)
    acme = world.enrolled("acme")
    world.renew(acme, "acme")
    world.enrol_device(acme)
    canary.step()
    world.gateway.unregister(token)
    with canary.vault() as vault:
        (known,) = vault.devices.all()
        vault.devices.remove(known.udid)
    fresh = world.enrol_device(canary)
    assert canary.step().codes == ("canary_sealed",), "says that the token is another one"
    canary.step()
    with world.vendor.served.database.reading() as session:
        rows = session.exec(select(SealedCanary)).all()
    from lifecycle.pki.fingerprints import token_fingerprint

    assert [row.token_fingerprint for row in rows] == [token_fingerprint(fresh)]
    assert acme.verify().verdict == "isolated"


def test_an_instance_that_changed_its_keys_can_still_probe(world: World) -> None:
    canary = world.enrolled("vendor-canary", CustomerKind.CANARY)
    world.renew(canary, "vendor-canary")
    world.enrol_device(canary)
    acme = world.enrolled("acme")
    world.renew(acme, "acme")
    world.enrol_device(acme)
    canary.step()
    acme.change_keys()
    assert acme.verify().verdict == "isolated", "with what was sealed to the keys before"
    assert canary.step().codes == ("canary_sealed",)
    assert acme.verify().verdict == "isolated"


def test_without_a_canary_the_check_is_inconclusive_and_says_why(world: World) -> None:
    acme = world.enrolled("acme")
    world.renew(acme, "acme")
    world.enrol_device(acme)
    found = acme.verify()
    assert found.verdict == "inconclusive"
    assert "canary tenant" in found.why


def test_a_silent_instance_holds_its_renewal_up_until_it_asks_again(world: World) -> None:
    acme = world.enrolled("acme")
    world.plane.tick()
    world.vendor.clock.advance(timedelta(days=3))
    world.plane.tick()
    renewal = world.record("acme").renewal
    assert renewal is not None
    assert renewal.blocked_code == "instance_silent"
    acme.step()
    renewal = world.record("acme").renewal
    assert renewal is not None
    assert (renewal.blocked_code, renewal.state) == (None, "csr_received")


def test_a_customer_without_an_instance_waits_for_an_invitation(world: World) -> None:
    world.vendor.add("acme")
    world.plane.tick()
    renewal = world.record("acme").renewal
    assert renewal is not None
    assert renewal.blocked_code == "instance_not_enrolled"
    assert renewal.blocked_message is not None
    assert "customer invite acme" in renewal.blocked_message


def test_a_wrong_file_is_refused_with_what_both_planes_find(world: World) -> None:
    acme, rival = world.enrolled("acme"), world.enrolled("rival")
    world.renew(rival, "rival")
    world.plane.tick()
    acme.step()
    world.plane.tick()
    with rival.vault() as vault:
        theirs = vault.require_active().certificate.pem.encode()
    with pytest.raises(Refused) as refused:
        acme.upload(theirs)
    assert "key_mismatch" in refused.value.codes
    assert any("another_customer" in code for code in refused.value.codes)
    assert world.record("acme").received is None
