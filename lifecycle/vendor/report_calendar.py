"""The expiry report as a calendar: one event for each expiry, which a renewal moves."""

from __future__ import annotations

import uuid
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from lifecycle.errors import refuse
from lifecycle.language.markup import clean
from lifecycle.vendor.facts import Status
from lifecycle.vendor.report import Report, ReportRow, SignerRow

if TYPE_CHECKING:
    from icalendar import Event

ALARMS = (30, 14, 7, 1)
"""Days before the expiry on which a calendar reminds."""
_SPACE = uuid.uuid5(uuid.NAMESPACE_URL, "https://pushcert.example/calendar")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
DURATION = timedelta(minutes=30)
"""Events with a time show on the day they are on in every time zone; all-day ones would not."""


def as_calendar(report: Report, vendor: str, made_at: datetime | None = None) -> bytes:
    """The calendar (RFC 5545, UTF-8).

    The UID of an event is made of the vendor's name and the customer's slug (for the signer:
    the certificate's name), and SEQUENCE rises with the expiry: importing it again after a
    renewal moves the event and makes no second one (RFC 5545, 3.8.4.7 and 3.8.7.4).

    Args:
        report: with the rows that are to be shown.
        vendor: the vendor's name; another name makes other events.
        made_at: DTSTAMP, aware UTC; the report's instant when None. A forecast must say it:
            stamped with a day to come, it would win against every later import until then.

    Raises:
        Refused: ``calendar_support_missing``.
    """
    try:
        import icalendar
    except ImportError:
        raise refuse(
            "calendar_support_missing",
            "A calendar needs icalendar, which is not installed.",
            "Run `pip install 'pushcert[calendar]'`.",
        ) from None
    calendar = icalendar.Calendar()
    calendar.add("prodid", "-//pushcert//expiries//EN")
    calendar.add("version", "2.0")
    calendar.add("method", "PUBLISH")
    calendar.add("x-wr-calname", f"Push certificates of {vendor}")
    calendar.add("x-wr-caldesc", "Expiries of push certificates and of the MDM signing certificate")
    calendar.add("refresh-interval", timedelta(days=1), parameters={"value": "DURATION"})
    calendar.add("x-published-ttl", "P1D")  # Outlook knows this one only
    at = made_at or report.at
    for row in report.rows:
        if row.not_after is not None:
            calendar.add_component(_of_customer(row, row.not_after, at, vendor))
    named: Counter[str] = Counter()
    for signer in report.signers:
        calendar.add_component(_of_signer(signer, named[signer.name], at, vendor))
        named[signer.name] += 1
    return bytes(calendar.to_ical())


def _of_customer(row: ReportRow, not_after: datetime, at: datetime, vendor: str) -> Event:
    lines = [
        f"Certificate: {row.common_name or row.topic}",
        f"Serial number: {row.serial}",
        f"Apple Account: {row.apple_account or 'not known'}",
        f"Status: {row.status}",
        f"Topic: {row.topic}",
        f"Next: {row.next_step}",
    ]
    event = _event(
        f"{vendor}\0customer\0{row.slug}",
        f"Push certificate of {row.name} expires",
        lines,
        not_after,
        at,
        alarms=row.status != Status.PAUSED,
    )
    # Not CANCELLED: calendars would throw the event away, and a resumed customer needs it.
    event.add("status", "TENTATIVE" if row.status == Status.PAUSED else "CONFIRMED")
    event.add("categories", ["pushcert", row.status])
    return event


def _of_signer(signer: SignerRow, before: int, at: datetime, vendor: str) -> Event:
    lines = [
        "MDM signing certificate, or a certificate of its chain.",
        "Without it no request can be signed. Get its successor in time, and run"
        " pushcert signer import.",
    ]
    summary = f"MDM signing: {signer.name} expires"
    # A chain may hold two certificates of one name; the first keeps the UID of the name alone.
    number = f"\0{before}" if before else ""
    occasion = f"{vendor}\0signer\0{signer.name}{number}"
    return _event(occasion, summary, lines, signer.not_after, at)


def _event(
    occasion: str,
    summary: str,
    lines: list[str],
    ends: datetime,
    at: datetime,
    *,
    alarms: bool = True,
) -> Event:
    import icalendar

    summary = clean(summary)
    event = icalendar.Event()
    event.add("uid", f"{uuid.uuid5(_SPACE, occasion)}@pushcert")
    event.add("sequence", (ends - _EPOCH).days)
    event.add("dtstamp", at)
    event.add("dtstart", ends - DURATION)
    event.add("dtend", ends)
    event.add("summary", summary)
    event.add("description", "\n".join(map(clean, lines)))
    event.add("transp", "TRANSPARENT")
    for days in ALARMS if alarms else ():
        alarm = icalendar.Alarm()
        alarm.add("action", "DISPLAY")
        alarm.add("description", f"{summary} in {days} day{'' if days == 1 else 's'}")
        alarm.add("trigger", timedelta(days=-days))
        event.add_component(alarm)
    return event
