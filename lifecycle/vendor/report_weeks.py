"""The chart of the report: how many certificates end in which week. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from lifecycle.vendor.facts import Status
from lifecycle.vendor.report import Report

WEEKS = 53
"""This week and the 52 after it; what ends later has a bar of its own."""
EXPIRED = -1
"""The week of what has expired already, whenever that was."""
_SLOT = 100 / (WEEKS + 3)
"""One for each week, one for what has expired, one left empty between them, one for later."""
_BASE, _TOP = 150, 18
_BAR = 0.74
"""As much of its slot as a bar takes."""


@dataclass(frozen=True, slots=True)
class Bar:
    """One week of the chart.

    Across, the chart is measured in per cent and not scaled, so that words in it are as large
    on a phone as on a screen; ``y`` and ``height`` are pixels.

    Attributes:
        x, middle, width: of the bar, in per cent of the chart.
        count: of certificates; ``count_shown`` when the number stands above the bar.
        always: the number stands there on a phone as well.
        tone: the status whose colour it has; empty: none.
        title: what it means.
        tick: what stands beneath it.
    """

    x: float
    middle: float
    width: float
    y: float
    height: float
    count: int
    count_shown: bool
    always: bool
    tone: str
    title: str
    tick: str


@dataclass(frozen=True, slots=True)
class Chart:
    """Expiries by week: what has expired already, then the weeks; ``label`` says it in words."""

    bars: tuple[Bar, ...]
    label: str
    height: int = _BASE + 20
    base: int = _BASE


def chart_of(report: Report) -> Chart:
    """The chart of all rows that have a certificate and are not paused."""
    monday = report.at.date() - timedelta(days=report.at.weekday())
    counts: Counter[int] = Counter()
    for row in report.rows:
        if row.not_after is None or row.status == Status.PAUSED:
            continue
        weeks = (row.not_after.date() - monday).days // 7
        counts[EXPIRED if row.not_after <= report.at else min(weeks, WEEKS)] += 1
    return chart_of_counts(counts, report.at)


def chart_of_counts(counts: Mapping[int, int], at: datetime) -> Chart:
    """The chart of how many certificates end in each week.

    Args:
        counts: by week: 0 is this one; ``EXPIRED``, and ``WEEKS`` for whatever is later.
        at: aware UTC; now.
    """
    counts = Counter(counts)
    monday = at.date() - timedelta(days=at.weekday())
    most = max(counts.values(), default=0)
    bars = tuple(_bar(week, counts[week], most, monday) for week in range(EXPIRED, WEEKS + 1))
    soon = sum(counts[week] for week in range(5))
    label = (
        f"{counts[EXPIRED]} have expired, {soon} expire within five weeks,"
        f" at most {most} in one week."
    )
    return Chart(bars, label)


def _bar(week: int, count: int, most: int, monday: date) -> Bar:
    slot = 0 if week == EXPIRED else week + 2
    begins = monday + timedelta(days=7 * week)
    height = round((_BASE - _TOP) * count / most, 1) if count else 0.0
    tick = tone = ""
    if week == EXPIRED:
        title, tone, tick = "expired already", "expired", "past"
    elif week == WEEKS:
        title, tick = "later than in a year", "later" if count else ""
    else:
        title = f"week of {begins}"
        tone = "urgent" if week < 2 else "due" if week < 7 else ""
        # Beside "past" there is no room for a month, nor beside "later"; on a phone least of all.
        tick = f"{begins:%b}" if week > 3 and begins.day <= 7 and week < WEEKS - 2 else ""
    always = bool(count) and count == most
    return Bar(
        x=round((slot + (1 - _BAR) / 2) * _SLOT, 3),
        middle=round((slot + 0.5) * _SLOT, 3),
        width=round(_BAR * _SLOT, 3),
        y=round(_BASE - height, 1),
        height=height,
        count=count,
        count_shown=bool(count) and (always or week == EXPIRED or most <= 99),
        always=always,
        tone=tone,
        title=title,
        tick=tick,
    )
