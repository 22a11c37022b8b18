"""The report a page at a time: what the first pages cost does not grow with the customers."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlmodel import Session

from lifecycle.vendor.facts import Policy
from lifecycle.vendor.report import ReportRow
from lifecycle.vendor.report_groups import BREACHED, GROUPS, Group
from lifecycle.vendor.report_reading import LATEST, Raw, Reading, instant


def page(
    session: Session,
    policy: Policy,
    at: datetime,
    *,
    limit: int,
    skip: int = 0,
    tags: Sequence[str] = (),
) -> tuple[ReportRow, ...]:
    """A page of the report as of ``at`` (aware UTC), most urgent first.

    Args:
        session: reads only.
        limit: rows at most.
        skip: so many rows are on the pages before; they are read, and not put together.
        tags: only customers with one of these; empty: all.
    """
    reading = Reading(session, policy, at, tags)
    found: list[Raw] = []
    for group in (BREACHED, *GROUPS):
        found += _some(reading, group, skip + limit - len(found))
        if len(found) == skip + limit:
            break
    return tuple(reading.rows(found[skip:]))


def _some(reading: Reading, group: Group, limit: int) -> list[Raw]:
    """At most ``limit`` rows of a group, in order."""
    if group is BREACHED:
        return reading.breached()[:limit]
    found: list[Raw] = []
    after: tuple[datetime | str, ...] = ()
    # Those who are passed over (breached, not opened) make room for as many more.
    while True:
        wanted = (limit - len(found)) * (1 if group.opened is None else 4)
        read = [raw for rows in reading.batches(group, after=after, limit=wanted) for raw in rows]
        found += [raw for raw in read if reading.belongs(group, raw)]
        if len(found) >= limit or len(read) < wanted:
            return found[:limit]
        after = _values(group, read[-1])


def _values(group: Group, raw: Raw) -> tuple[datetime | str, ...]:
    """The order's values of a row."""
    slug = str(raw[1])
    if len(group.order) == 1:
        return (slug,)
    return (LATEST if raw[13] is None else instant(raw[13]), slug)
