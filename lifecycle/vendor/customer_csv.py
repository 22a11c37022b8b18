"""Customers as CSV, line by line: looked through once, and read again when they are asked for.

So a file of any length takes no memory, and what is wrong with it is known before anything is
made of its first row.
"""

from __future__ import annotations

import codecs
import csv
import io
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO

from lifecycle.errors import Refused, refuse
from lifecycle.vendor.csv_cells import as_it_was

if TYPE_CHECKING:
    from _csv import Reader as _Reader

MAX_ROWS = 2_000_000
"""Of a file; each takes some twenty bytes of memory (``seen_rows``)."""
PIECE = 2**20
"""Bytes of a file that are looked at together."""


@contextmanager
def reading() -> Iterator[None]:
    """Says what a file has that cannot be read, or is no text.

    Raises:
        Refused: ``file_unreadable`` or ``csv_not_utf8``.
    """
    try:
        yield
    except UnicodeDecodeError:
        raise refuse(
            "csv_not_utf8", "The file is not UTF-8 text.", "Save it as CSV (UTF-8)."
        ) from None
    except OSError as error:
        raise refuse(
            "file_unreadable",
            f"The file cannot be read ({error.strerror}).",
            "Check the disk that it is on.",
        ) from None


class CsvLines:
    """The rows of a file: the line that each ends in, and its values by column.

    Args:
        file: from its beginning; it stays open, and is read again for each iteration.
        check_columns: of the header line; raises ``Refused``.

    Raises:
        Refused: it is no such file. From the iteration, too, if it is not what it was.
    """

    def __init__(self, file: BinaryIO, check_columns: Callable[[list[str]], None]) -> None:
        self._file = file
        self._check_columns = check_columns
        self._stamp = _stamp(file)
        _require_utf8(file)
        self._count = sum(1 for _ in self._lines())

    def __len__(self) -> int:
        """How many rows there are."""
        return self._count

    def __iter__(self) -> Iterator[tuple[int, dict[str, str]]]:
        """From the first."""
        count = 0
        for line, header, values in self._lines():
            count += 1
            yield line, dict(zip(header, map(as_it_was, values), strict=True))
        if count != self._count or _stamp(self._file) != self._stamp:
            raise refuse(
                "file_changed",
                "The file was changed while it was read.",
                "Import it again when it is complete.",
            )

    def _lines(self) -> Iterator[tuple[int, list[str], list[str]]]:
        """The line that each row ends in, the columns, and a value for each."""
        self._file.seek(0)
        text = io.TextIOWrapper(self._file, "utf-8-sig", newline="")
        try:
            with reading():
                yield from self._parsed(csv.reader(text, strict=True))
        finally:
            if not text.closed:
                text.detach()  # or it would close the file

    def _parsed(self, reader: _Reader) -> Iterator[tuple[int, list[str], list[str]]]:
        line = count = 0
        try:
            header = [name.strip() for name in next(reader, [])]
            self._check_columns(header)
            line = reader.line_num
            for values in reader:
                line = reader.line_num
                if not values:
                    continue
                count += 1
                if count > MAX_ROWS:
                    raise _too_many()
                if len(values) > len(header):
                    raise _too_long(line)
                yield line, header, values + [""] * (len(header) - len(values))
        except csv.Error as error:
            raise refuse(
                "csv_malformed",
                f"Line {line + 1} is not CSV ({error}).",
                "Mend the quotes on that line.",
            ) from None


@reading()
def _require_utf8(file: BinaryIO) -> None:
    file.seek(0)
    decoder = codecs.getincrementaldecoder("utf-8")()
    while piece := file.read(PIECE):
        decoder.decode(piece)
    decoder.decode(b"", final=True)


def _stamp(file: BinaryIO) -> tuple[int, int] | None:
    """What changes with the file; of one that is none of the system's, None."""
    try:
        found = os.fstat(file.fileno())
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns


def _too_many() -> Refused:
    return refuse(
        "customers_too_many",
        f"The file has more than {MAX_ROWS:,} customers.",
        "Split it, and import one part after the other.",
    )


def _too_long(line: int) -> Refused:
    return refuse(
        "csv_row_too_long",
        f"Line {line} has more values than the header line has columns.",
        "Put a value with a comma in it into double quotes.",
    )
