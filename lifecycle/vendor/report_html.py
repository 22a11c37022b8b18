"""The expiry report as one HTML file: nothing is fetched, and it works without its script."""

from __future__ import annotations

import base64
import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

from lifecycle.vendor.facts import Status
from lifecycle.vendor.report import URGENCY, Report, ReportRow

if TYPE_CHECKING:
    from jinja2 import Template

WEEKS = 53
NEEDS_SHOWN = 20
"""How many of those who need somebody are listed above the table."""
_PITCH, _BASE, _TOP = 16, 130, 16


@dataclass(frozen=True, slots=True)
class Bar:
    """One week of the chart; ``tick`` is what stands beneath it."""

    x: int
    y: float
    height: float
    width: int
    count: int
    count_shown: bool
    tone: str
    title: str
    tick: str


@dataclass(frozen=True, slots=True)
class Chart:
    """Expiries by week: what has expired already, then this week and the 52 after it."""

    bars: tuple[Bar, ...]
    label: str
    width: int = _PITCH * (WEEKS + 2)
    height: int = _BASE + 20
    base: int = _BASE


def as_html(report: Report, vendor: str) -> Iterator[str]:
    """The file, piece by piece.

    Args:
        report: with the rows that are to be shown.
        vendor: the vendor's name, for the title.
    """
    needing = [row for row in report.rows if _needs_somebody(row)]
    yield from (
        _template().generate(
            report=report,
            vendor=vendor,
            order={str(name): number for number, name in enumerate(URGENCY)},
            needs=needing[:NEEDS_SHOWN],
            needs_more=len(needing[NEEDS_SHOWN:]),
            breached=sum(row.verdict == "breached" for row in report.rows),
            held_up=sum(row.blocked_by is not None for row in report.rows),
            chart=chart_of(report),
        )
    )


def _needs_somebody(row: ReportRow) -> bool:
    pressing = (Status.EXPIRED, Status.REVOKED, Status.URGENT)
    return row.verdict == "breached" or row.blocked_by is not None or row.status in pressing


def chart_of(report: Report) -> Chart:
    """The chart of all rows that have a certificate and are not paused."""
    monday = report.at.date() - timedelta(days=report.at.weekday())
    counts: Counter[int] = Counter()
    for row in report.rows:
        if row.not_after is None or row.status == Status.PAUSED:
            continue
        weeks = (row.not_after.date() - monday).days // 7
        counts[-1 if row.not_after <= report.at else min(weeks, WEEKS)] += 1
    most = max(counts.values(), default=1)
    bars = tuple(_bar(week, counts[week], most, monday) for week in range(-1, WEEKS + 1))
    soon = sum(counts[week] for week in range(5))
    label = (
        f"Expiries by week: {counts[-1]} have expired, {soon} expire within five weeks,"
        f" at most {most} in one week."
    )
    return Chart(bars, label)


def _bar(week: int, count: int, most: int, monday: date) -> Bar:
    begins = monday + timedelta(days=7 * week)
    height = round((_BASE - _TOP) * count / most, 1)
    tick = ""
    if week == -1:
        title, tone, tick = f"{count} have expired", "expired", "past"
    elif week == WEEKS:
        title, tone = f"{count} later than in a year", ""
    else:
        title = f"{count} in the week of {begins}"
        tone = "urgent" if week < 2 else "due" if week < 7 else ""
        first = week > 0 and begins.day <= 7
        tick = f"{begins:%b}" if first else ""
    return Bar(
        x=(week + 1) * _PITCH,
        y=round(_BASE - height, 1),
        height=height,
        width=_PITCH - 4,
        count=count,
        count_shown=bool(count) and (count == most or most <= 99),
        tone=tone,
        title=title,
        tick=tick,
    )


@cache
def _template() -> Template:
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=PackageLoader("lifecycle.vendor", "pages"),
        undefined=StrictUndefined,
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for name in ("style", "script"):
        text = _page_file(f"report.{'css' if name == 'style' else 'js'}")
        environment.globals[name] = Markup(text)  # noqa: S704 - a file of ours
        environment.globals[f"{name}_hash"] = _hash(text)
    return environment.get_template("report.html.j2")


def _page_file(name: str) -> str:
    return files("lifecycle.vendor").joinpath("pages", name).read_text()


def _hash(text: str) -> str:
    """As a Content-Security-Policy names an inline block (CSP Level 3, 2.3.1)."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
