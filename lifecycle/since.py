"""Instants as people give them on a command line: a date, a time, or an age."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from lifecycle.errors import refuse

_AGE = re.compile(r"(\d{1,6})([mhdw])")
_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def parse_since(text: str, now: datetime) -> datetime:
    """The instant that ``text`` names, aware, UTC.

    Args:
        text: an age (``90m``, ``12h``, ``7d``, ``2w``), or an ISO 8601 date or time; one
            without a zone is UTC.
        now: what ages count back from.

    Raises:
        Refused: ``since_malformed``, it is none of these, or lies in the future.
    """
    age = _AGE.fullmatch(text.strip())
    try:
        if age is not None:
            return now - timedelta(**{_UNITS[age[2]]: int(age[1])})
        instant = datetime.fromisoformat(text.strip())
        instant = instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant.astimezone(UTC)
    except (ValueError, OverflowError):
        instant = None
    if instant is None or instant > now:
        raise refuse(
            "since_malformed",
            f"“{text[:40]}” names no instant in the past.",
            "Give an age like 12h or 7d, or a date like 2026-11-24.",
        )
    return instant
