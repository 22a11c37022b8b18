"""Reads the report's rows straight from the database, some thousand at a time.

For a page (``report_page``) each group (revoked, expired, urgent, …) is read by itself from an
index, in the order in which it is shown: a first page costs what is on it. For the whole
(``report_lines``) everybody is read along the keys, in no order of the report.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import Any

from sqlalchemy.exc import DBAPIError
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
from lifecycle.vendor.report import URGENCY, CustomerDetails, ReportRow, TargetRow, row_of
from lifecycle.vendor.report_groups import BREACHED, Group, everybody, statement
from lifecycle.vendor.reporting import bounced_of, target_rows
from lifecycle.vendor.undelivered import not_received

FETCHED = 2000
"""Rows that are fetched at a time."""
LATEST = datetime(9999, 12, 31, tzinfo=UTC)
"""Stands for the end of a customer's certificate who has none."""

_NAMED = re.compile(r":(at|latest|low|high|tag\d+|after\d+)\b")

Raw = tuple[Any, ...]
"""A row as the database gives it: the columns of ``report_groups.statement``."""


class Reading:
    """One look at the whole registry, as of an instant.

    Args:
        session: reads only.
        at: aware UTC.
        tags: only customers with one of these; empty: all.
    """

    def __init__(
        self, session: Session, policy: Policy, at: datetime, tags: Sequence[str] = ()
    ) -> None:
        self.policy = policy
        self.at = at
        self.refused = frozenset(session.exec(select(Bounce.address)))
        """Addresses that mail servers refuse for good."""
        self._session = session
        self._tags = tuple(tags)
        self._postgresql = session.get_bind().dialect.name != "sqlite"
        self._first: list[Raw] | None = None
        self._ids: frozenset[int] = frozenset()

    def batches(
        self, group: Group, *, after: tuple[datetime | str, ...] = (), limit: int | None = None
    ) -> Iterator[list[Raw]]:
        """A group's rows in order, some at a time, with those that ``belongs`` has yet to refuse.

        Args:
            after: the order's values of a row: only what comes after it.
            limit: rows at most.
        """
        bounds = {
            "at": self.at,
            "urgent": self.at + self.policy.urgent,
            "window": self.at + self.policy.window,
        }
        values = {
            "at": self.at,
            "latest": LATEST,
            "low": bounds.get(group.low or ""),
            "high": bounds.get(group.high or ""),
            **{f"after{number}": value for number, value in enumerate(after)},
        }
        sql = statement(
            group,
            postgresql=self._postgresql,
            tags=len(self._tags),
            after=bool(after),
            limit=limit,
        )
        yield from self._rows(sql, values, streamed=limit is None)

    def between(self, low: int, high: int) -> Iterator[list[Raw]]:
        """Everybody in care whose key is above the one and up to the other, some at a time."""
        sql = everybody(postgresql=self._postgresql, tags=len(self._tags))
        yield from self._rows(sql, {"low": low, "high": high}, streamed=True)

    def _rows(self, sql: str, values: dict[str, Any], *, streamed: bool) -> Iterator[list[Raw]]:
        # The driver's own rows: of a million, SQLAlchemy's would cost more than all else.
        connection: Any = self._session.connection().connection.driver_connection
        values |= {f"tag{number}": tag for number, tag in enumerate(self._tags)}
        named = {name: values[name] for name in set(_NAMED.findall(sql))}
        dialect = self._session.get_bind().dialect
        failure = dialect.loaded_dbapi.Error
        with ExitStack() as stack:
            try:
                if self._postgresql:
                    cursor = connection.cursor(name="report") if streamed else connection.cursor()
                    stack.callback(cursor.close)
                    cursor.execute(_NAMED.sub(r"%(\1)s", sql), named)
                else:
                    cursor = connection.execute(sql, {n: _stored(v) for n, v in named.items()})
                    stack.callback(cursor.close)
                while rows := cursor.fetchmany(FETCHED):
                    yield rows
            except failure as error:
                # As SQLAlchemy says it: ``Database`` knows which of them may pass.
                raise DBAPIError.instance(
                    None, None, error, failure, hide_parameters=True, dialect=dialect
                ) from None

    def breached(self) -> list[Raw]:
        """Those whose last check found a breach: they are few, and come before all others."""
        if self._first is None:
            ranks = [str(status) for status in URGENCY]
            found = [raw for rows in self.batches(BREACHED) for raw in rows]
            shown = {row.slug: row for row in self.rows(found)}
            self._first = sorted(
                found, key=lambda raw: (ranks.index(shown[raw[1]].status), raw[13] or "~", raw[1])
            )
            self._ids = frozenset(raw[0] for raw in self._first)
        return self._first

    def breached_ids(self) -> frozenset[int]:
        """The same by the customers' keys."""
        self.breached()
        return self._ids

    def belongs(self, group: Group, raw: Raw) -> bool:
        """Whether a row that was read of a group is shown there."""
        if raw[0] in self.breached_ids():
            return False
        if group.opened is None:
            return True
        active = facts_of(raw).active
        return active is not None and group.opened == (
            opens_at(active, raw[1], self.policy) <= self.at
        )

    def unreached(self, ids: Collection[int]) -> dict[int, str]:
        """Who of these customers never got what they were sent last, and why."""
        return not_received(self._session, ids) if ids else {}

    def rows(self, raws: Sequence[Raw]) -> list[ReportRow]:
        """Rows by the rules that the whole report goes by."""
        unreached = self.unreached([raw[0] for raw in raws if raw[15] is not None])
        return [self.row(raw, unreached) for raw in raws]

    def row(self, raw: Raw, unreached: dict[int, str]) -> ReportRow:
        """One of them."""
        details = _details(raw, self.refused, unreached.get(raw[0]), self._targets(raw))
        return row_of(facts_of(raw), details, self.policy, self.at)

    def _targets(self, raw: Raw) -> tuple[TargetRow, ...]:
        if not raw[27]:
            return ()
        chosen = select(Deployment).where(Deployment.customer_id == raw[0])
        return target_rows(self._session.exec(chosen.order_by(Deployment.target)))


def facts_of(raw: Raw) -> CustomerFacts:
    """What the planner knows of a customer."""
    revoked_at = None if raw[14] is None else instant(raw[14])
    end = None if raw[13] is None else instant(raw[13])
    return CustomerFacts(
        slug=raw[1],
        paused=raw[6] is not None,
        paused_until=None if raw[7] is None else instant(raw[7]),
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
            instant(raw[17]),
            received=bool(raw[21]),
            blocked_code=raw[18],
        ),
        isolation=IsolationFacts(
            concluded_at=None if raw[24] is None else instant(raw[24]),
            verdict=None if raw[22] is None else Verdict(raw[22]),
        ),
    )


def _details(
    raw: Raw, refused: frozenset[str], undelivered: str | None, targets: tuple[TargetRow, ...]
) -> CustomerDetails:
    contacts = tuple((raw[25] or "").split())
    return CustomerDetails(
        name=raw[2],
        email=raw[3],
        apple_account=raw[4],
        paused_reason=raw[8],
        blocked_at=None if raw[19] is None else instant(raw[19]),
        blocked_message=raw[20],
        verdict_why=raw[23],
        contacts=contacts,
        bounced=bounced_of(raw[3], contacts, refused),
        tags=tuple((raw[26] or "").split()),
        undelivered=undelivered,
        deployments=targets,
    )


def instant(text: str) -> datetime:
    """An instant (aware UTC) as the database gives it: ``2027-03-01 12:00:00[.000000]``."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def _stored(value: object) -> object:
    """As SQLite keeps it."""
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")
    return value
