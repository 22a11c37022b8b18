"""What a power cut leaves: processes killed while they write, and their files looked at.

    python -m bench.power_cut --times 1000 --seed 1

A process writes into a registry and into a vault as fast as it can and says after each commit that
it is done. It is killed (SIGKILL) at a random moment, and the files (database, write-ahead log,
journal) are copied as they are then. The copy must open, be whole page for page, hold everything
that was said to be done, and nothing half of a transaction. The next process goes on with the
originals.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from sqlmodel import col, func, select

from lifecycle.apns.token import DeviceToken, PushMagic
from lifecycle.instance.devices import Device
from lifecycle.instance.vault import Vault
from lifecycle.pki.topic import Topic
from lifecycle.vendor import registry, store
from lifecycle.vendor.audit import verify_log
from lifecycle.vendor.database import Database
from lifecycle.vendor.facts import RenewalReason
from lifecycle.vendor.migrations import upgrade
from lifecycle.vendor.models import AuditEntry, Customer, Renewal

NOW = datetime(2027, 1, 4, tzinfo=UTC)
TOPIC = Topic("com.apple.mgmt.External.00000000-0000-4000-8000-000000000000")
IN_ONE = 7
"""Devices in one transaction of the vault."""
ANEW_EVERY = 50
"""Cuts after which both begin empty, so that looking at them stays quick."""
LONGEST_PAUSE = 0.004
"""Seconds after the last commit that is waited for: several transactions take that long."""


@dataclass
class Tally:
    """What was seen.

    Attributes:
        cuts: processes that were killed.
        commits: transactions that were said to be done before.
        beside: files beside a database that were found, by the end of their names.
        in_flight: cuts after which a transaction was there that nobody had heard of yet.
    """

    cuts: int = 0
    commits: int = 0
    in_flight: int = 0
    beside: dict[str, int] = field(default_factory=dict)


def write_registry(folder: Path, start: int, done: Callable[[], None]) -> None:
    """Adds customers for ever, each with an open renewal and two audit entries."""
    database = Database(f"sqlite:///{folder}/vendor.sqlite")
    number = start
    while True:
        number += 1
        new = registry.NewCustomer(f"c-{number}", f"C {number}", f"it@c{number}.example")
        with database.transaction() as session:
            customer = registry.add(session, new, at=NOW, actor="operator:bench")
            registry.open_renewal(session, customer, RenewalReason.INITIAL, at=NOW, actor="worker")
        done()


def write_vault(folder: Path, start: int, done: Callable[[], None]) -> None:
    """Takes in devices for ever, some at a time."""
    with Vault.open(folder / "vault") as vault:
        number = start
        while True:
            number += 1
            devices = [_device(number, n) for n in range(IN_ONE)]
            vault.devices.add_all(devices, TOPIC, NOW)
            done()


def _device(number: int, n: int) -> Device:
    token = DeviceToken(number.to_bytes(16, "big") + n.to_bytes(16, "big"))
    return Device(f"UDID-{number}-{n}", TOPIC, token, PushMagic(f"magic-{number}-{n}"))


def look_at_registry(folder: Path) -> int:
    """How many transactions are in a registry, after everything about it was checked."""
    _whole(folder / "vendor.sqlite")
    database = Database(f"sqlite:///{folder}/vendor.sqlite")
    try:
        with database.reading() as session:
            outcome = verify_log(session)
            assert outcome.problem is None, outcome.problem
            customers = session.exec(select(func.count()).select_from(Customer)).one()
            renewals = session.exec(select(func.count()).select_from(Renewal)).one()
            entries = session.exec(select(func.count()).select_from(AuditEntry)).one()
            assert renewals == customers, "a customer without the renewal of its transaction"
            assert entries == 2 * customers, "an entry is missing, or one too many"
            last = session.exec(select(Customer).order_by(col(Customer.id).desc())).first()
            assert last is None or last.slug == f"c-{customers}"
            assert last is None or store.open_renewal(session, last) is not None
        with database.transaction():
            pass  # it can be written to
    finally:
        database.close()
    return customers


def look_at_vault(folder: Path) -> int:
    """How many transactions are in a vault, after everything about it was checked."""
    _whole(folder / "vault" / "vault.sqlite")
    with Vault.open(folder / "vault") as vault:
        known = [device.udid for device in vault.devices.all()]
        assert len(known) % IN_ONE == 0, "half of a transaction"
        count = len(known) // IN_ONE
        assert set(known) == {
            f"UDID-{number}-{n}" for number in range(1, count + 1) for n in range(IN_ONE)
        }
        for opened in vault.devices.open_all(known[-IN_ONE:]):
            assert opened.push_magic.text.startswith("magic-")
    return count


def _whole(path: Path) -> None:
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)], path
        assert database.execute("PRAGMA foreign_key_check").fetchall() == [], path


@dataclass(frozen=True)
class Plane:
    """One of the two: how it is written to, looked at, and where its files are."""

    name: str
    write: Callable[[Path, int, Callable[[], None]], None]
    look: Callable[[Path], int]


PLANES = (
    Plane("registry", write_registry, look_at_registry),
    Plane("vault", write_vault, look_at_vault),
)


def cut(plane: Plane, folder: Path, start: int, rng: random.Random, tally: Tally) -> int:
    """Kills a writer at a random moment; gives how many transactions its files then hold."""
    said = _killed(plane, folder, start, rng)
    copy = folder.with_name(folder.name + "-copy")
    shutil.copytree(folder, copy)
    for path in copy.rglob("*"):
        for end in ("-wal", "-shm", "-journal"):
            if path.name.endswith(end):
                tally.beside[end] = tally.beside.get(end, 0) + 1
    found = plane.look(copy)
    shutil.rmtree(copy)
    assert start + said <= found <= start + said + 1, (plane.name, start, said, found)
    tally.cuts += 1
    tally.commits += said
    tally.in_flight += found == start + said + 1
    return found


def _killed(plane: Plane, folder: Path, start: int, rng: random.Random) -> int:
    """Lets a process write, kills it, and gives how many commits it had told of."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:

        def done() -> None:
            os.write(writing, b".")

        try:
            plane.write(folder, start, done)
        finally:
            os._exit(1)
    os.close(writing)
    wanted, said = rng.randint(1, 12), 0
    while said < wanted:
        heard = os.read(reading, wanted - said)
        if not heard:
            raise AssertionError(f"the writer of the {plane.name} ended by itself")
        said += len(heard)
    end = time.perf_counter() + rng.random() * LONGEST_PAUSE
    while time.perf_counter() < end:
        pass
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    while more := os.read(reading, 4096):
        said += len(more)
    os.close(reading)
    return said


def begin(plane: Plane, folder: Path) -> None:
    """An empty registry or vault."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700)
    if plane.name == "registry":
        upgrade(f"sqlite:///{folder}/vendor.sqlite")
    else:
        Vault.create(folder / "vault").close()


def campaign(folder: Path, times: int, seed: int) -> dict[str, Tally]:
    """So many cuts, shared by both planes. Raises ``AssertionError`` at the first that did harm."""
    rng = random.Random(seed)
    tallies = {plane.name: Tally() for plane in PLANES}
    held = dict.fromkeys(tallies, 0)
    for number in range(times):
        plane = PLANES[number % len(PLANES)]
        place, tally = folder / plane.name, tallies[plane.name]
        if tally.cuts % ANEW_EVERY == 0:
            begin(plane, place)
            held[plane.name] = 0
        held[plane.name] = cut(plane, place, held[plane.name], rng, tally)
    return tallies


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--directory", type=Path, default=None, help="on the disk to be tried")
    given = parser.parse_args()
    began = time.perf_counter()
    with tempfile.TemporaryDirectory(dir=given.directory) as folder:
        tallies = campaign(Path(folder), given.times, given.seed)
    print(f"seed {given.seed}, {time.perf_counter() - began:.0f} s")
    for name, tally in tallies.items():
        beside = ", ".join(f"{count} {end}" for end, count in sorted(tally.beside.items()))
        print(
            f"{name}: {tally.cuts} cuts, {tally.commits} commits before them all there,"
            f" {tally.in_flight} more whole that nobody had heard of; files beside: {beside}"
        )
    print("every copy opened, integrity_check ok, invariants held")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
