"""Makes pages of templates: everything that comes from outside is escaped."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from functools import cache
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from fastapi.responses import HTMLResponse
from markupsafe import Markup, escape

from lifecycle.serve.dashboard.asset_files import address_of_asset
from lifecycle.vendor.report_work import is_held

if TYPE_CHECKING:
    from jinja2 import Environment

    from lifecycle.serve.dashboard.visit import Visit


_TYPED = re.compile(r"`([^`]+)`")


def page(
    visit: Visit | None, template: str, *, status: int = 200, section: str = "", **context: Any
) -> HTMLResponse:
    """A page.

    Args:
        visit: who sees it; None where that cannot be known.
        template: a file in ``templates``.
        section: which entry of the menu it belongs to.
        context: what the template shows.
    """
    text = (
        _environment()
        .get_template(template)
        .render(
            visit=visit,
            signed_in=None if visit is None else visit.signed_in,
            vendor="pushcert" if visit is None else visit.config.vendor.name,
            section=section,
            **context,
        )
    )
    return HTMLResponse(text, status)


def query(**values: Any) -> str:
    """The query of a link, without what is empty: ``?status=due&page=2``."""
    given = {name: value for name, value in values.items() if value not in ("", None)}
    return f"?{urlencode(given)}" if given else ""


def words(name: object) -> str:
    """A stored name as words: ``no_certificate`` is ``no certificate``."""
    return str(name).replace("_", " ").replace(":", " ")


def day(moment: datetime | None) -> str:
    """``2027-03-01``, UTC."""
    return "" if moment is None else f"{moment:%Y-%m-%d}"


def minute(moment: datetime | None) -> str:
    """``2027-03-01 09:00``, UTC."""
    return "" if moment is None else f"{moment:%Y-%m-%d %H:%M}"


def ago(moment: datetime, now: datetime) -> str:
    """How long it has been so: ``4 days``, ``3 hours``, ``2 minutes``."""
    seconds = max(0, int((now - moment).total_seconds()))
    for size, unit in ((86_400, "day"), (3_600, "hour"), (60, "minute")):
        if seconds >= size:
            number = seconds // size
            return f"{number} {unit}{'' if number == 1 else 's'}"
    return "less than a minute"


def number(value: int) -> str:
    """``12,345``."""
    return f"{value:,}"


def plural(value: int, one: str, many: str | None = None) -> str:
    """``1 customer``, ``2 customers``."""
    return f"{number(value)} {one if value == 1 else many or one + 's'}"


def left(days: int) -> str:
    """``in 3 days``, ``5 days ago``; as the reminder ladder counts: 0 from the end on."""
    if days > 0:
        return f"in {plural(days, 'day')}"
    return f"{plural(-days, 'day')} ago" if days else "just ended"


def marked(text: str | None) -> Markup:
    """Escaped, and what stands between backquotes shown as what one types."""
    return Markup(_TYPED.sub(r"<code>\1</code>", str(escape(text or ""))))  # noqa: S704 - escaped


def as_options(values: Iterable[str], *, plain: bool = False) -> list[tuple[str, str]]:
    """Value and text of what can be chosen; ``plain``: as people wrote them."""
    return [(value, value if plain else words(value)) for value in values]


@cache
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("lifecycle.serve.dashboard", "templates"),
        undefined=StrictUndefined,
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters: Mapping[str, Any] = {
        "words": words,
        "day": day,
        "minute": minute,
        "number": number,
        "plural": plural,
        "left": left,
        "marked": marked,
    }
    environment.filters.update(filters)
    environment.globals.update(asset=address_of_asset, query=query, ago=ago, as_options=as_options)
    environment.tests["held"] = is_held
    return environment
