"""Leases: how any number of workers share one PostgreSQL, with no coordinator of ours.

Due customers are taken in batches with ``FOR UPDATE SKIP LOCKED`` and leased: for a while no
other worker takes them. A worker that crashed loses its leases when that while is over. A lease
is only there so that nothing is done twice for nothing: that nothing *happens* twice is held by
the lock of the customer's row, by planning from the facts, and by the unique rows of the outbox.

Why a lease has columns of its own, and ``next_action_at`` is not simply moved on: the time at
which something was due stays readable (``doctor``), an instance that calls in the meantime makes
its customer due at once, and an update that touches no index is cheap (PostgreSQL keeps it on
its page).

Whose clock: the database's, never a worker's, so that a worker whose clock is a day off neither
robs the others nor keeps anything from them. If the database's own clock is set back, a lease
would seem to last for that long: one that ends further ahead than any can was given before, and
counts as over.

A message that is being handed to a mail server is leased as well, and there a second sender does
harm. So that no single jump of the database's clock can take a lease from a sender that lives,
it must be found over twice, a whole lease apart, before the message is anybody else's.

SQLite has no leases: a deployment on it is one machine, where a lock on a file (``turns``) is
held by the process that works, and let go by the system however that one ends.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Protocol

from sqlalchemy import ColumnElement, DateTime, SQLColumnExpression, any_, func, or_, update
from sqlalchemy import select as sql_select
from sqlalchemy.sql.dml import ReturningUpdate
from sqlmodel import Session, col

from lifecycle.vendor.database import Database
from lifecycle.vendor.models import Customer, OutboxMessage
from lifecycle.vendor.store import due_customers

CUSTOMER_LEASE = timedelta(minutes=5)
MESSAGE_LEASE = timedelta(minutes=15)
"""Far longer than a mail server may take over one message, with its timeouts."""


def new_holder() -> str:
    """A name that no other holder of leases has."""
    return secrets.token_hex(8)


def database_time() -> ColumnElement[datetime]:
    """The database's clock, at the beginning of the statement."""
    return func.statement_timestamp(type_=DateTime(timezone=True))


def is_over(until: SQLColumnExpression[datetime | None], lease: timedelta) -> ColumnElement[bool]:
    """Whether a lease of this kind is over, or was never given."""
    now = database_time()
    return or_(until.is_(None), until <= now, until > now + lease)


def take_statement(
    now: datetime, limit: int, holder: str, lease: timedelta
) -> ReturningUpdate[datetime | None, int | None]:
    """Leases due customers to ``holder``; gives since when each was due, and its id.

    The batch is chosen once, into an array, and its rows are found by their keys: as a plain
    condition of the update it could be chosen anew for each row, or joined with the whole table.
    """
    due = (
        sql_select(col(Customer.id))
        .where(
            col(Customer.next_action_at) <= now,
            is_over(col(Customer.leased_until), lease),
        )
        .order_by(col(Customer.next_action_at), col(Customer.id))
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    return (
        update(Customer)
        .where(col(Customer.id) == any_(func.array(due.scalar_subquery())))
        .values(leased_to=holder, leased_until=database_time() + lease)
        .returning(col(Customer.next_action_at), col(Customer.id))
    )


class Turn(Protocol):
    """Shares the due customers out among workers."""

    def take(self, now: datetime, limit: int) -> list[int]:
        """Ids of due customers, longest overdue first, for this worker alone; none twice, and
        an empty list once there are no others."""
        ...

    def keep(self, customer_id: int) -> bool:
        """Whether a customer that was taken is still this worker's."""
        ...

    def done(self, customer_id: int) -> None:
        """The customer was seen to; its lease went with the last thing written about it."""
        ...

    def give_back(self) -> None:
        """Everybody who was taken and not seen to is anybody's again."""
        ...


def turn_at(database: Database, lease: timedelta = CUSTOMER_LEASE) -> Turn:
    """How workers on this database share their work."""
    return AloneAt(database) if database.has_one_writer else CustomerLeases(database, lease)


class AloneAt:
    """A ``Turn`` on SQLite: the caller holds the lock that keeps other workers out."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._seen: set[int] = set()
        self._still_due = 0

    def take(self, now: datetime, limit: int) -> list[int]:
        """See ``Turn``."""
        while True:
            wanted = limit + self._still_due
            with self._database.reading() as session:
                due = due_customers(session, now, wanted)
            new = [id_ for id_ in due if id_ not in self._seen]
            self._still_due = len(due) - len(new)
            if new or len(due) < wanted:
                self._seen.update(new)
                return new

    def keep(self, customer_id: int) -> bool:  # noqa: ARG002 - nobody else is there
        """See ``Turn``."""
        return True

    def done(self, customer_id: int) -> None:
        """See ``Turn``."""

    def give_back(self) -> None:
        """See ``Turn``."""


class CustomerLeases:
    """A ``Turn`` on PostgreSQL: the customers that were taken are leased.

    Args:
        database: a PostgreSQL.
        lease: how long nobody else takes them.
        monotonic: seconds, for this worker's own sense of how long it has been at work.
    """

    def __init__(
        self,
        database: Database,
        lease: timedelta = CUSTOMER_LEASE,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database = database
        self._lease = lease
        self._monotonic = monotonic
        self._holder = new_holder()
        self._held: dict[int, float] = {}
        self._seen: set[int] = set()

    def take(self, now: datetime, limit: int) -> list[int]:
        """See ``Turn``."""
        statement = take_statement(now, limit, self._holder, self._lease)
        while found := self._database.carry_out(lambda session: list(session.execute(statement))):
            at = self._monotonic()
            self._held.update((id_, at) for _, id_ in found)
            new = [id_ for _, id_ in sorted(tuple(row) for row in found) if id_ not in self._seen]
            if new:
                self._seen.update(new)
                return new
        return []

    def keep(self, customer_id: int) -> bool:
        """See ``Turn``. A lease that gets old is renewed."""
        at = self._monotonic()
        if at - self._held[customer_id] < self._lease.total_seconds() / 3:
            return True
        renew = (
            update(Customer)
            .where(col(Customer.id) == customer_id, col(Customer.leased_to) == self._holder)
            .values(leased_until=database_time() + self._lease)
            .returning(col(Customer.id))
        )
        kept = self._database.carry_out(lambda session: session.execute(renew).first() is not None)
        self._held[customer_id] = at
        return kept

    def done(self, customer_id: int) -> None:
        """See ``Turn``."""
        self._held.pop(customer_id, None)

    def give_back(self) -> None:
        """See ``Turn``."""
        if not self._held:
            return
        ids, self._held = list(self._held), {}
        free = (
            update(Customer)
            .where(col(Customer.id).in_(ids), col(Customer.leased_to) == self._holder)
            .values(leased_to=None, leased_until=None)
        )
        self._database.carry_out(lambda session: session.execute(free))


def take_message(session: Session, row: OutboxMessage, holder: str, lease: timedelta) -> bool:
    """Leases a message, whose row the transaction has locked, to ``holder``; False: it is
    another sender's, or may still be."""
    now = session.execute(sql_select(database_time())).scalar_one()
    if row.leased_to not in (None, holder) and row.leased_until is not None:
        if now < row.leased_until <= now + lease:
            return False
        if not row.lease_lapsed:
            row.lease_lapsed, row.leased_until = True, now + lease
            session.add(row)
            return False
    row.leased_to, row.leased_until, row.lease_lapsed = holder, now + lease, False
    session.add(row)
    return True


def release_message(row: OutboxMessage) -> None:
    """The message was handed over, or could not be: it is nobody's."""
    row.leased_to, row.leased_until, row.lease_lapsed = None, None, False
