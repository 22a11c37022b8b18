"""The lab's clock: stands still until it is moved."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol

from lifecycle.clock import Clock, require_utc


class MovableClock(Clock, Protocol):
    """A clock that the lab can move. It never moves back by itself."""

    def set(self, instant: datetime) -> None:
        """Moves the clock to ``instant`` (aware), forwards or back."""
        ...

    def advance(self, by: timedelta) -> datetime:
        """Moves the clock on and gives the new instant."""
        ...


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


class FileClock:
    """A lab's clock that several processes share: whatever moves it, all read the new instant.

        clock = FileClock.start(path, datetime(2027, 1, 4, tzinfo=UTC))
        FileClock(path).now()           # in any other process

    Args:
        path: the file that ``start`` made.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    @classmethod
    def start(cls, path: Path, start: datetime) -> FileClock:
        """Makes the file, with an aware instant, and gives the clock that reads it."""
        clock = cls(path)
        clock.set(start)
        return clock

    def now(self) -> datetime:
        """The lab's instant, UTC.

        Raises:
            OSError: there is no such file; a wrong time would be worse.
        """
        return datetime.fromisoformat(self._path.read_text())

    def set(self, instant: datetime) -> None:
        """Moves the clock to ``instant`` (aware), forwards or back."""
        new = self._path.with_name(self._path.name + ".new")
        new.write_text(require_utc(instant).isoformat())
        new.replace(self._path)  # nobody reads half an instant

    def advance(self, by: timedelta) -> datetime:
        """Moves the clock on and gives the new instant. One process at a time moves it."""
        instant = self.now() + by
        self.set(instant)
        return instant


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

    def set(self, instant: datetime) -> None:
        """Changes the offset so that it is ``instant`` (aware) now."""
        self.offset += require_utc(instant) - self.now()

    def advance(self, by: timedelta) -> datetime:
        """Adds to the offset and gives the new instant."""
        self.offset += by
        return self.now()
