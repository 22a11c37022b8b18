"""The report in its order, straight from the database: a page of it, or all of it in a stream.

Sorting a million customers by urgency takes all of their rows in memory. Here each group (revoked,
expired, urgent, …) is read by itself from an index, in the order in which it is shown: a first
page costs what is on it, and the whole takes the memory of some thousand rows.

Most customers are well: a certificate, no renewal open. What their row says is put together
without the planner's facts, because that is four fifths of the time; all others go by the
functions that the whole report goes by. A test holds both to the same rows.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from hashlib import sha256
from typing import Any

from sqlmodel import Session, select

from lifecycle.vendor.facts import (
    CertificateFacts,
    CustomerFacts,
    CustomerKind,
    IsolationFacts,
    Policy,
    RenewalFacts,
    RenewalReason,
    RenewalState,
    Verdict,
)
from lifecycle.vendor.models import Bounce, Deployment
from lifecycle.vendor.plan import opens_at
from lifecycle.vendor.report import (
    URGENCY,
    CustomerDetails,
    ReportRow,
    TargetRow,
    cells_of,
    row_of,
)
from lifecycle.vendor.report_groups import BREACHED, GROUPS, Group, statement
from lifecycle.vendor.reporting import target_rows
from lifecycle.vendor.undelivered import not_received

FETCHED = 2000
"""Rows that are fetched at a time."""
_LATEST = datetime(9999, 12, 31, tzinfo=UTC)
_DAY_US = 86_400_000_000

_NAMED = re.compile(r":(at|urgent|window|latest|tag\d+|after\d+)\b")

Cells = tuple[Any, ...]
"""A row of the report as ``report.cells_of`` gives it, or of the database as it comes."""


@dataclass(frozen=True, slots=True)
class Cursor:
    """Where a page ended: the group, and the order's values of its last row."""

    group: str
    values: tuple[datetime | str, ...]


@dataclass(frozen=True, slots=True)
class Page:
    """Some rows of the report, and where the next page begins (None: it was the last)."""

    rows: tuple[ReportRow, ...]
    next: Cursor | None


def page(
    session: Session,
    policy: Policy,
    at: datetime,
    *,
    limit: int,
    after: Cursor | None = None,
    tags: Sequence[str] = (),
) -> Page:
    """A page of the report as of ``at`` (aware UTC), most urgent first.

    Args:
        session: reads only.
        after: the end of the page before; None: from the beginning.
        tags: only customers with one of these; empty: all.
    """
    reading = _Reading(session, policy, at, tuple(tags))
    rows: list[ReportRow] = []
    for group, start in _from(after):
        cursor: Cursor | None = None
        for raw in reading.raw(group, start, limit - len(rows) + 1):
            if len(rows) == limit:
                return Page(tuple(rows), cursor or Cursor(group.name, ()))
            rows.append(reading.row(raw))
            cursor = reading.cursor(group, raw)
    return Page(tuple(rows), None)


def stream(
    session: Session, policy: Policy, at: datetime, *, tags: Sequence[str] = ()
) -> Iterator[Cells]:
    """All rows of the report as of ``at`` (aware UTC), most urgent first.

    Args:
        session: reads only.
        tags: only customers with one of these; empty: all.
    """
    reading = _Reading(session, policy, at, tuple(tags))
    for group in (BREACHED, *GROUPS):
        yield from reading.cells(group)


def _from(after: Cursor | None) -> Iterator[tuple[Group, tuple[datetime | str, ...]]]:
    groups = (BREACHED, *GROUPS)
    names = [group.name for group in groups]
    start = 0 if after is None else names.index(after.group)
    for number, group in enumerate(groups[start:]):
        yield group, after.values if after is not None and number == 0 else ()


class _Reading:
    """One look at the whole registry."""

    def __init__(
        self, session: Session, policy: Policy, at: datetime, tags: tuple[str, ...]
    ) -> None:
        self._session = session
        self._policy = policy
        self._at = at
        self._tags = tags
        self._postgresql = session.get_bind().dialect.name != "sqlite"
        self._refused = frozenset(session.exec(select(Bounce.address)))
        self._window = int(policy.window.total_seconds())
        self._spread = policy.spread.total_seconds()
        self._at_us = _microseconds(at)
        self._days = _Days()
        self._unreached = not_received(session)
        self._first: list[Cells] | None = None
        self._ids: frozenset[int] = frozenset()

    def raw(self, group: Group, after: tuple[datetime | str, ...], limit: int) -> Iterator[Cells]:
        """At most ``limit`` rows of a group as the database gives them, in order."""
        if group is BREACHED:
            yield from self._breached()[int(str(after[0])) if after else 0 :]
            return
        # Those who are passed over (breached, not opened) make room for as many more.
        while True:
            last, given, seen = None, 0, 0
            wanted = limit if group.opened is None else 4 * limit
            for last in self._fetch(group, after, wanted):
                seen += 1
                if self._belongs(group, last):
                    given += 1
                    yield last
            if seen < wanted or last is None:
                return
            after, limit = self._values(group, last), max(limit - given, 1)

    def cells(self, group: Group) -> Iterator[Cells]:
        """All rows of a group, as they are shown."""
        if group is BREACHED:
            yield from (cells_of(self.row(raw)) for raw in self._breached())
            return
        breached = self._breached_ids()
        status, opened = group.name, group.opened
        days, refused = self._days, self._refused
        at_us, window, spread = self._at_us, self._window, self._spread
        waits = ("vendor", "a renewal opens at the next tick")
        for raw in self._fetch(group, (), None):
            if raw[0] in breached:
                continue
            end = raw[13]
            if (
                raw[15] is not None  # a renewal is open
                or raw[6] is not None
                or raw[27]  # it has deploy targets
                or status in ("no_certificate", "revoked")
                or end[20:] != "000000"
            ):
                if self._belongs(group, raw):
                    yield cells_of(self.row(raw))
                continue
            seconds = days.seconds(end)
            if opened is None:
                acts, step = waits
            else:
                share = int.from_bytes(sha256(raw[1].encode()).digest()[:8], "big") / 2**64
                opens = seconds - window + int(share * spread)
                if (opens * 1_000_000 <= at_us) is not opened:
                    continue
                acts, step = waits if opened else ("nobody", days.opening(opens // 86_400))
            contacts, tags = raw[25], raw[26]
            bounced = ""
            if refused:
                bounced = _bounced(raw[3], contacts, refused)
            yield (
                *raw[1:5],
                status,
                *(raw[10], raw[11], f"{end[:10]}T{end[11:19]}+00:00"),
                -((at_us - seconds * 1_000_000) // _DAY_US),
                *(None, None, None, None, None, None),
                *(raw[22], raw[23], None if raw[24] is None else _iso(raw[24])),
                *(acts, step, contacts or "", bounced, tags or "", raw[12]),
                raw[5] == "canary",
                *(None, ""),
            )

    def row(self, raw: Cells) -> ReportRow:
        """One row, by the rules that the whole report goes by."""
        unreached = self._unreached.get(raw[0])
        details = _details(raw, self._refused, unreached, self._targets(raw))
        facts = _facts(raw)
        return row_of(facts, details, self._policy, self._at)

    def _targets(self, raw: Cells) -> tuple[TargetRow, ...]:
        if not raw[27]:
            return ()
        chosen = select(Deployment).where(Deployment.customer_id == raw[0])
        return target_rows(self._session.exec(chosen.order_by(Deployment.target)))

    def cursor(self, group: Group, raw: Cells) -> Cursor:
        """Where to go on after a row."""
        if group is BREACHED:
            place = next(n for n, row in enumerate(self._breached(), 1) if row[0] == raw[0])
            return Cursor(group.name, (str(place),))
        return Cursor(group.name, self._values(group, raw))

    def _values(self, group: Group, raw: Cells) -> tuple[datetime | str, ...]:
        slug = str(raw[1])
        if len(group.order) == 1:
            return (slug,)
        return (_LATEST if raw[13] is None else _instant(raw[13]), slug)

    def _breached(self) -> list[Cells]:
        """They are few, and come in the order of all: so they are sorted here."""
        if self._first is None:
            ranks = [str(status) for status in URGENCY]
            self._first = sorted(
                self._fetch(BREACHED, (), None),
                key=lambda raw: (ranks.index(self.row(raw).status), raw[13] or "~", raw[1]),
            )
            self._ids = frozenset(raw[0] for raw in self._first)
        return self._first

    def _breached_ids(self) -> frozenset[int]:
        self._breached()
        return self._ids

    def _belongs(self, group: Group, raw: Cells) -> bool:
        if raw[0] in self._breached_ids():
            return False
        if group.opened is None:
            return True
        active = _facts(raw).active
        return active is not None and group.opened == (
            opens_at(active, raw[1], self._policy) <= self._at
        )

    def _fetch(
        self, group: Group, after: tuple[datetime | str, ...], limit: int | None
    ) -> Iterator[Cells]:
        """The driver's own rows: of a million, SQLAlchemy's would cost more than all else."""
        sql = statement(
            group,
            postgresql=self._postgresql,
            tags=len(self._tags),
            after=bool(after),
            limit=limit,
        )
        values: dict[str, Any] = {
            "at": self._at,
            "urgent": self._at + self._policy.urgent,
            "window": self._at + self._policy.window,
            "latest": _LATEST,
            **{f"tag{number}": tag for number, tag in enumerate(self._tags)},
            **{f"after{number}": value for number, value in enumerate(after)},
        }
        values = {name: value for name, value in values.items() if f":{name}" in sql}
        connection: Any = self._session.connection().connection.driver_connection
        if self._postgresql:
            cursor = connection.cursor(name="report") if limit is None else connection.cursor()
            cursor.execute(_NAMED.sub(r"%(\1)s", sql), values)
        else:
            cursor = connection.execute(sql, {name: _stored(v) for name, v in values.items()})
        try:
            while rows := cursor.fetchmany(FETCHED):
                yield from rows
        finally:
            cursor.close()


class _Days:
    """Days as text, each put together once: a year of them is asked for a million times."""

    def __init__(self) -> None:
        self._midnights: dict[str, int] = {}
        self._openings: dict[int, str] = {}
        self._times: dict[str, int] = {}

    def seconds(self, instant: str) -> int:
        """Seconds since 1970 of an instant as SQLite keeps it."""
        day, time = instant[:10], instant[11:19]
        midnight = self._midnights.get(day)
        if midnight is None:
            midnight = self._midnights[day] = int(_instant(f"{day} 00:00:00").timestamp())
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


def _facts(raw: Cells) -> CustomerFacts:
    revoked_at = None if raw[14] is None else _instant(raw[14])
    end = None if raw[13] is None else _instant(raw[13])
    return CustomerFacts(
        slug=raw[1],
        paused=raw[6] is not None,
        paused_until=None if raw[7] is None else _instant(raw[7]),
        kind=CustomerKind(raw[5]),
        active=None
        if end is None
        else CertificateFacts(raw[9], raw[10], raw[11], raw[12], end, end, end, revoked_at),
        renewal=None
        if raw[15] is None
        else RenewalFacts(
            0,
            RenewalState(raw[15]),
            RenewalReason(raw[16]),
            _instant(raw[17]),
            received=bool(raw[21]),
            blocked_code=raw[18],
        ),
        isolation=IsolationFacts(
            concluded_at=None if raw[24] is None else _instant(raw[24]),
            verdict=None if raw[22] is None else Verdict(raw[22]),
        ),
    )


def _details(
    raw: Cells, refused: frozenset[str], undelivered: str | None, targets: tuple[TargetRow, ...]
) -> CustomerDetails:
    contacts = tuple((raw[25] or "").split())
    addresses = dict.fromkeys((raw[3], *contacts))
    return CustomerDetails(
        name=raw[2],
        email=raw[3],
        apple_account=raw[4],
        paused_reason=raw[8],
        blocked_at=None if raw[19] is None else _instant(raw[19]),
        blocked_message=raw[20],
        verdict_why=raw[23],
        contacts=contacts,
        bounced=tuple(address for address in addresses if address in refused),
        tags=tuple((raw[26] or "").split()),
        undelivered=undelivered,
        deployments=targets,
    )


def _bounced(email: str, contacts: str | None, refused: frozenset[str]) -> str:
    addresses = dict.fromkeys((email, *(contacts or "").split()))
    return " ".join(address for address in addresses if address in refused)


def _instant(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def _iso(text: str) -> str:
    fraction = "" if text[20:] == "000000" else text[19:]
    return f"{text[:10]}T{text[11:19]}{fraction}+00:00"


def _stored(value: object) -> object:
    """As SQLite keeps it."""
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")
    return value


def _microseconds(at: datetime) -> int:
    return (at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
