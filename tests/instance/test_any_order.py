"""Whatever happens, in any order, with crashes anywhere: what must always hold, holds."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlmodel import select

from lifecycle.errors import Refused
from lifecycle.instance.models import CertificateRow, CertificateState, KeyRow
from lifecycle.pki.csr import read_csr
from lifecycle.pki.fingerprints import key_fingerprint

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

    from tests.instance.conftest import Executioner, World

EVENTS = (
    "go on",
    "go on, and on",
    "renew",
    "open",
    "upload",
    "upload an old file",
    "check",
    "outage",
    "apns is back",
    "device gone",
    "device enrols",
    "a day",
    "ten months",
)
Event = tuple[str, int | None]
MAX_RENEWALS = 6
REFUSABLE = ("upload", "upload an old file")


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    events=st.lists(
        st.tuples(st.sampled_from(EVENTS), st.none() | st.integers(1, 8)), min_size=5, max_size=30
    )
)
def test_any_order_of_events_and_crashes_keeps_the_invariants(
    build_world: Callable[[], World],
    crash: tuple[type[Executioner], type[BaseException]],
    key_pool: tuple[RSAPrivateKey, ...],
    monkeypatch: pytest.MonkeyPatch,
    events: list[Event],
) -> None:
    executioner, killed = crash
    world = build_world()

    def fresh_key() -> RSAPrivateKey:
        taken = world.vault.keys.fingerprints()
        return next(k for k in key_pool if key_fingerprint(k.public_key()) not in taken)

    monkeypatch.setattr("lifecycle.instance.keys.generate_key", fresh_key)
    files: list[bytes] = []
    kept: set[str] = set()
    for number, (event, at) in enumerate(events):
        world.observe(executioner(at))
        try:
            happen(world, event, number, files)
        except killed:
            world.observe(executioner())
        except Refused:
            if event not in REFUSABLE:
                raise
        check(world, kept)
    settle(world, executioner())
    check(world, kept)
    if world.vendor.activations:
        active = world.vault.require_active().certificate
        assert active.fingerprint == world.vendor.activations[-1].fingerprint
    world.vault.close()


def happen(world: World, event: str, number: int, files: list[bytes]) -> None:
    match event:
        case "open" if world.vendor.renewal_id < MAX_RENEWALS:
            world.vendor.open_renewal()
        case "go on":
            go_on(world, files)
        case "go on, and on":
            for _ in range(4):
                go_on(world, files)
        case "renew" if world.vendor.renewal_id < MAX_RENEWALS:
            world.vendor.open_renewal()
            for _ in range(4):
                go_on(world, files)
        case "upload" if world.vendor.csr is not None and world.vendor.signed:
            files.append(world.issue())
            world.agent.upload(files[-1])
        case "upload an old file" if files and world.vendor.signed:
            world.agent.upload(files[number % len(files)])
        case "check":
            world.vendor.order_check()
        case "outage":
            world.apns.answers = dict.fromkeys("ABCDE", (None, "apns_unreachable"))
        case "apns is back":
            world.apns.answers.clear()
        case "device gone":
            world.apns.answers["ABCDE"[number % 5]] = (410, "Unregistered")
        case "device enrols":
            world.import_device("ABCDE"[number % 5])
        case "a day":
            world.clock.advance(timedelta(days=1))
        case "ten months":
            world.clock.advance(timedelta(days=300))


def go_on(world: World, files: list[bytes]) -> None:
    """The next thing that would happen in a renewal without trouble."""
    if world.vendor.csr is not None and not world.vendor.signed and not world.vendor.wants_csr:
        world.vendor.sign()
    elif world.vendor.signed and world.vendor.received is None:
        files.append(world.issue())
        world.agent.upload(files[-1])
    else:
        world.agent.step()


def settle(world: World, observer: Executioner) -> None:
    """No more crashes, no outage: everything owed gets done."""
    world.observe(observer)
    world.apns.answers.clear()
    for _ in range(3):
        world.agent.step()
    assert world.vendor.received is None, "what the vendor has recorded is active here"
    assert world.agent.step().done == ()


def check(world: World, kept: set[str]) -> None:
    with world.vault._safe.database.reading() as session:
        states = list(session.exec(select(CertificateRow.state)))
        renewals = list(session.exec(select(KeyRow.renewal_id)))
    assert states.count(CertificateState.ACTIVE) <= 1
    assert states.count(CertificateState.CANDIDATE) <= 1
    assert len(renewals) == len(set(renewals)), "one key for each renewal"
    for held in world.vault.certificates.history():
        key = world.vault.private_key(held)
        assert key.public_key() == held.certificate.certificate.public_key()
    now_kept = {h.certificate.fingerprint for h in world.vault.certificates.history()}
    now_kept |= world.vault.keys.fingerprints()
    assert kept <= now_kept, "no certificate and no key ever goes away"
    kept |= now_kept
    sent = [csr for csrs in world.vendor.csrs.values() for csr in csrs]
    known = world.vault.keys.fingerprints()
    assert {read_csr(csr).key_fingerprint for csr in sent} <= known, "no key of a CSR is lost"
    for activation in world.vendor.activations:
        assert activation.fingerprint in kept, "what the vendor thinks is active is here"
