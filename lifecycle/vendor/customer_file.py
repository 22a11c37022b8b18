"""Customers as a file: CSV or JSON, the same columns for import and export."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any, BinaryIO, Protocol

from lifecycle.errors import Refused, refuse
from lifecycle.vendor.csv_cells import harmless
from lifecycle.vendor.customer_csv import CsvLines, reading

COLUMNS = (
    *("slug", "name", "email", "apple_account", "certificate"),
    *("contacts", "language", "tags", "notes", "kind"),
)
REQUIRED = COLUMNS[:3]
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
    return _CsvRows(file)


class _CsvRows:
    def __init__(self, file: BinaryIO) -> None:
        self._lines = CsvLines(file, lambda names: _require_columns(names, "The header line"))

    def __len__(self) -> int:
        return len(self._lines)

    def __iter__(self) -> Iterator[Row]:
        given: frozenset[str] = frozenset()
        for line, values in self._lines:
            given = given or frozenset(values)
            yield _row(line, values, given)


@reading()
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
    cells: dict[str, Any] = {}
    for name, value in values.items():
        if name in SEVERAL:
            words = value if isinstance(value, list) else _words(value)
            cells[name] = tuple(str(word).strip() for word in words)
        else:
            cells[name] = "" if value is None else str(value).strip()
    return Row(line, **cells, given=given)


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


def as_documents(rows: Iterable[Row]) -> Iterator[dict[str, object]]:
    """The rows as JSON objects; what ``read_customers`` reads."""
    for row in rows:
        yield {
            field.name: list(value) if isinstance(value, tuple) else value
            for field in fields(Row)
            if field.name in COLUMNS and ((value := getattr(row, field.name)) is not None)
        }
