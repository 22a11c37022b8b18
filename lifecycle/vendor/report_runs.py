"""Sorts more records than memory should hold.

Sorted runs of them are written to a file, and merged as they are read. A few stay in memory.
"""

from __future__ import annotations

import heapq
import marshal
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import BinaryIO

from lifecycle.disk import naming_disk_trouble
from lifecycle.spool import temporary_file, temporary_folder

HELD = 4 * 1024 * 1024
"""Characters that are held before they are written as a run."""
BLOCK = 256
"""Records of each run that are in memory while the runs are merged."""


@dataclass(frozen=True, slots=True)
class Run:
    """Sorted records in a file: where each block of them begins, and its length, in bytes."""

    blocks: tuple[tuple[int, int], ...]


class Sorter:
    """Takes records in any order.

    Args:
        open_file: gives the file that runs are written to, when the first is.
        held: characters that are held at most.

    Attributes:
        runs: what was written.
    """

    def __init__(
        self, open_file: Callable[[], BinaryIO] = temporary_file, held: int = HELD
    ) -> None:
        self.runs: list[Run] = []
        self._open_file = open_file
        self._file: BinaryIO | None = None
        self._most = held
        self._held: list[str] = []
        self._size = self._end = 0

    def add(self, records: list[str]) -> None:
        """Takes some records.

        Raises:
            DiskFull, DiskReadOnly: the file cannot be made or written.
        """
        self._held += records
        self._size += sum(map(len, records))
        if self._size > self._most:
            self.write()

    def write(self) -> None:
        """Writes what is held.

        Raises:
            DiskFull, DiskReadOnly: the file cannot be made or written.
        """
        if not self._held:
            return
        self._held.sort()
        if self._file is None:
            self._file = self._open_file()
        blocks = []
        with naming_disk_trouble(temporary_folder()):
            for start in range(0, len(self._held), BLOCK):
                block = marshal.dumps(self._held[start : start + BLOCK])
                self._file.write(block)
                blocks.append((self._end, len(block)))
                self._end += len(block)
            self._file.flush()
        self.runs.append(Run(tuple(blocks)))
        self._held, self._size = [], 0

    def in_order(self) -> Iterator[str]:
        """All records that it was given, in order."""
        self._held.sort()
        file = self._file
        written = [] if file is None else [read(file, run) for run in self.runs]
        return heapq.merge(*written, self._held)


def read(file: BinaryIO, run: Run) -> Iterator[str]:
    """A run's records; other processes may read and write the file meanwhile."""
    number = file.fileno()
    # Nobody else can write to the file.
    blocks = (marshal.loads(os.pread(number, size, at)) for at, size in run.blocks)  # noqa: S302
    return chain.from_iterable(blocks)


def merged(files: Iterable[tuple[BinaryIO, Iterable[Run]]]) -> Iterator[str]:
    """All records of these runs, in order."""
    return heapq.merge(*(read(file, run) for file, runs in files for run in runs))
