"""Time as an argument: the one seam through which "now" enters the program."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """Tells the time. Everything below the edges takes a ``Clock`` or a ``now`` argument."""

    def now(self) -> datetime:
        """The current instant as an aware datetime in UTC."""
        ...


class SystemClock:
    """The host's clock; built only where a process starts (``cli``)."""

    def now(self) -> datetime:
        """The host's current instant, aware, UTC."""
        return datetime.now(UTC)


def require_utc(instant: datetime) -> datetime:
    """``instant`` converted to UTC.

    Raises:
        ValueError: ``instant`` is naive; a naive time has no meaning across two planes.
    """
    if instant.tzinfo is None:
        raise ValueError("a time without a zone was given; use an aware datetime in UTC")
    return instant.astimezone(UTC)
