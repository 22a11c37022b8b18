"""The report's customers as lines of CSV, each with the key that it is sorted by.

Most customers are well or have a renewal under way, and what their line says is put together here
without the planner's facts, because those would be four fifths of the time; all others go by the
functions that the whole report goes by. A test holds both to the same lines.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from hashlib import sha256

from lifecycle.vendor.facts import Verdict
from lifecycle.vendor.report import URGENCY, Acts, cells_of, renewal_step
from lifecycle.vendor.report_csv import NO_SIGNER, cell, customer_line
from lifecycle.vendor.report_reading import Raw, Reading, instant
from lifecycle.vendor.reporting import bounced_of

_MICROSECOND = timedelta(microseconds=1)
_DAY_US = 86_400_000_000
_REMEMBERED = 10_000
_NO_RENEWAL = "," * 5
_WHOLE = ("", "000000")
"""Fractions of an instant that is at a whole second."""
_NEVER = "9999-12-31 23:59:59.999999"
_RANKS = {str(status): rank for rank, status in enumerate(URGENCY)}
_FORMULA = re.compile("\x1f['=+\\-@\t]")


@dataclass(frozen=True, slots=True)
class Choice:
    """Which customers are shown.

    Attributes:
        latest: only whose certificate ends by then (aware UTC), or has ended; None: all.
        statuses: only these; empty: all.
        noted: of these statuses every customer is noted, of those that are not shown as well.
    """

    latest: datetime | None = None
    statuses: frozenset[str] = frozenset()
    noted: frozenset[str] = frozenset()


EVERYBODY = Choice()


class Lines:
    """Puts together the lines of one report.

    Attributes:
        noted: the slugs of those whose status is to be noted, in no order.
    """

    def __init__(self, reading: Reading, choice: Choice = EVERYBODY) -> None:
        self.noted: list[str] = []
        self._reading = reading
        self._choice = choice
        self._urgent = reading.policy.urgent // _MICROSECOND
        self._window = int(reading.policy.window.total_seconds())
        self._spread = reading.policy.spread.total_seconds()
        self._at_us = (reading.at - datetime(1970, 1, 1, tzinfo=UTC)) // _MICROSECOND
        self._days = _Days()
        self._cells: dict[str, str] = {}

    def between(self, low: int, high: int) -> Iterator[list[str]]:
        """A record for each customer whose key is above the one and up to the other.

        In no order, some at a time. ``line_of`` takes a record's line; sorted as they are, they
        are in the order of ``report.build_report``.
        """
        for raws in self._reading.between(low, high):
            unreached = self._reading.unreached([raw[0] for raw in raws if raw[15] is not None])
            if self._choice == EVERYBODY:
                yield [self._record(raw, unreached)[1] for raw in raws]
            else:
                yield list(self._chosen(raws, unreached))

    def _chosen(self, raws: list[Raw], unreached: dict[int, str]) -> Iterator[str]:
        choice = self._choice
        for raw in raws:
            status, record = self._record(raw, unreached)
            if status in choice.noted:
                self.noted.append(raw[1])
            end = raw[13]
            ends = choice.latest is None or (end is not None and instant(end) <= choice.latest)
            if ends and (not choice.statuses or status in choice.statuses):
                yield record

    def _record(self, raw: Raw, unreached: dict[int, str]) -> tuple[str, str]:
        """The status, and the key with the line behind it."""
        end = raw[13]
        if (
            raw[6] is None  # never paused
            and end is not None
            and raw[14] is None  # not revoked
            and not raw[27]  # no deploy targets
            and end[20:] in _WHOLE
        ):
            status, opens, left = self._stands(raw[1], end)
            line = self._line(status, raw, opens, left, unreached)
        else:
            row = self._reading.row(raw, unreached)
            status, line = row.status, customer_line(cells_of(row))
        before = "0" if raw[22] == Verdict.BREACHED else "1"
        if end is None:
            end = _NEVER
        elif end[20:] in _WHOLE:
            end = end[:19]
        else:
            end = f"{end:0<26}"
        # A point comes after 0x01: a second's beginning before its fractions.
        return status, f"{before}{_RANKS[status]}{end}\x01{raw[1]}\0{line}"

    def _stands(self, slug: str, end: str) -> tuple[str, int | None, int]:
        """The status, when the renewal opens (None: it is past asking), and the days left."""
        seconds = self._days.seconds(end)
        left_us = seconds * 1_000_000 - self._at_us
        days = -(-left_us // _DAY_US)
        if left_us <= 0:
            return "expired", None, days
        if left_us <= self._urgent:
            return "urgent", None, days
        # ``plan.opens_at``, in seconds since 1970.
        share = int.from_bytes(sha256(slug.encode()).digest()[:8], "big") / 2**64
        opens = seconds - self._window + int(share * self._spread)
        return ("due" if opens * 1_000_000 <= self._at_us else "ok"), opens, days

    def _line(
        self, status: str, raw: Raw, opens: int | None, left: int, unreached: dict[int, str]
    ) -> str:
        """Of a customer who is not paused and has a certificate."""
        (
            key, slug, name, email, account, kind, _, _, _, _, topic, serial, common_name, end, _,
            state, reason, begun, blocked_by, since, message, received,
            verdict, why, checked, contacts, tags, _,
        ) = raw  # fmt: skip
        account, contacts, tags = account or "", contacts or "", tags or ""
        foreign = f"\x1f{name}\x1f{email}\x1f{account}\x1f{contacts}\x1f{tags}\x1f{common_name}"
        if _is_odd(foreign):
            name, email, account, contacts, tags, common_name = (
                cell(one) for one in (name, email, account, contacts, tags, common_name)
            )
        renewal, undelivered = _NO_RENEWAL, None
        if state is not None:
            undelivered = unreached.get(key)
            acts, step = renewal_step(state, bool(received), blocked_by, message, undelivered)
            renewal = (
                f"{state},{reason},{_iso(begun)},{blocked_by or ''},"
                f"{_iso(since)},{self._cell(message)}"
            )
            step = self._cell(step)
        elif opens is None or status == "due":
            acts, step = Acts.VENDOR, "a renewal opens at the next tick"
        else:
            acts, step = Acts.NOBODY, self._days.opening(opens // 86_400)
        return (
            f"customer,{slug},{name},{email},{account},{status},{topic},{serial},"
            f"{end[:10]}T{end[11:19]}+00:00,{left},{renewal},"
            f"{verdict or ''},{self._cell(why)},{_iso(checked)},{acts},{step},"
            f"{contacts},{self._bounced(raw)},{tags},{common_name},{kind == 'canary'},"
            f"{self._cell(undelivered)},{NO_SIGNER}\n"
        )

    def _bounced(self, raw: Raw) -> str:
        refused = self._reading.refused
        found = bounced_of(raw[3], (raw[25] or "").split(), refused) if refused else ()
        return cell(" ".join(found)) if found else ""

    def _cell(self, text: str | None) -> str:
        """As a cell: the same few sentences are asked for again and again."""
        if text is None:
            return ""
        found = self._cells.get(text)
        if found is None:
            if len(self._cells) > _REMEMBERED:
                self._cells = {}
            found = self._cells[text] = cell(text)
        return found


def line_of(record: str) -> str:
    """The line of a record."""
    return record[record.index("\0") + 1 :]


class _Days:
    """Days as text, each put together once: a year of them is asked for a million times."""

    def __init__(self) -> None:
        self._midnights: dict[str, int] = {}
        self._openings: dict[int, str] = {}
        self._times: dict[str, int] = {}

    def seconds(self, end: str) -> int:
        """Seconds since 1970 of an instant as the database gives it."""
        day, time = end[:10], end[11:19]
        midnight = self._midnights.get(day)
        if midnight is None:
            midnight = self._midnights[day] = int(instant(f"{day} 00:00:00").timestamp())
        of_day = self._times.get(time)
        if of_day is None:
            of_day = self._times[time] = int(time[:2]) * 3600 + int(time[3:5]) * 60 + int(time[6:8])
        return midnight + of_day

    def opening(self, day: int) -> str:
        """What the report says of a renewal that opens so many days after 1970 began."""
        said = self._openings.get(day)
        if said is None:
            opens = date(1970, 1, 1) + timedelta(days=day)
            said = self._openings[day] = f"renewal opens {opens:%Y-%m-%d}"
        return said


def _is_odd(cells: str) -> bool:
    """Whether one of the cells, with 0x1F before each, may not stand in a line as it is."""
    # Looked for one by one: a set of characters takes a regular expression ten times as long.
    return (
        "," in cells
        or '"' in cells
        or "\n" in cells
        or "\r" in cells
        or _FORMULA.search(cells) is not None
    )


def _iso(text: str | None) -> str:
    if text is None:
        return ""
    fraction = "" if text[20:] in _WHOLE else f".{text[20:]:0<6}"
    return f"{text[:10]}T{text[11:19]}{fraction}+00:00"
