"""The report's customers as lines of CSV, for as many as there are.

Most customers are well or have a renewal under way, and what their line says is put together here
without the planner's facts, because those would be four fifths of the time; all others go by the
functions that the whole report goes by. A test holds both to the same lines.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from hashlib import sha256

from lifecycle.vendor.report import Acts, cells_of, renewal_step
from lifecycle.vendor.report_csv import NO_SIGNER, cell, customer_line
from lifecycle.vendor.report_groups import BREACHED
from lifecycle.vendor.report_reading import Raw, Reading, Share, instant
from lifecycle.vendor.reporting import bounced_of

_DAY_US = 86_400_000_000
_REMEMBERED = 10_000
_NO_RENEWAL = "," * 5
_WHOLE = ("", "000000")
"""Fractions of an instant that is at a whole second."""
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


@dataclass(slots=True)
class Piece:
    """Some lines (UTF-8), and the slugs of those who were noted."""

    lines: bytes = b""
    noted: list[str] = field(default_factory=list)


class Lines:
    """Writes the lines of one report."""

    def __init__(self, reading: Reading, choice: Choice = EVERYBODY) -> None:
        self._reading = reading
        self._choice = choice
        self._window = int(reading.policy.window.total_seconds())
        self._spread = reading.policy.spread.total_seconds()
        self._at_us = (reading.at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
        self._days = _Days()
        self._cells: dict[str, str] = {}

    def of(self, share: Share) -> Iterator[Piece]:
        """The lines of a share, some thousand at a time."""
        reading, status, wanted = self._reading, share.group.name, self._choice.statuses
        reading.breached()  # once, before all others
        if share.group == BREACHED:
            rows = list(zip(reading.breached(), reading.rows(reading.breached()), strict=True))
            yield self._chosen((row.status, raw, customer_line(cells_of(row))) for raw, row in rows)
        elif not wanted or status in wanted | self._choice.noted:
            for raws in reading.batches(share):
                lines = self._lines(share, raws)
                if self._choice == EVERYBODY:
                    yield Piece("".join([line for _, line in lines]).encode())
                else:
                    yield self._chosen((status, raw, line) for raw, line in lines)

    def _chosen(self, found: Iterator[tuple[str, Raw, str]]) -> Piece:
        choice, piece, shown = self._choice, Piece(), []
        for status, raw, line in found:
            if status in choice.noted:
                piece.noted.append(raw[1])
            end = raw[13]
            ends = choice.latest is None or (end is not None and instant(end) <= choice.latest)
            if ends and (not choice.statuses or status in choice.statuses):
                shown.append(line)
        piece.lines = "".join(shown).encode()
        return piece

    def _lines(self, share: Share, raws: list[Raw]) -> Iterator[tuple[Raw, str]]:
        reading, group = self._reading, share.group
        breached, by_rule = reading.breached_ids(), group.name in ("no_certificate", "revoked")
        unreached = reading.unreached([raw[0] for raw in raws if raw[15] is not None])
        for raw in raws:
            if raw[0] in breached:
                continue
            line: str | None = None
            if (
                by_rule
                or raw[6] is not None  # paused, once at least
                or raw[27]  # it has deploy targets
                or raw[13][20:] not in _WHOLE
            ):
                if not reading.belongs(group, raw):
                    continue
            else:
                opens = self._opens(raw[1], raw[13]) if group.opened is not None else None
                if opens is not None and (opens * 1_000_000 <= self._at_us) is not group.opened:
                    continue
                line = self._line(group.name, raw, opens, unreached)
            yield raw, line or customer_line(cells_of(reading.row(raw, unreached)))

    def _opens(self, slug: str, end: str) -> int:
        """``plan.opens_at``, in seconds since 1970."""
        share = int.from_bytes(sha256(slug.encode()).digest()[:8], "big") / 2**64
        return self._days.seconds(end) - self._window + int(share * self._spread)

    def _line(
        self, status: str, raw: Raw, opens: int | None, unreached: dict[int, str]
    ) -> str | None:
        """Of a customer in care with a certificate; None: it has a cell that needs a look."""
        (
            key, slug, name, email, account, kind, _, _, _, _, topic, serial, common_name, end, _,
            state, reason, begun, blocked_by, since, message, received,
            verdict, why, checked, contacts, tags, _,
        ) = raw  # fmt: skip
        account, contacts, tags = account or "", contacts or "", tags or ""
        foreign = f"\x1f{name}\x1f{email}\x1f{account}\x1f{contacts}\x1f{tags}\x1f{common_name}"
        if _is_odd(foreign):
            return None
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
        left = -((self._at_us - self._days.seconds(end) * 1_000_000) // _DAY_US)
        refused = self._reading.refused
        bounced = " ".join(bounced_of(email, contacts.split(), refused)) if refused else ""
        return (
            f"customer,{slug},{name},{email},{account},{status},{topic},{serial},"
            f"{end[:10]}T{end[11:19]}+00:00,{left},{renewal},"
            f"{verdict or ''},{self._cell(why)},{_iso(checked)},{acts},{step},"
            f"{contacts},{bounced},{tags},{common_name},{kind == 'canary'},"
            f"{self._cell(undelivered)},{NO_SIGNER}\n"
        )

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
