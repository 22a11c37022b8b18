"""What may run beside what: files that one process at a time holds.

Locks on files keep the processes of one machine apart, which is all there is where the registry
is a file. On a database server any number may tick and send: there they share the work by leases
(``vendor.leases``), and only a sweep still has a file, for the pace that Apple sees of a machine.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from lifecycle.config import Config
from lifecycle.disk import naming_disk_trouble
from lifecycle.errors import refuse

RUN_LOCK = "run.lock"
TICK_LOCK = "tick.lock"
SWEEP_LOCK = "sweep.lock"
TICK_WAITS_SECONDS = 300
SENDER_LOCK = "outbox.lock"
SENDER_WAITS_SECONDS = 60


@contextmanager
def one_tick(config: Config) -> Iterator[None]:
    """Keeps ticks apart, where the registry is a file: those of ``run`` and those of ``tick``
    wait for each other.

    Raises:
        Refused: ``already_running``, another tick has been at work for minutes.
    """
    if not config.is_one_machine:
        yield
        return
    with _held(config.base / TICK_LOCK, TICK_WAITS_SECONDS):
        yield


@contextmanager
def one_sweep(config: Config) -> Iterator[None]:
    """Lets one ``verify --all`` live at a time: two would double the pace that Apple sees.

    Raises:
        Refused: ``already_running``.
    """
    with _held(config.base / SWEEP_LOCK, 0):
        yield


@contextmanager
def one_sender(config: Config) -> Iterator[bool]:
    """Lets one process send at a time, where the registry is a file; gives False where another
    one goes on for too long."""
    if not config.is_one_machine:
        yield True
        return
    lock = _lock(config.base / SENDER_LOCK, SENDER_WAITS_SECONDS)
    try:
        with naming_disk_trouble(f"The lock {lock.lock_file}"):
            lock.acquire()
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        lock.release()


@contextmanager
def one_run(config: Config) -> Iterator[None]:
    """Lets one ``run`` live at a time, where the registry is a file.

    Raises:
        Refused: ``already_running``.
    """
    if not config.is_one_machine:
        yield
        return
    with _held(config.base / RUN_LOCK, 0):
        yield


@contextmanager
def _held(path: Path, timeout: float) -> Iterator[None]:
    lock = _lock(path, timeout)
    try:
        with naming_disk_trouble(f"The lock {path}"):
            lock.acquire()
    except Timeout:
        raise refuse(
            "already_running",
            "Another pushcert is at work on this database.",
            "Leave it to that one, or stop it first.",
        ) from None
    try:
        yield
    finally:
        lock.release()


def _lock(path: Path, timeout: float) -> FileLock:
    # The system releases the lock when its process dies, however it dies.
    return FileLock(path, timeout=timeout, mode=0o600)
