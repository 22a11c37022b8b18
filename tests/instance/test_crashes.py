"""Killed at every write boundary, one after the other, and started again: the same end state.

The boundaries are enumerated by a run that is not killed: those of the vault's own commits,
of what the vendor records, and of APNs's answers.
"""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from sqlmodel import select

from lifecycle.boundary import WriteObserver
from lifecycle.instance.models import KeyRow
from lifecycle.instance.vault import Vault
from lifecycle.pki.csr import read_csr
from lifecycle.pki.upload import read_upload
from lifecycle.wire.messages import CsrOrder

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

    from tests.instance.conftest import Executioner, PushAuthority, World

    Crash = tuple[type[Executioner], type[BaseException]]


NOW = datetime(2027, 3, 1, 9, 0, tzinfo=UTC)


def settle(world: World, portal: dict[int, bytes]) -> None:
    """What goes on in the world around the agent until a renewal and a check are through."""
    for _ in range(10):
        world.agent.step()
        if world.vendor.csr is not None and not world.vendor.signed and not finished(world):
            world.vendor.sign()
        work = world.agent.request()
        if work is not None:
            data = portal.setdefault(work.renewal_id, world.issue())
            world.agent.upload(data)
        if finished(world) and world.vendor.check_id is None:
            return
    raise AssertionError("the renewal does not come to an end")


def finished(world: World) -> bool:
    return any(a.renewal_id == world.vendor.renewal_id for a in world.vendor.activations)


def play(
    world: World, observer: Executioner, killed: type[BaseException], *, gone: bool
) -> dict[str, object]:
    """A second renewal with a live old certificate and an isolation check; restarted after
    every crash."""
    world.renew()
    world.import_device("D1")
    world.import_device("D2")
    if gone:
        world.apns.answers["D1"] = (410, "Unregistered")
    world.clock.advance(timedelta(days=330))
    world.vendor.open_renewal()
    world.vendor.order_check()
    world.observe(observer)
    portal: dict[int, bytes] = {}
    while True:
        try:
            settle(world, portal)
            return end_state(world)
        except killed:
            world.reopen()


def end_state(world: World) -> dict[str, object]:
    with world.vault._safe.database.reading() as session:
        keys = [(row.renewal_id, row.retired_at) for row in session.exec(select(KeyRow))]
    history = world.vault.certificates.history()
    for held in history:
        key = world.vault.private_key(held)
        assert key.public_key() == held.certificate.certificate.public_key()
    for csrs in world.vendor.csrs.values():
        assert len(set(csrs)) == 1, "every submission of one renewal is the same bytes"
    assert {
        read_csr(csrs[0]).key_fingerprint for csrs in world.vendor.csrs.values()
    } == world.vault.keys.fingerprints(), "no key without a CSR, no CSR without a key"
    return {
        "keys": keys,
        "certificates": [
            (h.state, h.renewal_id, h.recorded_at, h.activated_at, h.superseded_at, h.own_push)
            for h in history
        ],
        "devices": world.vault.devices.all(),
        "activations": world.vendor.activations,
        "evidence": world.vendor.evidence,
        "files": sorted(path.name for path in world.directory.iterdir()),
    }


def comparable(state: dict[str, object]) -> dict[str, str]:
    """Without the fingerprints of certificates, which differ from world to world."""
    return {name: re.sub(r"fingerprint='[0-9a-f]{64}'", "", str(v)) for name, v in state.items()}


@pytest.mark.parametrize("gone", [False, True], ids=["device alive", "device gone"])
def test_an_agent_killed_at_any_boundary_reaches_the_same_end_state(
    build_world: Callable[[], World],
    crash: Crash,
    pooled_keys: None,
    gone: bool,
) -> None:
    executioner, killed = crash
    counting = executioner()
    expected = comparable(play(build_world(), counting, killed, gone=gone))
    assert counting.seen.count("vault.commit:before") >= 3, "key, candidate, activation"
    assert "apns.answer" in counting.seen
    for at in range(1, len(counting.seen) + 1):
        observer = executioner(at)
        state = comparable(play(build_world(), observer, killed, gone=gone))
        assert len(observer.seen) >= at, "the kill took place"
        assert state == expected, f"killed at {at}: {observer.seen[at - 1]}"


def test_making_a_vault_can_be_killed_anywhere_and_repeated(tmp_path: Path, crash: Crash) -> None:
    executioner, killed = crash
    counting = executioner()
    Vault.create(tmp_path / "whole", observer=counting).close()
    assert counting.seen == [
        "vault.key:before",
        "vault.key:after",
        "vault.commit:before",
        "vault.commit:after",
    ]
    for at in range(1, len(counting.seen) + 1):
        directory = tmp_path / f"killed-{at}"
        with pytest.raises(killed):
            Vault.create(directory, observer=executioner(at))
        assert Vault.exists(directory) == (at == len(counting.seen))
        if not Vault.exists(directory):
            Vault.create(directory).close()
        with Vault.open(directory) as vault:
            assert vault.consents_to_ring() is False
            vault.pending_key(CsrOrder(renewal_id=1, email="a@b.example", common_name="A"), NOW)
        assert sorted(p.name for p in directory.iterdir()) == ["vault.key", "vault.sqlite"]


class Sigkill:
    """Ends this process for real, with no clean-up of any kind."""

    def __init__(self, at: int) -> None:
        self._left = at

    def reached(self, boundary: str) -> None:  # noqa: ARG002
        self._left -= 1
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGKILL)


def test_a_real_sigkill_at_any_boundary_loses_and_doubles_nothing(
    tmp_path: Path, authority: PushAuthority, key_pool: tuple[RSAPrivateKey, ...], pooled_keys: None
) -> None:
    order = CsrOrder(renewal_id=7, email="a@b.example", common_name="A")

    def life(directory: Path, observer: WriteObserver | None) -> None:
        if not Vault.exists(directory):
            Vault.create(directory, observer=observer).close()
        with Vault.open(directory, observer=observer) as vault:
            if vault.active() is not None:
                return  # the vendor would ask for nothing more
            pending = vault.pending_key(order, NOW)
            pem = authority.issue(pending.private_key.public_key(), serial=0x77)
            certificate = read_upload(pem).certificate
            vault.certificates.record_candidate(certificate, 7, NOW)
            vault.activate(certificate.fingerprint, NOW)

    for at in range(1, 11):
        directory = tmp_path / str(at)
        child = os.fork()
        if child == 0:
            life(directory, Sigkill(at))
            os._exit(99)
        _, status = os.waitpid(child, 0)
        assert os.WTERMSIG(status) == signal.SIGKILL
        life(directory, None)
        with Vault.open(directory) as vault:
            held = vault.require_active()
            vault.private_key(held)
            assert len(vault.keys.fingerprints()) == 1
            assert len(vault.certificates.history()) == 1
        assert sorted(p.name for p in directory.iterdir()) == ["vault.key", "vault.sqlite"]
