"""The report as CSV: a line for each customer and signer, told apart by ``kind``.

Written in pieces as the rows come, so that a million of them take no memory. A cell that a
spreadsheet would run as a formula is kept from it by a leading apostrophe.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator
from datetime import datetime
from itertools import islice
from typing import Any

from lifecycle.vendor.csv_cells import harmless
from lifecycle.vendor.report import ReportRow, SignerRow

AT_A_TIME = 2000
COLUMNS = tuple(dict.fromkeys(("kind", *ReportRow.__slots__, *SignerRow.__slots__)))
_OF_NO_CUSTOMER = ("",) * (len(COLUMNS) - 1 - len(ReportRow.__slots__))
_SIGNER = tuple(COLUMNS.index(name) for name in SignerRow.__slots__)


def write_csv(rows: Iterable[tuple[Any, ...]], signers: Iterable[SignerRow] = ()) -> Iterator[str]:
    """The CSV in pieces, with a header line.

    Args:
        rows: of customers, as ``report.cells_of`` gives them.
    """
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(COLUMNS)
    left = iter(rows)
    while batch := list(islice(left, AT_A_TIME)):
        writer.writerows(_safe(row) for row in batch)
        yield buffer.getvalue()
        buffer.seek(0)
        buffer.truncate()
    for signer in signers:
        cells: list[object] = [""] * len(COLUMNS)
        cells[0] = "signer"
        for place, name in zip(_SIGNER, SignerRow.__slots__, strict=True):
            value = getattr(signer, name)
            cells[place] = harmless(value.isoformat() if isinstance(value, datetime) else value)
        writer.writerow(cells)
    yield buffer.getvalue()


_FIRST = frozenset("'=+-@\t")


def _safe(row: tuple[Any, ...]) -> tuple[Any, ...]:
    for cell in row:
        # Asked of every cell of a million rows: whether it may be one that needs a look.
        if cell.__class__ is str and cell and (cell[0] in _FIRST or "\r" in cell):
            break
    else:
        return ("customer", *row, *_OF_NO_CUSTOMER)
    return ("customer", *(harmless(cell) for cell in row), *_OF_NO_CUSTOMER)
