"""The report a page at a time: what a page costs does not grow with the customers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlmodel import Session

from lifecycle.vendor.facts import Policy
from lifecycle.vendor.report import ReportRow
from lifecycle.vendor.report_groups import BREACHED, GROUPS, Group
from lifecycle.vendor.report_reading import LATEST, Raw, Reading, instant

_Place = tuple[Group, Raw]


@dataclass(frozen=True, slots=True)
class Cursor:
    """Where a page ended: the group, and the order's values of its last row."""

    group: str
    values: tuple[datetime | str, ...]


@dataclass(frozen=True, slots=True)
class Page:
    """Some rows of the report, and where the next page begins (None: it was the last)."""

    rows: tuple[ReportRow, ...]
    next: Cursor | None


def page(
    session: Session,
    policy: Policy,
    at: datetime,
    *,
    limit: int,
    after: Cursor | None = None,
    tags: Sequence[str] = (),
) -> Page:
    """A page of the report as of ``at`` (aware UTC), most urgent first.

    Args:
        session: reads only.
        after: the end of the page before; None: from the beginning.
        tags: only customers with one of these; empty: all.
    """
    reading = Reading(session, policy, at, tags)
    found: list[_Place] = []
    for group, start in _from(after):
        wanted = limit - len(found) + 1
        found += [(group, raw) for raw in _some(reading, group, start, wanted)]
        if len(found) > limit:
            break
    shown = found[:limit]
    rows = reading.rows([raw for _, raw in shown])
    return Page(tuple(rows), _cursor(reading, *shown[-1]) if len(found) > limit else None)


def _from(after: Cursor | None) -> Iterator[tuple[Group, tuple[datetime | str, ...]]]:
    groups = (BREACHED, *GROUPS)
    names = [group.name for group in groups]
    start = 0 if after is None else names.index(after.group)
    for number, group in enumerate(groups[start:]):
        yield group, after.values if after is not None and number == 0 else ()


def _some(
    reading: Reading, group: Group, after: tuple[datetime | str, ...], limit: int
) -> list[Raw]:
    """At most ``limit`` rows of a group, in order."""
    if group is BREACHED:
        start = int(str(after[0])) if after else 0
        return reading.breached()[start : start + limit]
    found: list[Raw] = []
    # Those who are passed over (breached, not opened) make room for as many more.
    while True:
        wanted = (limit - len(found)) * (1 if group.opened is None else 4)
        read = [raw for rows in reading.batches(group, after=after, limit=wanted) for raw in rows]
        found += [raw for raw in read if reading.belongs(group, raw)]
        if len(found) >= limit or len(read) < wanted:
            return found[:limit]
        after = _values(group, read[-1])


def _cursor(reading: Reading, group: Group, raw: Raw) -> Cursor:
    """Where to go on after a row."""
    if group is BREACHED:
        place = next(n for n, row in enumerate(reading.breached(), 1) if row[0] == raw[0])
        return Cursor(group.name, (str(place),))
    return Cursor(group.name, _values(group, raw))


def _values(group: Group, raw: Raw) -> tuple[datetime | str, ...]:
    slug = str(raw[1])
    if len(group.order) == 1:
        return (slug,)
    return (LATEST if raw[13] is None else instant(raw[13]), slug)
