"""Customers as JSON."""

from __future__ import annotations

import json
from dataclasses import replace
from io import BytesIO

from fuzz.harness import refusals
from fuzz.particulars import check
from fuzz.twist import TWISTED, as_seeds, twisted
from lifecycle.vendor.customer_file import as_documents, read_customers

PARSERS = ("lifecycle.vendor.customer_file.read_customers",)
WEIGHT = 3


def one(data: bytes) -> None:
    """Rows that were read and written are read as the same."""
    if data.startswith(TWISTED):
        data = twisted(data[1:], _DOCUMENTS)
    with refusals():
        rows = read_customers(BytesIO(data), "json")
        check(rows)
        again = read_customers(BytesIO(json.dumps(list(as_documents(rows))).encode()), "json")
        assert [replace(row, given=frozenset()) for row in again] == [
            replace(row, given=frozenset()) for row in rows
        ]


_CUSTOMER = {
    "slug": "acme",
    "name": "Acme",
    "email": "it@acme.example",
    "tags": ["vip"],
    "notes": "n",
}
_DOCUMENTS: list[object] = [[_CUSTOMER], {"customers": [_CUSTOMER, _CUSTOMER]}]


def seeds() -> dict[str, bytes]:
    """A list, an object with one, odd values, half a surrogate pair."""
    return {
        **as_seeds(dict(zip(("list", "object"), _DOCUMENTS, strict=True))),
        "odd": b'[{"slug":1e9,"name":[[]],"email":{"a":NaN},"tags":[null],"contacts":"a, b"}]',
        "surrogate": b'[{"slug":"a","name":"\\ud83d\\ude00","email":"\\u00e9@b.c"}]',
        "deep": b"[" * 200 + b"]" * 200,
    }
