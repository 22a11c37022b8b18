"""The report as CSV: a line for each customer and signer, told apart by ``kind``.

A cell that a spreadsheet would run as a formula is kept from it by a leading apostrophe.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from lifecycle.vendor.csv_cells import harmless
from lifecycle.vendor.report import ReportRow, SignerRow

COLUMNS = tuple(dict.fromkeys(("kind", *ReportRow.__slots__, *SignerRow.__slots__)))
NO_SIGNER = "," * (len(COLUMNS) - 1 - len(ReportRow.__slots__))
"""Ends a customer's line: the cells that only a signer has."""
_SIGNER = tuple(COLUMNS.index(name) for name in SignerRow.__slots__)


def header() -> str:
    """The first line."""
    return _line(COLUMNS)


def customer_line(cells: tuple[Any, ...]) -> str:
    """A customer's line, of the cells that ``report.cells_of`` gives."""
    return _line(("customer", *(harmless(one) for one in cells), *([""] * len(NO_SIGNER))))


def signer_lines(signers: Iterable[SignerRow]) -> str:
    """A line for the signer and each certificate of its chain."""
    lines = []
    for signer in signers:
        cells: list[object] = [""] * len(COLUMNS)
        cells[0] = "signer"
        for place, name in zip(_SIGNER, SignerRow.__slots__, strict=True):
            value = getattr(signer, name)
            cells[place] = harmless(value.isoformat() if isinstance(value, datetime) else value)
        lines.append(_line(cells))
    return "".join(lines)


def cell(text: str) -> str:
    """A text as one cell of a line."""
    return _line(("", harmless(text)))[1:-1]


def _line(cells: Iterable[object]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerow(cells)
    return buffer.getvalue()
