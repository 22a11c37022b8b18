"""Numbers that several processes read and write in turn: the state of their common pace."""

from __future__ import annotations

import fcntl
import mmap
import os
import tempfile
from types import TracebackType

from lifecycle.apns.pace import CELLS

_SIZE = 8 * CELLS


class SharedCells:
    """``CELLS`` numbers, zero at first; as a context manager it keeps the other processes out.

    The lock is the system's, on the file beneath: it dies with the process that holds it.

    Args:
        descriptor: of the file (``made`` makes it); it stays open.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._numbers = memoryview(mmap.mmap(descriptor, _SIZE)).cast("d")

    def __getitem__(self, place: int) -> float:
        return self._numbers[place]

    def __setitem__(self, place: int, value: float) -> None:
        self._numbers[place] = value

    def __enter__(self) -> None:
        # Of a process, not of an open file: those that were forked keep each other out too.
        fcntl.lockf(self._descriptor, fcntl.LOCK_EX)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        fcntl.lockf(self._descriptor, fcntl.LOCK_UN)


def made() -> int:
    """The descriptor of a new file of zeros that has no name, and ends with its last process."""
    with tempfile.TemporaryFile() as file:
        file.truncate(_SIZE)
        return os.dup(file.fileno())
