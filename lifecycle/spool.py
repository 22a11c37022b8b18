"""Values that are held until the end of what is under way, more of them than memory should hold.

The newest are in memory; the others are in a file that has no name, that nobody else can open
(mode 0600), and that ends with the spool or its process.
"""

from __future__ import annotations

import json
import tempfile
import weakref
from collections.abc import Callable, Iterable, Iterator
from typing import Any, BinaryIO, Generic, TypeVar

from lifecycle.disk import DiskReadOnly, naming_disk_trouble

T = TypeVar("T")
IN_MEMORY = 500
"""Values; they go to the file together, as one line."""


class Spool(Generic[T]):
    """Values in the order in which they came. Not to be added to while it is read.

    Args:
        pack: says a value in JSON's own types.
        unpack: makes the same value of that again.
    """

    def __init__(self, pack: Callable[[T], object], unpack: Callable[[Any], T]) -> None:
        self._pack = pack
        self._unpack = unpack
        self._newest: list[T] = []
        self._count = 0
        self._file: BinaryIO | None = None

    def add(self, value: T) -> None:
        """Puts a value behind the others. Raises ``DiskFull``, ``DiskReadOnly``."""
        self._newest.append(value)
        self._count += 1
        if len(self._newest) >= IN_MEMORY:
            line = json.dumps([self._pack(one) for one in self._newest]).encode("ascii")
            file = self._opened()
            with naming_disk_trouble(temporary_folder()):
                file.seek(0, 2)
                file.write(line + b"\n")
                file.flush()
            self._newest = []

    def extend(self, values: Iterable[T]) -> None:
        """Puts values behind the others. Raises as ``add``."""
        for value in values:
            self.add(value)

    def __len__(self) -> int:
        """How many there are."""
        return self._count

    def __iter__(self) -> Iterator[T]:
        """All of them, from the first; only one reader at a time."""
        if self._file is not None:
            self._file.seek(0)
            for line in self._file:
                yield from map(self._unpack, json.loads(line))
        yield from self._newest

    def _opened(self) -> BinaryIO:
        if self._file is None:
            # Closed with the spool: who is handed one need not know that there is a file.
            self._file = temporary_file()
            weakref.finalize(self, self._file.close)
        return self._file


def temporary_file() -> BinaryIO:
    """A new file that has no name and ends when it is closed.

    Raises:
        DiskFull, DiskReadOnly: no file can be made in the folder, or there is no folder.
    """
    with naming_disk_trouble(temporary_folder()):
        return tempfile.TemporaryFile()


def temporary_folder() -> str:
    """The folder for temporary files, as the subject of a sentence. Raises ``DiskReadOnly``."""
    try:
        return f"The folder for temporary files, {tempfile.gettempdir()},"
    except FileNotFoundError:
        raise DiskReadOnly(
            "There is no folder for temporary files in which one can be made.",
            "Name one in the environment's TMPDIR, or make room in /tmp.",
        ) from None
