"""A worker killed at any write boundary of a renewal, then started again, gets to the same end.

The boundaries are enumerated by a first, unharmed run. Each kill is a SIGKILL to a process of
its own; what it leaves behind is all that its successor has.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest
from sqlmodel import select

from lifecycle.config import load_config
from lifecycle.embedded import Embedded
from lifecycle.rehearsal.stage import CANARY, CANARY_ACCOUNT, START, Stage
from lifecycle.rehearsal.victim import Killer, StoppedClock
from lifecycle.vendor.audit import verify_log
from lifecycle.vendor.models import Certificate, OutboxMessage, Renewal

ACCOUNT = "push@acme.example"
RENEWAL_DAY = 330


@dataclass
class World:
    """A deployment whose customer is about to renew, and the lab around it."""

    stage: Stage
    directory: Path

    def copy(self, name: str) -> Path:
        """The deployment's files as they are now, in a folder of their own."""
        copied = self.directory.with_name(name)
        shutil.copytree(self.directory, copied)
        return copied


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    directory = tmp_path_factory.mktemp("kill") / "vendor"
    with Stage(directory, seed=7).open() as stage:
        stage.import_signer(365)
        stage.add_customer(CANARY, "Canary", "ops@vendor.example", CANARY_ACCOUNT, canary=True)
        stage.add_customer("acme", "Acme", "it@acme.example", ACCOUNT)
        stage.embedded.tick()
        for slug, account in ((CANARY, CANARY_ACCOUNT), ("acme", ACCOUNT)):
            certificate = stage.portal.create(account, request_of(stage.embedded, slug))
            stage.embedded.upload(slug, certificate)
            stage.enrol_device(slug)
        stage.clock.set(START + timedelta(days=RENEWAL_DAY))
        stage.embedded.close()
        yield World(stage, directory)
        stage.reopen()  # Stage closes it


def request_of(embedded: Embedded, slug: str) -> bytes:
    request = embedded.desk(slug).work().request
    assert request is not None
    return request.request.encode()


def in_child(work: Callable[[], object]) -> int:
    """Runs ``work`` in a forked process; gives the signal that ended it, or its exit status."""
    pid = os.fork()
    if pid == 0:
        try:
            work()
        except BaseException as error:  # noqa: BLE001  (nothing may return into the parent)
            print(f"{type(error).__name__}: {error}", file=sys.stderr)
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(pid, 0)
    return -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)


def renew(world: World, directory: Path, kill_at: int) -> list[str]:
    """One renewal from opening to isolation, as far as it gets. Safe to call again."""
    clock = StoppedClock(world.stage.clock.now())
    killer = Killer(kill_at)
    config = load_config(directory / "config.toml")
    with Embedded(config, clock, observer=killer) as embedded:
        embedded.tick()
        work = embedded.desk("acme").work()
        if work.request is not None:
            certificate = directory / "from-portal.pem"
            if not certificate.exists():
                serial = work.request.renew_serial
                assert serial is not None
                certificate.write_bytes(
                    world.stage.portal.renew(ACCOUNT, work.request.request.encode(), serial)
                )
            embedded.upload("acme", certificate.read_bytes())
        embedded.tick()
        embedded.tick()
    return killer.seen


def final_state(world: World, directory: Path) -> dict[str, object]:
    """Everything that must be equal, however often the worker died on the way."""
    clock = StoppedClock(world.stage.clock.now())
    with Embedded(load_config(directory / "config.toml"), clock) as embedded:
        with embedded.database.reading() as session:
            assert verify_log(session).problem is None
            outbox = sorted(
                row.kind + ":" + str(row.rung) for row in session.exec(select(OutboxMessage))
            )
            renewals = [
                (row.state, row.reason, row.blocked_code) for row in session.exec(select(Renewal))
            ]
            certificates = [
                (row.customer_id, row.state) for row in session.exec(select(Certificate))
            ]
            active = {
                row.fingerprint
                for row in session.exec(select(Certificate))
                if row.state == "active"
            }
            keys = session.exec(select(OutboxMessage.dedupe_key)).all()
            assert len(keys) == len(set(keys))
        with embedded.vault("acme") as vault:
            held = vault.require_active()
            assert held.certificate.fingerprint in active
            vault.private_key(held)
            assert vault.candidate() is None
            keys_in_vault = vault.keys.fingerprints()
            history = vault.certificates.history()
        used = {held.certificate.key_fingerprint for held in history}
        return {
            "outbox": outbox,
            "renewals": renewals,
            "certificates": sorted(certificates),
            "vault": len(history),
            "orphaned keys": len(set(keys_in_vault) - used),
        }


def test_a_worker_killed_at_any_write_boundary_reaches_the_same_end(world: World) -> None:
    unharmed = world.copy("unharmed")
    boundaries = renew(world, unharmed, 0)
    expected = final_state(world, unharmed)
    assert expected["orphaned keys"] == 0
    assert ("fulfilled", "expiry", None) in expected["renewals"]  # type: ignore[operator]
    assert len(boundaries) > 30, boundaries
    for number, boundary in enumerate(boundaries, start=1):
        directory = world.copy(f"killed-{number}")
        ended = in_child(partial(renew, world, directory, number))
        assert ended == -signal.SIGKILL, f"{number} {boundary}: {ended}"
        assert in_child(partial(renew, world, directory, 0)) == 0, f"{number} {boundary}"
        assert final_state(world, directory) == expected, f"{number} {boundary}"
        shutil.rmtree(directory)
