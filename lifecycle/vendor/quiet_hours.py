"""When customers are to be left alone: nights and days on which no message goes out. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta, tzinfo

WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")


@dataclass(frozen=True, slots=True)
class QuietHours:
    """The vendor's choice.

    Attributes:
        zone: whose clock counts.
        begin, end: from when to when, each day, on that clock; past midnight if ``end`` is
            the earlier one. None: no hours.
        days: names of whole days (``WEEKDAYS``); not all seven.
    """

    zone: tzinfo
    begin: time | None = None
    end: time | None = None
    days: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        if (self.begin is None) != (self.end is None) or (
            self.begin is not None and self.begin == self.end
        ):
            raise ValueError("quiet hours need a beginning and another end")
        if not self.days <= frozenset(WEEKDAYS) or len(self.days) == len(WEEKDAYS):
            raise ValueError("quiet days are names of days, and not all seven")

    def until(self, now: datetime) -> datetime | None:
        """When the quiet that reigns at ``now`` (aware) ends, aware UTC; None: it is not quiet."""
        moment = now
        for _ in range(2 * len(WEEKDAYS) + 1):
            ends = self._ends(moment.astimezone(self.zone).replace(tzinfo=None))
            if ends is None:
                return None if moment == now else moment.astimezone(UTC)
            # A clock that is put back tells the same hour twice: never go back with it.
            later = ends.replace(tzinfo=self.zone, fold=1).astimezone(UTC)
            moment = max(later, moment + timedelta(minutes=1))
        raise ValueError("the quiet does not end")

    def _ends(self, local: datetime) -> datetime | None:
        if WEEKDAYS[local.weekday()] in self.days:
            return datetime.combine(local.date() + timedelta(days=1), time())
        if self.begin is None or self.end is None:
            return None
        at = local.time()
        today = datetime.combine(local.date(), self.end)
        if self.begin < self.end:
            return today if self.begin <= at < self.end else None
        if at < self.end:
            return today
        return today + timedelta(days=1) if at >= self.begin else None
