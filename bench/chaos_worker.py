"""Workers that are killed: forked from a nursery that has loaded everything, by number.

A worker does what ``run`` does, again and again, on a clock that all share. What it has in hand
with the mail server it notes in shared memory, so that whoever kills it can see what that cost.
"""

from __future__ import annotations

import mmap
import os
import signal
import struct
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from lifecycle.config import CONFIG_NAME, load_config
from lifecycle.correspondence import configured_mail
from lifecycle.errors import Unavailable
from lifecycle.pki.revocation import RevocationStatus
from lifecycle.vendor.database import Database
from lifecycle.vendor.digest import DigestSchedule, write_digest
from lifecycle.vendor.facts import Policy
from lifecycle.vendor.outbox import deliver_due
from lifecycle.vendor.signers import remind_of_signer
from lifecycle.vendor.worker import Worker
from lifecycle.vendor_plane import AskingInstances, VendorPlane

CUSTOMER_LEASE = timedelta(seconds=1)
MESSAGE_LEASE = timedelta(seconds=4)
HURRY = 20
"""Waits between two tries are so much shorter: a year goes by in minutes here."""
PAUSE = 0.03
POLICY = Policy(isolation_retry=timedelta(days=4000), isolation_every=timedelta(days=4000))
"""Isolation is another test's matter."""

_CLOCK = struct.Struct("<q")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MOST = 64
"""Workers that can live at once."""


class Shared:
    """Memory that the driver and all workers see: the time, and who has a message in hand."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, _CLOCK.size + MOST)

    def now(self) -> datetime:
        """The time, for everybody."""
        return _EPOCH + timedelta(microseconds=_CLOCK.unpack_from(self._memory)[0])

    def set(self, now: datetime) -> None:
        """Moves everybody's clock."""
        _CLOCK.pack_into(self._memory, 0, (now - _EPOCH) // timedelta(microseconds=1))

    def in_hand(self, place: int, value: bool | None = None) -> bool:
        """Whether the worker has handed over a message that it has not noted; sets it, too."""
        if value is not None:
            self._memory[_CLOCK.size + place] = int(value)
        return bool(self._memory[_CLOCK.size + place])


class Hand:
    """The worker's observer: notes what it has in hand."""

    def __init__(self, shared: Shared, place: int) -> None:
        self._shared = shared
        self._place = place

    def reached(self, boundary: str) -> None:
        """See ``WriteObserver``."""
        if boundary == "mail.sent:before":
            self._shared.in_hand(self._place, True)
        elif boundary == "vendor.commit:after":
            self._shared.in_hand(self._place, False)


class NeverRevoked:
    """An OCSP responder that is never asked: the certificates name none."""

    def ask(self, certificate: bytes) -> RevocationStatus:
        """Must not be reached."""
        raise AssertionError(certificate)


def work_for_ever(directory: Path, url: str, shared: Shared, place: int) -> None:
    """Ticks and sends until it is killed; what is lost meanwhile is met again in the next round."""
    config = load_config(directory / CONFIG_NAME)
    database = Database(url, Hand(shared, place), sleep=lambda s: time.sleep(s / HURRY))
    plane = VendorPlane(config, shared)
    worker = Worker(
        database,
        shared,
        POLICY,
        plane.signer,
        AskingInstances(),
        NeverRevoked(),
        plane.notices,
        CUSTOMER_LEASE,
    )
    mail = configured_mail(config)
    schedule = DigestSchedule(datetime.min.time(), UTC)
    nursery = os.getppid()
    while os.getppid() == nursery:
        try:
            done = worker.tick(batch=10)
            now = shared.now()
            remind_of_signer(database, POLICY.ladder, plane.notices, now)
            write_digest(database, POLICY, plane.notices, schedule, now)
            sent = deliver_due(
                database,
                mail,
                now,
                sender=config.smtp.sender,
                vendor=config.vendor.name,
                observer=Hand(shared, place),
                lease=MESSAGE_LEASE,
            )
        except Unavailable:
            time.sleep(PAUSE)
            continue
        if done.defects:
            raise AssertionError(done.defects)
        if not done.customers and not sent.sent:
            time.sleep(PAUSE)


class Nursery:
    """A process without threads, forked before there are any, that forks workers when asked.

    Args:
        work: what a worker does, given its place; never returns.
    """

    def __init__(self, work: Callable[[str], object]) -> None:
        asked, self._ask = os.pipe()
        self._told, tell = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(self._ask)
            os.close(self._told)
            _serve(asked, tell, work)
        os.close(asked)
        os.close(tell)

    def fork(self, order: str) -> int:
        """A new worker; gives its process's number."""
        os.write(self._ask, f"{order}\n".encode())
        return int(os.read(self._told, 32))

    def close(self) -> None:
        """Ends the nursery; workers that live are the caller's to end."""
        os.close(self._ask)
        os.waitpid(self.pid, 0)
        os.close(self._told)


def _serve(asked: int, tell: int, work: Callable[[str], object]) -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # whoever is killed is not waited for
    with os.fdopen(asked) as orders:
        for order in orders:
            pid = os.fork()
            if pid == 0:
                status = 1
                try:
                    work(order.strip())
                finally:
                    os._exit(status)
            os.write(tell, str(pid).encode())
    os._exit(0)
