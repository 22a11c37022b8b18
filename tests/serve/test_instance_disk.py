"""``instance run`` on a disk that is full or read-only: it says so, keeps what it has, and goes on.

The vault is on a small disk in memory, which is filled and made read-only while the loop runs; the
vendor, the network and Apple's part are real and well. Whoever plays does what is to be done
between two rounds of the loop, where ``instance run`` waits.
"""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlmodel import select
from structlog.testing import capture_logs
from structlog.typing import EventDict

from lifecycle.asking import ask_until_stopped
from lifecycle.config import CONFIG_NAME, load_config
from lifecycle.disk import DiskFull, DiskReadOnly
from lifecycle.errors import Unavailable
from lifecycle.instance.models import CredentialRow, KeyRow
from lifecycle.standalone import Standalone
from lifecycle.vendor import audit, store
from lifecycle.vendor.store import CustomerRecord
from tests.serve.disturbed import ACCOUNT, Disturbance, Play, Scene, insist
from tests.small_disk import SmallDisk, small_disk

END = object()
ROUNDS = 3
"""How often the loop finds the disk as it is, before somebody sees to it."""


@dataclass(frozen=True)
class Trouble:
    """What is wrong with the disk, how it is brought about and mended, and what is said of it."""

    code: str
    fault: type[Unavailable]
    begin: Callable[[SmallDisk], None]
    end: Callable[[SmallDisk], None]
    says: str


FULL = Trouble("disk_full", DiskFull, SmallDisk.fill, SmallDisk.make_room, "the disk is full")
READ_ONLY = Trouble(
    "disk_read_only",
    DiskReadOnly,
    lambda disk: disk.remount("ro"),
    lambda disk: disk.remount("rw"),
    "is read-only",
)
either = pytest.mark.parametrize("trouble", [FULL, READ_ONLY], ids=lambda one: one.code)


@dataclass
class Customer:
    """A customer with an instance on a small disk, and what its loop logs."""

    play: Play
    disk: SmallDisk
    log: list[EventDict]

    def run(self, between: Iterator[object], instance: Standalone | None = None) -> None:
        """``instance run``; ``between`` does something after each round, and ends it."""
        rng = random.Random(1)  # noqa: S311  (of the waits)
        ask_until_stopped(instance or self.play.acme, lambda _: next(between, END) is END, rng)

    def in_trouble(self, trouble: Trouble) -> Iterator[None]:
        """Some rounds with the disk as it is: each says so in one line, and changes no file."""
        before = self.files()
        self.log.clear()
        for number in range(1, ROUNDS + 1):
            yield
            assert self.warnings() == [trouble.code] * number
            last = next(line for line in reversed(self.log) if line["event"] == trouble.code)
            assert last["failures"] == number
            assert trouble.says in last["message"]
            assert str(self.play.acme.directory) in last["message"]
        assert self.files() == before

    def warnings(self) -> list[str]:
        return [str(line["event"]) for line in self.log if line["log_level"] != "info"]

    def files(self) -> dict[str, bytes]:
        vault = self.play.acme.directory
        return {path.name: path.read_bytes() for path in vault.iterdir() if path.is_file()}

    def record(self) -> CustomerRecord:
        with self.play.plane.database.reading() as session:
            return store.load(session, store.customer_by_slug(session, "acme"))

    def state(self) -> str | None:
        renewal = self.record().renewal
        return None if renewal is None else renewal.state

    def upload(self, portal: Callable[[str, bytes], bytes], fault: type[Unavailable]) -> None:
        """The admin's upload meets the disk as well: the vendor has the certificate, and the
        instance is told by the vendor."""
        request = self.play._requests["it@acme.example"]
        with pytest.raises(fault):
            self.play.acme.upload(portal(ACCOUNT, request))

    def require_whole(self, keys: int, credentials: int) -> None:
        """Every key that was made is there, opens, and is the one that the vendor knows."""
        active = self.record().active
        assert active is not None
        with self.play.acme.vault() as vault:
            held = vault.require_active()
            assert held.certificate.fingerprint == active.fingerprint
            assert vault.private_key(held).key_size == 2048
            with vault._safe.database.reading() as session:
                assert len(session.exec(select(KeyRow)).all()) == keys
                assert len(session.exec(select(CredentialRow)).all()) == credentials
                check = session.connection().exec_driver_sql("PRAGMA integrity_check")
                assert check.scalar() == "ok"
            for fingerprint in vault.keys.fingerprints():
                vault.keys.private_key(fingerprint)
        with self.play.plane.database.reading() as session:
            assert audit.verify_log(session).problem is None


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with Scene(tmp_path_factory.mktemp("scene")).open() as scene:
        yield scene


@contextmanager
def enrolled(scene: Scene, directory: Path) -> Iterator[Customer]:
    for part in ("vendor", "canary"):
        shutil.copytree(scene.directory / part, directory / part)
    scene.clock.set(scene.clock.now().replace(year=2027, month=1, day=4, hour=6, minute=0))
    scene.lab.mailbox.take()
    with (
        small_disk(directory / "acme") as disk,
        Play(scene, directory, Disturbance()).running() as play,
        capture_logs() as log,
    ):
        play.acme.make_vault()
        insist(lambda: play.acme.enrol(play.invite("acme")))
        yield Customer(play, disk, log)


@pytest.fixture
def customer(scene: Scene, tmp_path: Path) -> Iterator[Customer]:
    with enrolled(scene, tmp_path) as customer:
        yield customer


@either
def test_at_every_step_of_a_year_the_loop_names_the_disk_and_goes_on_when_it_is_mended(
    customer: Customer, trouble: Trouble
) -> None:
    play, disk, portal = customer.play, customer.disk, customer.play.scene.lab.portal

    def year() -> Iterator[None]:
        play.tick()
        trouble.begin(disk)
        yield from customer.in_trouble(trouble)
        assert customer.state() == "requested", "no CSR may leave whose key is not kept"
        trouble.end(disk)
        yield
        assert customer.state() == "csr_received"
        play.tick()

        trouble.begin(disk)
        customer.upload(portal.create, trouble.fault)
        yield from customer.in_trouble(trouble)
        trouble.end(disk)
        yield
        customer.require_whole(keys=1, credentials=1)
        play.tick()

        play._at(days=95)
        trouble.begin(disk)
        yield from customer.in_trouble(trouble)
        trouble.end(disk)
        yield
        customer.require_whole(keys=1, credentials=2)

        play._at(days=335)
        play.tick()
        serial = play.active_serial()
        trouble.begin(disk)
        yield from customer.in_trouble(trouble)
        trouble.end(disk)
        yield
        play.tick()
        trouble.begin(disk)
        customer.upload(lambda who, what: portal.renew(who, what, serial), trouble.fault)
        yield from customer.in_trouble(trouble)
        assert play.active_serial() == serial, "what was in use stays in use"
        trouble.end(disk)
        yield
        assert play.active_serial() != serial
        customer.require_whole(keys=2, credentials=3)

    customer.run(year())


class FullAt:
    """A disk that fills up around one write of the vault (``WriteObserver``)."""

    def __init__(self, disk: SmallDisk, moment: str) -> None:
        self._disk = disk
        self._moment = moment
        self.left = 0

    def reached(self, boundary: str) -> None:
        if boundary == self._moment and self.left > 0:
            self.left -= 1
            if self.left == 0:
                self._disk.fill()


@pytest.mark.parametrize("moment", ["vault.commit:before", "vault.commit:after"])
def test_a_disk_that_fills_up_in_the_midst_of_a_step_costs_no_key_and_no_certificate(
    customer: Customer, moment: str
) -> None:
    play, disk, portal = customer.play, customer.disk, customer.play.scene.lab.portal
    full = FullAt(disk, moment)
    filled = 0

    def with_the_disk_full_at_every_write(done: Callable[[], bool]) -> Iterator[None]:
        nonlocal filled
        for write in range(1, 6):
            full.left = write
            yield
            if full.left == 0:
                filled += 1
                yield
                disk.make_room()
            full.left = 0
            if done():
                return
        yield
        assert done()

    def year() -> Iterator[None]:
        play.tick()
        yield from with_the_disk_full_at_every_write(lambda: customer.state() == "csr_received")
        play.tick()
        upload(portal.create)
        yield from with_the_disk_full_at_every_write(lambda: customer.state() is None)
        play.tick()
        play._at(days=335)
        play.tick()
        yield from with_the_disk_full_at_every_write(lambda: customer.state() == "csr_received")
        play.tick()
        serial = play.active_serial()
        upload(lambda who, what: portal.renew(who, what, serial))
        yield from with_the_disk_full_at_every_write(lambda: customer.state() is None)
        play.tick()

    def upload(at_the_portal: Callable[[str, bytes], bytes]) -> None:
        disk.fill()
        customer.upload(at_the_portal, DiskFull)
        disk.make_room()

    config = play.acme.config
    with Standalone(config, play.clock, observer=full, sleep=lambda _: None) as alone:
        customer.run(year(), alone)
    assert filled > 4, "the disk must fill up at several writes"
    customer.require_whole(keys=2, credentials=2)
    assert set(customer.warnings()) == {"disk_full"}


def test_what_could_not_be_noted_as_deployed_is_not_deployed_at_every_look(
    customer: Customer, tmp_path: Path
) -> None:
    play, disk, runs = customer.play, customer.disk, tmp_path / "runs"
    file = play.acme.config.base / CONFIG_NAME
    script = f"echo run >> {runs}"
    with file.open("a") as config:
        config.write(f'\n[deploy.mdm]\nkind = "command"\ncommand = ["sh", "-c", "{script}"]\n')

    def deployed() -> int:
        return len(runs.read_text().splitlines()) if runs.exists() else 0

    def day() -> Iterator[None]:
        play.tick()
        yield
        play.tick()
        play.upload(play.acme, "acme", play.scene.lab.portal.create)  # without the target
        disk.fill()
        for _ in range(ROUNDS):
            yield
        assert deployed() == 0
        said = [line for line in customer.log if line["event"] == "deploy_failed"]
        assert len(said) == ROUNDS
        assert all(FULL.says in line["message"] for line in said)
        disk.make_room()
        yield
        assert deployed() == 1

    with Standalone(load_config(file), play.clock, sleep=lambda _: None) as alone:
        customer.run(day(), alone)


HALF_A_WRITE = """
import os, signal, sqlite3, sys
vault = sqlite3.connect(sys.argv[1], isolation_level=None)
vault.execute("PRAGMA cache_size = 1")
vault.execute("BEGIN IMMEDIATE")
vault.execute("CREATE TABLE half (written)")
vault.execute("INSERT INTO half VALUES (randomblob(500000))")
os.kill(os.getpid(), signal.SIGKILL)
"""


def leave_half_a_write(vault: Path) -> None:
    """Its machine was cut off; SQLite puts that right as soon as it may write."""
    subprocess.run([sys.executable, "-c", HALF_A_WRITE, str(vault)], check=False)
    assert vault.with_name(f"{vault.name}-journal").exists()


def test_an_instance_that_is_started_on_a_disk_that_is_not_well_waits_until_it_is(
    customer: Customer,
) -> None:
    play, disk = customer.play, customer.disk
    vault = play.acme.directory / "vault.sqlite"
    leave_half_a_write(vault)

    def waiting() -> Iterator[None]:
        assert customer.warnings() == ["disk_read_only"]
        READ_ONLY.end(disk)
        yield
        assert customer.state() == "csr_received"

    play.tick()
    READ_ONLY.begin(disk)
    customer.run(waiting())
