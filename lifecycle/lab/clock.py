"""The lab's clock: stands still until it is moved."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta

from lifecycle.clock import require_utc


class LabClock:
    """A clock that is moved by hand; safe to read from the gateway's thread.

        clock = LabClock(datetime(2027, 1, 4, tzinfo=UTC))
        clock.advance(timedelta(days=365))

    Args:
        start: aware.
    """

    def __init__(self, start: datetime) -> None:
        self._now = require_utc(start)
        self._lock = threading.Lock()

    def now(self) -> datetime:
        """The lab's instant, UTC."""
        with self._lock:
            return self._now

    def set(self, instant: datetime) -> None:
        """Moves the clock to ``instant`` (aware), forwards or back."""
        with self._lock:
            self._now = require_utc(instant)

    def advance(self, by: timedelta) -> datetime:
        """Moves the clock on and gives the new instant."""
        with self._lock:
            self._now += by
            return self._now


class OffsetClock:
    """The host's clock, moved by an offset: the clock of a lab that serves for long.

    Args:
        offset: how far from the host's clock.
    """

    def __init__(self, offset: timedelta = timedelta()) -> None:
        self.offset = offset

    def now(self) -> datetime:
        """The host's instant plus the offset, UTC."""
        return datetime.now(UTC) + self.offset
