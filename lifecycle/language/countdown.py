"""Days until an expiry, counted as the reminder ladder counts them."""

from __future__ import annotations

from datetime import datetime, timedelta

_DAY = timedelta(days=1)


def days_left(not_after: datetime, at: datetime) -> int:
    """Days from ``at`` until ``not_after``, begun days counted whole.

    The rung of ``d`` days before expiry is due as soon as this is ``d`` or less: 1 on the
    last day, 0 from the instant of expiry, -1 a day later.
    """
    return -((at - not_after) // _DAY)
