"""Which slugs a customers' file had so far, in which line and with what: twenty bytes for each.

A slug is known again by 64 bits of its hash. That two of two million slugs have the same ones, so
that the second is taken for the first, is to be expected once in nine million such files.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections import defaultdict
from dataclasses import dataclass, field
from hashlib import blake2b
from operator import attrgetter

from lifecycle.vendor.customer_file import COLUMNS, Row

SHARDS = 1024
"""So that what is moved to make place for a slug in its order is a few thousand bytes."""
_BITS = 2**64 - 1
_content = attrgetter(*COLUMNS, "given")


@dataclass(frozen=True, slots=True)
class First:
    """The first row with a slug.

    Attributes:
        line: of the file.
        same: whether it says the same as the one it was asked for.
    """

    line: int
    same: bool


@dataclass(frozen=True, slots=True)
class _Shard:
    """Rows by the hashes of their slugs, in ascending order; one place in all three for each."""

    slugs: array[int] = field(default_factory=lambda: array("Q"))
    lines: array[int] = field(default_factory=lambda: array("I"))
    contents: array[int] = field(default_factory=lambda: array("Q"))


class SeenRows:
    """Rows that were seen, by their slugs."""

    def __init__(self) -> None:
        self._shards: defaultdict[int, _Shard] = defaultdict(_Shard)
        self._asked: tuple[Row, int, _Shard, int] | None = None

    def first(self, row: Row) -> First | None:
        """The row with this slug that was added, or None."""
        _, slug, shard, place = self._asked = self._place(row)
        if place == len(shard.slugs) or shard.slugs[place] != slug:
            return None
        return First(shard.lines[place], shard.contents[place] == _hash_of(row))

    def add(self, row: Row) -> None:
        """Remembers a row whose slug was not seen before."""
        asked = self._asked
        if asked is None or asked[0] is not row:
            asked = self._place(row)
        _, slug, shard, place = asked
        self._asked = None
        shard.slugs.insert(place, slug)
        shard.lines.insert(place, row.line)
        shard.contents.insert(place, _hash_of(row))

    def _place(self, row: Row) -> tuple[Row, int, _Shard, int]:
        # Not Python's own hash: that has 32 bits on small machines, too few for so many.
        slug = int.from_bytes(blake2b(row.slug.encode(), digest_size=8).digest())
        shard = self._shards[slug % SHARDS]
        return row, slug, shard, bisect_left(shard.slugs, slug)


def _hash_of(row: Row) -> int:
    return hash(_content(row)) & _BITS
