"""Good JSON with something wrong in it: what byte mutations hardly ever leave of a document.

The bytes choose a document, and for a few of its values what becomes of them.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping, Sequence
from typing import Any

TWISTED = b"T"
"""Input that begins so is for ``twisted``; all other is the document itself."""
_ODD: tuple[Any, ...] = (
    None,
    True,
    0,
    -1,
    2**63,
    10**40,
    1e308,
    float("nan"),
    "",
    "\0",
    "\ud800",
    "é" * 70,
    "a" * 2000,
    [],
    {},
    [[]],
    "0001-01-01T00:00:00+14:00",
    "9999-12-31T23:59:59-14:00",
    "2027-06-01T00:00:00",
    "2027-06-01T00:00:00Z",
)


def twisted(data: bytes, documents: Sequence[object]) -> bytes:
    """A document of ``documents``, changed as ``data`` says, as JSON.

    Args:
        data: one byte for the document, then for each change one for the place, one for what
            comes there (the last kind takes text: a byte for its length, and the text itself).
        documents: whole and right.
    """
    if not data:
        return b""
    document = copy.deepcopy(documents[data[0] % len(documents)])
    position = 1
    while position + 2 <= len(data):
        where, what = data[position : position + 2]
        position += 2
        value: Any = _ODD[what % len(_ODD)]
        if what >= 128:
            length = data[position] if position < len(data) else 0
            value = data[position + 1 : position + 1 + length].decode("utf-8", "replace")
            position += 1 + length
        document = _changed(document, where, value, drop=what % 16 == 15)
    return json.dumps(document).encode()


def as_seeds(documents: Mapping[str, object], before: bytes = b"") -> dict[str, bytes]:
    """Each document as JSON, and one to be twisted.

    Args:
        before: what a harness takes before the JSON.
    """
    plain = {name: before + json.dumps(document).encode() for name, document in documents.items()}
    return {
        **plain,
        **{f"twist-{n}": before + TWISTED + bytes((n, 0, 4, 9, 17)) for n in range(len(plain))},
    }


def _changed(document: Any, where: int, value: Any, *, drop: bool) -> Any:
    places = list(_places(document))
    if not places:
        return copy.deepcopy(value)
    holder, key = places[where % len(places)]
    if drop:
        del holder[key]
    else:
        holder[key] = copy.deepcopy(value)
    return document


def _places(document: Any) -> list[tuple[Any, Any]]:
    """Every value in the document: what holds it, and under which key."""
    found: list[tuple[Any, Any]] = []
    waiting = [document]
    while waiting and len(found) < 256:
        holder = waiting.pop()
        if isinstance(holder, Mapping):
            keys: Sequence[Any] = list(holder)
        elif isinstance(holder, list):
            keys = range(len(holder))
        else:
            continue
        found += ((holder, key) for key in keys)
        waiting += (holder[key] for key in keys)
    return found
