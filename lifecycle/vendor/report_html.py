"""The expiry report as one HTML file: nothing is fetched, and it works without its script."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from datetime import datetime
from functools import cache, partial
from importlib.resources import files
from typing import TYPE_CHECKING

from lifecycle.vendor.facts import Status
from lifecycle.vendor.report import URGENCY, Report, ReportRow
from lifecycle.vendor.report_weeks import chart_of
from lifecycle.vendor.report_work import is_held, work_of

if TYPE_CHECKING:
    from jinja2 import Template

NEEDS_SHOWN = 10
"""How many of those who need somebody are listed above the table."""
TITLES = ("Customer", "Status", "Expires", "Certificate", "Apple Account", "Next", "Isolation")


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
            held_up=sum(map(is_held, report.rows)),
            work=work_of(report.rows),
            titles=TITLES,
            days=partial(_days, at=report.at),
            chart=chart_of(report),
        )
    )


def _needs_somebody(row: ReportRow) -> bool:
    pressing = (Status.EXPIRED, Status.REVOKED, Status.URGENT)
    troubled = row.verdict == "breached" or is_held(row) or row.undelivered is not None
    return troubled or row.status in pressing


def _days(since: datetime, at: datetime) -> str:
    days = max(0, (at - since).days)
    return f"{days} day{'' if days == 1 else 's'}"


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
    environment.tests["held"] = is_held
    return environment.get_template("report.html.j2")


def _page_file(name: str) -> str:
    return files("lifecycle.vendor").joinpath("pages", name).read_text()


def _hash(text: str) -> str:
    """As a Content-Security-Policy names an inline block (CSP Level 3, 2.3.1)."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
