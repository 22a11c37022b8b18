"""Dates as people write them, in each of our languages; always in UTC."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from types import MappingProxyType

from lifecycle.clock import require_utc

MONTHS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "en": (
            *("January", "February", "March", "April", "May", "June", "July"),
            *("August", "September", "October", "November", "December"),
        ),
        "de": (
            *("Januar", "Februar", "März", "April", "Mai", "Juni", "Juli"),
            *("August", "September", "Oktober", "November", "Dezember"),
        ),
        "fr": (
            *("janvier", "février", "mars", "avril", "mai", "juin", "juillet"),
            *("août", "septembre", "octobre", "novembre", "décembre"),
        ),
        "es": (
            *("enero", "febrero", "marzo", "abril", "mayo", "junio", "julio"),
            *("agosto", "septiembre", "octubre", "noviembre", "diciembre"),
        ),
        "ja": tuple(f"{number}月" for number in range(1, 13)),
    }
)
"""Names of the months, by language."""


def written_day(day: date, language: str) -> str:
    """``day`` as the language writes it; of an instant (aware) the day in UTC."""
    if isinstance(day, datetime):
        day = require_utc(day).date()
    month = MONTHS[language][day.month - 1]
    match language:
        case "de":
            return f"{day.day}. {month} {day.year}"
        case "fr":
            return f"{'1er' if day.day == 1 else day.day} {month} {day.year}"
        case "es":
            return f"{day.day} de {month} de {day.year}"
        case "ja":
            return f"{day.year}年{month}{day.day}日"
        case _:
            return f"{day.day} {month} {day.year}"


def written_minute(instant: datetime, language: str) -> str:
    """Day and time of ``instant`` (aware), in UTC, as the language writes them."""
    utc = require_utc(instant)
    day = written_day(utc, language)
    match language:
        case "de":
            return f"{day} um {utc:%H:%M} Uhr (UTC)"
        case "fr":
            return f"{day} à {utc.hour}\u00a0h\u00a0{utc:%M} (UTC)"
        case "es":
            return f"{day} a las {utc:%H:%M} (UTC)"
        case "ja":
            return f"{day} {utc:%H:%M}（UTC）"
        case _:
            return f"{day}, {utc:%H:%M} UTC"
