"""The vendor's time, as an instance knows it.

What an instance signs, and what it judges certificates by, must not hang on a machine whose clock
is off: the vendor says what time it is with every answer to ``work``, and that counts.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from lifecycle.clock import Clock

_EARLIEST, _LATEST = datetime(2000, 1, 1, tzinfo=UTC), datetime(9000, 1, 1, tzinfo=UTC)


class VendorsTime:
    """This machine's clock, corrected by what the vendor said last (a ``Clock``).

    Args:
        clock: this machine's.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._off = timedelta()

    def now(self) -> datetime:
        """The vendor's time as far as it is known, aware, UTC."""
        return self._clock.now() + self._off

    def learn(self, instant: datetime) -> None:
        """The vendor says that it is this time now; one that no clock of ours can show is not
        believed, because nothing could be reckoned from it."""
        if not _EARLIEST <= instant <= _LATEST:
            return
        self._off = instant - self._clock.now()
