"""A disk that is full or read-only: said as it is, nothing lost, and all goes on when it is mended.

The disk is a small one in memory, mounted for the test; the machine must let the test mount it.
The loop of an instance on such a disk is in serve/test_instance_disk.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pyrage
import pytest
import structlog

from cli.invocation import write_pieces
from lifecycle.backup.encryption import ForRecipients
from lifecycle.disk import DiskFull, DiskReadOnly
from lifecycle.errors import Refused, Unavailable
from lifecycle.log_lines import configure
from lifecycle.registry_backup import back_up
from lifecycle.rehearsal.stage import START, Stage
from lifecycle.scheduler import look
from lifecycle.vendor.audit import verify_log
from tests.small_disk import SmallDisk, small_disk

EXPIRY = START + timedelta(days=365)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    with small_disk(tmp_path / "disk") as disk:
        yield disk


@pytest.fixture
def stage(disk: SmallDisk) -> Iterator[Stage]:
    """A deployment on the small disk, with a customer whose next rung is about to fall due."""
    with Stage(disk.path / "vendor", seed=5).open() as stage:
        stage.import_signer(900)
        stage.add_customer("acme", "Acme", "it@acme.example", "push@acme.example")
        stage.embedded.tick()
        request = stage.embedded.desk("acme").work().request
        assert request is not None
        pem = stage.portal.create("push@acme.example", request.request.encode())
        stage.embedded.upload("acme", pem)
        stage.clock.set(EXPIRY - timedelta(days=31))
        stage.embedded.tick()
        stage.mailbox.take()
        stage.clock.set(EXPIRY - timedelta(days=29))
        yield stage


def to_customer(stage: Stage) -> list[str]:
    found = stage.mailbox.take()
    return [str(m["Subject"]).strip() for m in found if "acme" in str(m["To"])]


def look_again(stage: Stage) -> Unavailable | None:
    stage.clock.advance(timedelta(minutes=1))
    try:
        look(stage.embedded)
    except Unavailable as fault:
        return fault
    return None


def test_a_full_disk_is_named_nothing_goes_out_twice_and_the_worker_goes_on_by_itself(
    disk: SmallDisk, stage: Stage
) -> None:
    disk.fill()
    for _ in range(3):
        fault = look_again(stage)
        assert isinstance(fault, DiskFull)
        assert (fault.code, fault.exit_status) == ("disk_full", 5)
        assert "Make room" in fault.remedy
    assert to_customer(stage) == []
    disk.make_room()
    assert look_again(stage) is None
    assert look_again(stage) is None
    assert len(to_customer(stage)) == 1
    with stage.embedded.database.reading() as session:
        assert verify_log(session).problem is None


def test_a_message_that_could_not_be_marked_is_not_sent(disk: SmallDisk, stage: Stage) -> None:
    stage.mailbox.outage = True
    stage.embedded.tick()  # the reminder is in the outbox, and waits
    stage.mailbox.outage = False
    stage.clock.advance(timedelta(hours=7))
    disk.fill()
    for _ in range(3):
        with pytest.raises(DiskFull):
            stage.embedded.send_mail()
        stage.clock.advance(timedelta(minutes=1))
    assert to_customer(stage) == []
    disk.make_room()
    assert stage.embedded.send_mail().sent == 1
    assert len(to_customer(stage)) == 1


def test_a_read_only_disk_is_named_and_all_goes_on_when_it_can_be_written(
    disk: SmallDisk, stage: Stage
) -> None:
    stage.embedded.close()
    disk.remount("ro")
    try:
        for _ in range(2):
            fault = look_again(stage)
            assert isinstance(fault, DiskReadOnly)
            assert (fault.code, fault.exit_status) == ("disk_read_only", 5)
            assert fault.remedy
        assert to_customer(stage) == []
        stage.embedded.database.close()
    finally:
        disk.remount("rw")
    assert look_again(stage) is None
    assert len(to_customer(stage)) == 1


def test_an_instance_on_a_full_or_read_only_disk_says_so_and_keeps_what_it_has(
    disk: SmallDisk, stage: Stage
) -> None:
    active = stage.record("acme").active
    assert active is not None
    update = stage.lab.new_device(active.topic)
    disk.fill()
    with pytest.raises(DiskFull) as full:
        stage.deployment.take_in("acme", update)
    assert full.value.exit_status == 5
    disk.make_room()
    stage.embedded.close()
    disk.remount("ro")
    try:
        with pytest.raises(DiskReadOnly):
            stage.deployment.take_in("acme", update)
    finally:
        disk.remount("rw")
    with stage.embedded.vault("acme") as vault:
        assert vault.devices.all() == ()
        vault.private_key(vault.require_active())
    stage.deployment.take_in("acme", update)
    with stage.embedded.vault("acme") as vault:
        assert len(vault.devices.all()) == 1


def test_a_backup_that_finds_no_room_leaves_the_one_before(disk: SmallDisk, stage: Stage) -> None:
    key = pyrage.x25519.Identity.generate()
    encryption = ForRecipients((str(key.to_public()),))
    out = disk.path / "registry.age"
    config_file = disk.path / "vendor" / "config.toml"
    back_up(stage.embedded, config_file, out, encryption, keys=False)
    before = out.read_bytes()
    disk.fill()
    with pytest.raises(DiskFull):
        back_up(stage.embedded, config_file, out, encryption, keys=False)
    assert out.read_bytes() == before
    left = {path.name for path in (*disk.path.iterdir(), *(disk.path / "vendor").iterdir())}
    assert not {name for name in left if name.startswith(".")}


def test_a_log_on_the_full_disk_ends_nothing_and_goes_on_when_there_is_room(
    disk: SmallDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may well be: whoever has to say that the disk is full says it there."""
    file = disk.path / "run.log"
    with file.open("w", buffering=1) as stderr:
        monkeypatch.setattr("sys.stderr", stderr)
        configure()
        log = structlog.get_logger()
        disk.fill()
        for number in range(200):
            log.warning("disk_full", message="The vault cannot be written. " * 20, number=number)
        disk.make_room()
        log.info("csr_sent")
    lines = file.read_text().splitlines()
    assert "csr_sent" in lines[-1]


def test_a_file_that_finds_no_room_leaves_the_old_one_and_nothing_else(disk: SmallDisk) -> None:
    target = disk.path / "report.csv"
    write_pieces(target, [b"old\n"])
    with pytest.raises(Refused) as caught:
        write_pieces(target, (b"x" * 1024 * 1024 for _ in range(20)))
    assert caught.value.codes == ("file_unwritable",)
    assert "No space left on device" in str(caught.value)
    assert [file.name for file in disk.path.iterdir()] == ["report.csv"]
    assert target.read_bytes() == b"old\n"
