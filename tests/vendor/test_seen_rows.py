"""A slug that a file has twice is known again, with the line that it was in."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lifecycle.vendor.customer_file import Row
from lifecycle.vendor.seen_rows import First, SeenRows

ACME = Row(7, "acme", "Acme", "it@acme.example", tags=("a", "b"))


@pytest.mark.parametrize(
    ("again", "same"),
    [
        (replace(ACME, line=9), True),
        (replace(ACME, line=9, name="Acme Corp"), False),
        (replace(ACME, line=9, tags=("a",)), False),
        (replace(ACME, line=9, notes="n"), False),
        (replace(ACME, line=9, given=frozenset({"slug", "name", "email"})), False),
    ],
)
def test_what_was_seen_is_named_by_its_line_and_compared(again: Row, same: bool) -> None:
    seen = SeenRows()
    assert seen.first(ACME) is None
    seen.add(ACME)
    assert seen.first(again) == First(7, same)
    assert seen.first(replace(ACME, slug="birch")) is None


@given(st.lists(st.text(max_size=3), max_size=60))
def test_any_slugs_in_any_order_are_known_again_as_a_dictionary_knows_them(
    slugs: list[str],
) -> None:
    seen, known = SeenRows(), dict[str, int]()
    for line, slug in enumerate(slugs):
        row = Row(line, slug, "N", "it@n.example")
        first = seen.first(row)
        assert (first and first.line) == known.get(slug)
        if first is None:
            seen.add(row)
            known[slug] = line


def test_a_row_that_was_seen_takes_some_twenty_bytes() -> None:
    seen = SeenRows()
    tracemalloc.start()
    try:
        for line in range(60_000):
            row = Row(line, f"c-{line}", "N", "it@n.example")
            assert seen.first(row) is None
            seen.add(row)
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 60_000 * 40, f"{kept / 60_000:.0f} bytes each"
