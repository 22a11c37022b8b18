"""Customers as CSV."""

from __future__ import annotations

from dataclasses import replace
from io import BytesIO

from fuzz.harness import refusals
from fuzz.particulars import check
from lifecycle.vendor.csv_cells import as_it_was, harmless
from lifecycle.vendor.customer_file import COLUMNS, read_customers, write_csv

PARSERS = (
    "lifecycle.vendor.customer_file.read_customers",
    "lifecycle.vendor.customer_csv.CsvLines",
    "lifecycle.vendor.csv_cells.as_it_was",
)
WEIGHT = 4
_HEAD = b"slug,name,email,apple_account,certificate,contacts,language,tags,notes,kind\n"


def one(data: bytes) -> None:
    """Rows that were read and written are read as the same, as far as CSV can say it."""
    if data.startswith(b"H"):
        data = _HEAD + data[1:]
    text = data.decode("utf-8", "replace")
    if "\r" not in text:
        assert as_it_was(str(harmless(text))) == text
    with refusals():
        rows = read_customers(BytesIO(data), "csv")
        check(rows)
        again = read_customers(BytesIO("".join(write_csv(rows)).encode()), "csv")
        assert len(again) == len(rows)
        for old, new in zip(rows, again, strict=True):
            if not any("\r" in str(getattr(old, column)) for column in COLUMNS):
                assert replace(new, line=old.line, given=old.given) == old


def seeds() -> dict[str, bytes]:
    """The columns that are needed, all of them, quotes, a formula."""
    return {
        "short": b"slug,name,email\nacme,Acme,it@acme.example\n",
        "all": _HEAD + b"acme,Acme,it@acme.example,a@b.example,c.pem,x@y.example z@y.example,en,"
        b"vip;emea,Note,customer\n",
        "headed": b"Hacme,Acme,it@acme.example\n",
        "formula": b'H"\'=a","b\nc",d@e.f,,,,,,@x,canary\n',
        "bom": b"\xef\xbb\xbfslug,name,email\n",
    }
