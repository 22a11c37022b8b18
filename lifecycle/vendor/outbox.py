"""Sends what waits in the outbox: in order, with backoff, and never what is out of date.

A row is read in one transaction, sent outside of any, and marked in the next. A process that
dies between sending and marking sends the row once more, with the same ``Message-ID``; two
processes that send at the same time may do so as well.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from email.message import EmailMessage

from sqlmodel import Session, col, or_, select
from sqlmodel.sql.expression import SelectOfScalar

from lifecycle.boundary import Unobserved, WriteObserver
from lifecycle.errors import Refused, Unavailable
from lifecycle.vendor.facts import OPEN_STATES
from lifecycle.vendor.mail import Attachment, MailTransport, ServerDown, compose
from lifecycle.vendor.messages import Kind, request_filename
from lifecycle.vendor.models import Customer, OutboxMessage, Renewal

SessionFactory = Callable[[], AbstractContextManager[Session]]
"""Opens a transaction that is committed at the end of the block."""

FIRST_RETRY = timedelta(minutes=5)
LONGEST_RETRY = timedelta(hours=6)
GIVE_UP_AFTER = timedelta(days=5)
"""As long as mail servers try by custom (RFC 5321, 4.5.4.1), counted from the decision."""

BOUNDARY = "mail.sent"

RENEWAL_ENDED = "renewal ended"
CUSTOMER_PAUSED = "customer paused"
CUSTOMER_GONE = "customer off-boarded"
SUPERSEDED = "a later message takes its place"
WITHDRAWALS = frozenset({RENEWAL_ENDED, CUSTOMER_PAUSED, CUSTOMER_GONE, SUPERSEDED})
"""Why a row was given up although nothing failed; what ``last_error`` says then."""

_URGES_CUSTOMER = frozenset({Kind.DELIVERY, Kind.REMINDER})
_URGES_OPS = frozenset({Kind.OPS_REMINDER})
_ABOUT_SIGNER = frozenset({Kind.SIGNER_EXPIRY})
_NOT_TO_THE_PAUSED = _URGES_CUSTOMER | _URGES_OPS | {Kind.FULFILLED}


@dataclass(slots=True)
class DeliverySummary:
    """What one delivery run did.

    Attributes:
        sent: rows that the mail server has taken.
        failed: rows that could not be sent; those not given up are tried again.
        given_up: how many of the failed ones were given up for good.
        withdrawn: rows that were out of date and not sent.
        faults: one sentence for each failure.
        stopped: why the run ended early, with rows left that wait for the next; or None.
    """

    sent: int = 0
    failed: int = 0
    given_up: int = 0
    withdrawn: int = 0
    faults: list[str] = field(default_factory=list)
    stopped: str | None = None


def deliver_due(
    transactions: SessionFactory,
    transport: MailTransport,
    now: datetime,
    *,
    sender: str,
    vendor: str,
    observer: WriteObserver | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> DeliverySummary:
    """Sends every row whose time has come, oldest first.

    A temporary failure is tried again after 5 minutes, doubling up to 6 hours, for 5 days. A
    permanent one is given up at once. Where the mail server is down the run ends after one
    attempt: the others wait for the next run.

    Not sent but withdrawn: what urges somebody on in a renewal that has ended, or that a
    later message repeats (after an outage of the mail server one message arrives, not a
    burst), and what is for a customer that is paused or off-boarded. Messages about a breach,
    a revocation or the signer are always sent.

    Args:
        transactions: opens transactions on the vendor's database.
        transport: the way out.
        now: aware UTC; the whole run counts as this instant.
        sender, vendor: address and name that the messages come from.
        observer: told just before and just after a message is handed over.
        stop: asked between rows; True ends the run.

    Raises:
        Unavailable: the database cannot be used.
    """
    summary = DeliverySummary()
    run = _Run(transactions, transport, now, sender, vendor, observer or Unobserved(), summary)
    with transactions() as session:
        due = sorted(row_id for row_id in session.exec(due_statement(now)) if row_id is not None)
    for row_id in due:
        if stop() or summary.stopped is not None:
            break
        run.send(row_id)
    return summary


def due_statement(now: datetime) -> SelectOfScalar[int | None]:
    """The due query; a test asserts that it runs on the index of ``next_attempt_at``.

    Not sorted by the database: asked to, SQLite would walk the whole table in order of ``id``.
    """
    return select(col(OutboxMessage.id)).where(col(OutboxMessage.next_attempt_at) <= now)


def failing(session: Session) -> Sequence[OutboxMessage]:
    """Rows that somebody should look into, oldest first.

    Those that failed and are tried again, and those given up after a failure as long as no
    later message has reached the same addresses.
    """
    rows = session.exec(
        select(OutboxMessage)
        .where(
            col(OutboxMessage.sent_at).is_(None),
            OutboxMessage.attempts > 0,
            or_(
                col(OutboxMessage.last_error).is_(None),
                col(OutboxMessage.last_error).not_in(WITHDRAWALS),
            ),
        )
        .order_by(col(OutboxMessage.id))
    ).all()
    return [row for row in rows if row.given_up_at is None or not _reached_since(session, row)]


def _reached_since(session: Session, row: OutboxMessage) -> bool:
    later = session.exec(
        select(OutboxMessage.recipients).where(
            col(OutboxMessage.id) > row.id,
            col(OutboxMessage.sent_at).is_not(None),
            col(OutboxMessage.customer_id).is_not_distinct_from(row.customer_id),
        )
    )
    return any(recipients == row.recipients for recipients in later)


@dataclass(frozen=True, slots=True)
class _Run:
    """One delivery run."""

    transactions: SessionFactory
    transport: MailTransport
    now: datetime
    sender: str
    vendor: str
    observer: WriteObserver
    summary: DeliverySummary

    def send(self, row_id: int) -> None:
        try:
            with self.transactions() as session:
                message = self._prepare(session, session.get_one(OutboxMessage, row_id))
        except Refused as fault:
            self._failed(row_id, fault)
            return
        if message is None:
            return
        try:
            self.observer.reached(f"{BOUNDARY}:before")
            self.transport.send(message)
            self.observer.reached(f"{BOUNDARY}:after")
        except (Refused, Unavailable) as fault:
            self._failed(row_id, fault)
        else:
            self._sent(row_id)

    def _prepare(self, session: Session, row: OutboxMessage) -> EmailMessage | None:
        """The message, or None when there is nothing to send; withdraws what is out of date.

        Raises:
            Refused: no message can be made of the row.
        """
        if row.next_attempt_at is None or row.next_attempt_at > self.now:
            return None  # another process has seen to it
        renewal = None if row.renewal_id is None else session.get_one(Renewal, row.renewal_id)
        customer = None if row.customer_id is None else session.get_one(Customer, row.customer_id)
        why = _out_of_date(session, row, customer, renewal)
        if why is not None:
            _give_up(row, why, self.now)
            session.add(row)
            self.summary.withdrawn += 1
            return None
        attachment = None
        if row.attach_request and customer is not None and renewal is not None and renewal.request:
            attachment = Attachment(request_filename(customer.slug), renewal.request)
        return compose(row, attachment, sender=self.sender, vendor=self.vendor)

    def _sent(self, row_id: int) -> None:
        with self.transactions() as session:
            row = session.get_one(OutboxMessage, row_id)
            row.attempts += 1
            row.sent_at = self.now
            row.next_attempt_at = row.last_error = None
            session.add(row)
        self.summary.sent += 1

    def _failed(self, row_id: int, fault: Refused | Unavailable) -> None:
        with self.transactions() as session:
            row = session.get_one(OutboxMessage, row_id)
            row.attempts += 1
            again = self.now + retry_after(row.attempts)
            given_up = isinstance(fault, Refused) or again - row.created_at > GIVE_UP_AFTER
            if given_up:
                _give_up(row, str(fault), self.now)
            else:
                row.next_attempt_at, row.last_error = again, str(fault)[:1000]
            session.add(row)
            line = f"'{row.subject}' to {', '.join(row.recipients)}: {fault}"
        self.summary.failed += 1
        self.summary.given_up += given_up
        self.summary.faults.append(line)
        if isinstance(fault, ServerDown):
            self.summary.stopped = str(fault)


def _out_of_date(
    session: Session, row: OutboxMessage, customer: Customer | None, renewal: Renewal | None
) -> str | None:
    if customer is not None and row.kind in _NOT_TO_THE_PAUSED:
        if customer.offboarded_at is not None:
            return CUSTOMER_GONE
        if customer.paused_at is not None:
            return CUSTOMER_PAUSED
    urges = row.kind in _URGES_CUSTOMER or row.kind in _URGES_OPS
    if urges and renewal is not None and renewal.state not in OPEN_STATES:
        return RENEWAL_ENDED
    return SUPERSEDED if _has_successor(session, row) else None


def _has_successor(session: Session, row: OutboxMessage) -> bool:
    groups = (_URGES_CUSTOMER, _URGES_OPS, _ABOUT_SIGNER)
    group = next((group for group in groups if row.kind in group), None)
    if group is None:
        return False
    same = (
        OutboxMessage.ladder == row.ladder
        if group is _ABOUT_SIGNER
        else OutboxMessage.renewal_id == row.renewal_id
    )
    later = select(OutboxMessage.id).where(
        col(OutboxMessage.id) > row.id,
        col(OutboxMessage.kind).in_(group),
        same,
        col(OutboxMessage.given_up_at).is_(None),
    )
    return session.exec(later.limit(1)).first() is not None


def _give_up(row: OutboxMessage, why: str, now: datetime) -> None:
    row.given_up_at = now
    row.next_attempt_at = None
    row.last_error = why[:1000]


def retry_after(attempts: int) -> timedelta:
    """How long to wait after this many failed attempts."""
    doublings = min(attempts - 1, 16)
    return min(FIRST_RETRY * (1 << doublings), LONGEST_RETRY)
