"""Customers as a file: CSV or JSON, the same columns for import and export."""

from __future__ import annotations

import codecs
import csv
import io
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol

from lifecycle.errors import Refused, refuse
from lifecycle.vendor.csv_cells import as_it_was, harmless

if TYPE_CHECKING:
    from _csv import Reader as _Reader

COLUMNS = (
    *("slug", "name", "email", "apple_account", "certificate"),
    *("contacts", "language", "tags", "notes", "kind"),
)
REQUIRED = COLUMNS[:3]
MAX_ROWS = 2_000_000
"""Of a file; each takes some twenty bytes of memory (``seen_rows``)."""
PIECE = 2**20
"""Bytes of a file that are looked at together."""
MAX_JSON_BYTES = 16 * 1024 * 1024
"""Parsed JSON can take 25 times as much memory as its text."""
SEVERAL = ("contacts", "tags")
"""Columns with several words: apart by spaces, commas or semicolons in CSV, lists in JSON."""


@dataclass(frozen=True, slots=True)
class Row:
    """One customer of a file.

    Attributes:
        line: of the file, from 1 (in JSON: the number of the entry).
        certificate: a path as written there.
        kind: ``customer`` (also when it is empty) or ``canary``.
        given: the columns that the file has; what it has not is left as it is recorded.
    """

    line: int
    slug: str
    name: str
    email: str
    apple_account: str = ""
    certificate: str = ""
    contacts: tuple[str, ...] = ()
    language: str = ""
    tags: tuple[str, ...] = ()
    notes: str = ""
    kind: str = ""
    given: frozenset[str] = frozenset(COLUMNS)


class Rows(Protocol):
    """Rows of which the number is known."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Row]: ...


def read_customers(file: BinaryIO, form: str) -> Rows:
    """The customers of a file (UTF-8, with or without a BOM).

    A CSV file is looked through at once, and its rows are read from it again when they are asked
    for: they are never all in memory.

    Args:
        file: from its beginning, as often as its rows are asked for.
        form: ``csv`` (with a header line) or ``json`` (a list of objects).

    Raises:
        Refused: it is not such a file, cannot be read, or a required column is missing. From
            the rows, too, if the file is not what it was: ``file_changed`` then, or any other.
    """
    if form == "json":
        return _read_json(_json_text(file))
    _require_utf8(file)
    return _CsvRows(file)


@contextmanager
def _reading() -> Iterator[None]:
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


class _CsvRows:
    """The rows of a CSV file that was found to be one."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._stamp = _stamp(file)
        self._given: frozenset[str] = frozenset()
        self._count = sum(1 for _ in self._lines())

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Row]:
        count = 0
        for line, header, values in self._lines():
            count += 1
            cells: dict[str, Any] = {}
            for name, value in zip(header, values, strict=True):
                text = as_it_was(value)
                cells[name] = tuple(_words(text)) if name in SEVERAL else text.strip()
            yield Row(line, **cells, given=self._given)
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
            with _reading():
                yield from self._parsed(csv.reader(text, strict=True))
        finally:
            if not text.closed:
                text.detach()  # or it would close the file

    def _parsed(self, reader: _Reader) -> Iterator[tuple[int, list[str], list[str]]]:
        line = count = 0
        try:
            header = [name.strip() for name in next(reader, [])]
            _require_columns(header, "The header line")
            self._given = frozenset(header)
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


@_reading()
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


@_reading()
def _json_text(file: BinaryIO) -> str:
    size = file.seek(0, os.SEEK_END)
    if size > MAX_JSON_BYTES:
        raise refuse(
            "json_too_large",
            f"The file has {size // 2**20} MiB; at most {MAX_JSON_BYTES // 2**20} are read.",
            "Write it as CSV, or split it.",
        )
    file.seek(0)
    return file.read().decode("utf-8-sig")


def _read_json(text: str) -> list[Row]:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise refuse(
            "json_malformed", f"The file is not JSON ({error}).", "Mend it at that place."
        ) from None
    if isinstance(document, dict):
        document = document.get("customers")
    if not isinstance(document, list) or not all(isinstance(one, dict) for one in document):
        raise refuse(
            "json_no_list",
            "The file is not a list of customers.",
            "Write one list of objects, each with the keys slug, name and email.",
        )
    rows = []
    for number, one in enumerate(document, 1):
        _require_columns(list(one), f"Entry {number}")
        row = _row(number, one, frozenset(one))
        _require_text(row, number)
        rows.append(row)
    return rows


def _require_text(row: Row, number: int) -> None:
    """JSON can spell half of a surrogate pair, which no database and no mail has a form for."""
    try:
        "".join(
            "".join(value) if isinstance(value, tuple) else value
            for value in (getattr(row, name) for name in COLUMNS)
        ).encode()
    except UnicodeEncodeError:
        raise refuse(
            "json_not_text",
            f"Entry {number} has characters that are none: half of a surrogate pair.",
            "Write the file again as UTF-8.",
        ) from None


def _require_columns(names: list[str], what: str) -> None:
    missing = [name for name in REQUIRED if name not in names]
    unknown = [name for name in names if name not in COLUMNS]
    if missing or unknown:
        wrong = f"lacks {', '.join(missing)}" if missing else f"has unknown {unknown[0]!r}"
        raise _wrong_columns(what, wrong)


def _wrong_columns(what: str, wrong: str) -> Refused:
    return refuse(
        "csv_columns_wrong",
        f"{what} {wrong}.",
        f"Use the columns {','.join(COLUMNS)} (all after email may be left out).",
    )


def _row(line: int, values: Mapping[str, Any], given: frozenset[str]) -> Row:
    return Row(line, **{name: _cell(name, value) for name, value in values.items()}, given=given)


def _cell(name: str, value: object) -> Any:
    if name in SEVERAL:
        words = value if isinstance(value, list) else _words(value)
        return tuple(str(word).strip() for word in words)
    return "" if value is None else str(value).strip()


def _words(text: object) -> list[str]:
    return str(text or "").replace(";", " ").replace(",", " ").split()


def write_csv(rows: Iterable[Row]) -> Iterator[str]:
    """The rows as CSV, line by line, with a header; what ``read_customers`` reads."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in rows:
        writer.writerow(harmless(_as_cell(getattr(row, name))) for name in COLUMNS)
        yield buffer.getvalue()
        buffer.seek(0)
        buffer.truncate()
    yield buffer.getvalue()


def _as_cell(value: object) -> object:
    return " ".join(value) if isinstance(value, tuple) else value


def as_documents(rows: Iterable[Row]) -> list[dict[str, object]]:
    """The rows as JSON objects; what ``read_customers`` reads."""
    return [
        {
            field.name: list(value) if isinstance(value, tuple) else value
            for field in fields(Row)
            if field.name in COLUMNS and ((value := getattr(row, field.name)) is not None)
        }
        for row in rows
    ]
