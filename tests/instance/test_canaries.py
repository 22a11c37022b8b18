from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from lifecycle.instance.canaries import NoCanary, RingCanaries, VaultCanaries
from lifecycle.pki.topic import Topic

if TYPE_CHECKING:
    from tests.instance.conftest import World


def topic(n: int) -> Topic:
    return Topic(f"com.apple.mgmt.External.{n:08d}-0000-4c22-9a33-5d6e7f809103")


@pytest.fixture
def build_tenant(build_world: Callable[[], World], pooled_keys: None) -> Callable[[int], World]:
    """An instance with a certificate of its own topic, and one device."""

    def build(n: int) -> World:
        world = build_world()
        world.agent.upload(world.renew_until_upload(topic(n)))
        world.import_device(f"device-{n}", topic(n))
        return world

    return build


def test_the_canary_tenant_is_read_from_its_vault(build_tenant: Callable[[int], World]) -> None:
    canary = build_tenant(1)
    tenant = VaultCanaries(canary.directory).other_tenant(topic(2))
    assert tenant is not None
    assert tenant.topic == topic(1)
    assert tenant.token == canary.vault.devices.open("device-1").token


def test_the_canary_tenant_has_no_other_tenant_in_itself(
    build_tenant: Callable[[int], World],
) -> None:
    assert VaultCanaries(build_tenant(1).directory).other_tenant(topic(1)) is None


def test_a_canary_tenant_without_certificate_or_device_is_none(
    world: World, build_tenant: Callable[[int], World]
) -> None:
    assert VaultCanaries(world.directory).other_tenant(topic(2)) is None
    canary = build_tenant(1)
    canary.vault.devices.remove("device-1")
    assert VaultCanaries(canary.directory).other_tenant(topic(2)) is None
    assert VaultCanaries(world.directory / "nowhere").other_tenant(topic(2)) is None
    assert NoCanary().other_tenant(topic(2)) is None


def test_the_ring_goes_through_those_who_consent_in_order(
    build_tenant: Callable[[int], World],
) -> None:
    tenants = [build_tenant(n) for n in range(4)]
    directories = [t.directory for t in tenants]
    for n in (0, 1, 3):
        tenants[n].vault.set_ring_consent(True)

    def after(n: int) -> Topic | None:
        found = RingCanaries(directories, directories[n]).other_tenant(topic(n))
        return None if found is None else found.topic

    assert after(0) == topic(1)
    assert after(1) == topic(3), "2 has not consented"
    assert after(3) == topic(0), "round the corner"
    assert after(2) is None, "who does not give does not take"
    tenants[0].vault.set_ring_consent(False)
    assert after(3) == topic(1)


def test_a_ring_of_one_is_none(build_tenant: Callable[[int], World]) -> None:
    alone = build_tenant(1)
    alone.vault.set_ring_consent(True)
    assert RingCanaries([alone.directory], alone.directory).other_tenant(topic(1)) is None


def test_a_ring_member_with_the_same_topic_is_passed_over(
    build_tenant: Callable[[int], World],
) -> None:
    same = [build_tenant(1), build_tenant(1), build_tenant(2)]
    for tenant in same:
        tenant.vault.set_ring_consent(True)
    ring = RingCanaries([t.directory for t in same], same[0].directory)
    found = ring.other_tenant(topic(1))
    assert found is not None
    assert found.topic == topic(2)
