"""When customers are left alone, on the vendor's clock and through its changes."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lifecycle.vendor.quiet_hours import WEEKDAYS, QuietHours

BERLIN = ZoneInfo("Europe/Berlin")
NIGHT = QuietHours(BERLIN, time(20), time(7))
WEEKEND = frozenset({"saturday", "sunday"})


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("now", "until"),
    [
        ("2027-01-05T18:59", None),
        ("2027-01-05T19:00", "2027-01-06T06:00"),
        ("2027-01-06T05:59", "2027-01-06T06:00"),
        ("2027-01-06T06:00", None),
        ("2027-07-05T18:00", "2027-07-06T05:00"),  # summer time
        ("2027-03-27T20:00", "2027-03-28T05:00"),  # the night in which an hour is missing
        ("2027-10-30T20:00", "2027-10-31T06:00"),  # the night in which an hour comes twice
    ],
)
def test_nights_are_those_of_the_vendors_clock(now: str, until: str | None) -> None:
    assert NIGHT.until(utc(now)) == (None if until is None else utc(until))


def test_a_friday_evening_waits_for_monday_morning() -> None:
    quiet = QuietHours(UTC, time(20), time(7), WEEKEND)
    assert quiet.until(utc("2027-01-08T21:00")) == utc("2027-01-11T07:00")
    assert quiet.until(utc("2027-01-09T12:00")) == utc("2027-01-11T07:00")
    assert QuietHours(UTC, days=WEEKEND).until(utc("2027-01-09T12:00")) == utc("2027-01-11T00:00")


def test_hours_within_a_day() -> None:
    noon = QuietHours(UTC, time(12), time(13))
    assert noon.until(utc("2027-01-05T12:30")) == utc("2027-01-05T13:00")
    assert noon.until(utc("2027-01-05T13:00")) is None


@pytest.mark.parametrize(
    ("begin", "end", "days"),
    [
        (time(9), None, frozenset()),
        (time(9), time(9), frozenset()),
        (None, None, frozenset(WEEKDAYS)),
        (None, None, frozenset({"someday"})),
    ],
)
def test_what_makes_no_sense_is_refused(
    begin: time | None, end: time | None, days: frozenset[str]
) -> None:
    with pytest.raises(ValueError, match="quiet"):
        QuietHours(UTC, begin, end, days)


clock_times = st.times(timezones=st.none()).map(lambda at: at.replace(microsecond=0))


@given(
    now=st.datetimes(datetime(2026, 1, 1), datetime(2028, 1, 1)).map(  # noqa: DTZ001
        lambda at: at.replace(tzinfo=UTC)
    ),
    begin=clock_times,
    end=clock_times,
    days=st.sets(st.sampled_from(WEEKDAYS), max_size=6),
    zone=st.sampled_from(["UTC", "Europe/Berlin", "America/St_Johns", "Pacific/Apia"]),
)
def test_the_end_is_later_and_quiet_is_over_then(
    now: datetime, begin: time, end: time, days: set[str], zone: str
) -> None:
    if begin == end:
        return
    quiet = QuietHours(ZoneInfo(zone), begin, end, frozenset(days))
    until = quiet.until(now)
    if until is not None:
        assert now < until <= now + timedelta(days=8)
        assert quiet.until(until) is None
