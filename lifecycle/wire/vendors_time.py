"""The vendor's time, as an instance knows it.

What an instance signs, and what it judges certificates by, must not hang on a machine whose clock
is off: the vendor says what time it is with every answer to ``work``, and that counts.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from lifecycle.clock import Clock


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
        """The vendor says that it is this time now."""
        self._off = instant - self._clock.now()
