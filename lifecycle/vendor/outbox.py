"""Sends what waits in the outbox: in order, with backoff, and never what is out of date.

Most rows are mail; what concerns vendor ops goes to their chat channels as well, in rows of
its own, so that a chat that is down keeps no mail waiting.

A row is read in one transaction, sent outside of any, and marked in the next. A process that
dies between sending and marking sends the row once more, with the same ``Message-ID``; two
processes that send at the same time may do so as well.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

from sqlmodel import Session, col, delete, select, update
from sqlmodel.sql.expression import SelectOfScalar

from lifecycle.boundary import Unobserved, Watch, WriteObserver, ignore
from lifecycle.errors import Refused, Unavailable
from lifecycle.language.portal import request_filename
from lifecycle.vendor.facts import OPEN_STATES
from lifecycle.vendor.kinds import MAIL, TO_CUSTOMERS, URGES_CUSTOMER, Kind
from lifecycle.vendor.mail import (
    AddressesRefused,
    Attachment,
    MailTransport,
    RefusedAddress,
    ServerDown,
    compose,
)
from lifecycle.vendor.models import Bounce, Certificate, Customer, OutboxMessage, Renewal
from lifecycle.vendor.quiet_hours import QuietHours
from lifecycle.vendor.undelivered import (
    CHANNEL_GONE,
    CUSTOMER_GONE,
    CUSTOMER_PAUSED,
    RENEWAL_ENDED,
    SUPERSEDED,
)

SessionFactory = Callable[[], AbstractContextManager[Session]]
"""Opens a transaction that is committed at the end of the block."""

FIRST_RETRY = timedelta(minutes=5)
LONGEST_RETRY = timedelta(hours=6)
GIVE_UP_AFTER = timedelta(days=30)
"""Counted from the decision. Far longer than mail servers try (RFC 5321, 4.5.4.1), because
here a message that is out of date is withdrawn, and one that is not is better late than never:
a mail server that is down for a week must not cost anybody the reminder of that week."""

BOUNDARY = "mail.sent"
_A_MOMENT = timedelta(microseconds=1)

_URGES_OPS = frozenset({Kind.OPS_REMINDER})
_ABOUT_SIGNER = frozenset({Kind.SIGNER_EXPIRY})
_NOT_TO_THE_PAUSED = TO_CUSTOMERS | _URGES_OPS


class ChatTransport(Protocol):
    """Puts a message into one of vendor ops' chat channels."""

    def send(self, subject: str, body: str) -> None:
        """Raises ``Unavailable`` (it may go through later) or ``Refused`` (it never will)."""
        ...


@dataclass(slots=True)
class DeliverySummary:
    """What one delivery run did.

    Attributes:
        sent: rows that the mail server has taken.
        failed: rows that could not be sent; those not given up are tried again.
        given_up: how many of the failed ones were given up for good.
        withdrawn: rows that were out of date and not sent.
        held: rows that wait for the end of the quiet hours.
        faults: one sentence for each failure.
        stopped: why mail was left that waits for the next run; or None.
    """

    sent: int = 0
    failed: int = 0
    given_up: int = 0
    withdrawn: int = 0
    held: int = 0
    faults: list[str] = field(default_factory=list)
    stopped: str | None = None


def deliver_due(
    transactions: SessionFactory,
    transport: MailTransport | None,
    now: datetime,
    *,
    sender: str,
    vendor: str,
    reply_to: str | None = None,
    chats: Mapping[str, ChatTransport] | None = None,
    quiet: QuietHours | None = None,
    observer: WriteObserver | None = None,
    watch: Watch = ignore,
    stop: Callable[[], bool] = lambda: False,
) -> DeliverySummary:
    """Sends every row whose time has come, oldest first.

    A temporary failure is tried again after 5 minutes, doubling up to 6 hours, for 30 days. A
    permanent one is given up at once. Where the mail server is down one attempt is made: the
    other mails wait for the next run. An address that is refused for good is flagged until a
    message gets through to it.

    Messages to customers wait for the end of the quiet hours, unless the certificate would
    end before that.

    Not sent but withdrawn: what urges somebody on in a renewal that has ended, or that a
    later message repeats (after an outage of the mail server one message arrives, not a
    burst), and what is for a customer that is off-boarded. What is for one that is paused
    waits for the end of the pause. Messages about a breach,
    a revocation or the signer are always sent.

    Args:
        transactions: opens transactions on the vendor's database.
        transport: takes the mail; None: it goes on waiting.
        now: aware UTC; the whole run counts as this instant.
        sender, vendor: address and name that the messages come from.
        reply_to: where answers go; None: to the sender.
        chats: vendor ops' chat channels, by name.
        quiet: when customers are to be left alone.
        observer: told just before and just after a message is handed over.
        watch: told how far it is.
        stop: asked between rows; True ends the run.

    Raises:
        Unavailable: the database cannot be used.
    """
    summary = DeliverySummary()
    run = _Run(
        transactions,
        transport,
        now,
        sender,
        vendor,
        reply_to,
        chats or {},
        quiet,
        observer or Unobserved(),
        summary,
    )
    with transactions() as session:
        due = sorted(row_id for row_id in session.exec(due_statement(now)) if row_id is not None)
    for number, row_id in enumerate(due, 1):
        if stop():
            break
        run.send(row_id)
        watch(number, f"Sending messages, of {len(due):,}")
    return summary


def due_statement(now: datetime) -> SelectOfScalar[int | None]:
    """The due query; a test asserts that it runs on the index of ``next_attempt_at``.

    Not sorted by the database: asked to, SQLite would walk the whole table in order of ``id``.
    """
    return select(col(OutboxMessage.id)).where(col(OutboxMessage.next_attempt_at) <= now)


def take_up(session: Session, customer_id: int, now: datetime) -> None:
    """Makes what waits for the end of a customer's pause due."""
    session.exec(
        update(OutboxMessage)
        .where(
            col(OutboxMessage.customer_id) == customer_id,
            col(OutboxMessage.last_error) == CUSTOMER_PAUSED,
            col(OutboxMessage.given_up_at).is_(None),
            col(OutboxMessage.sent_at).is_(None),
        )
        .values(next_attempt_at=now, last_error=None)
    )


@dataclass(frozen=True, slots=True)
class _Run:
    """One delivery run."""

    transactions: SessionFactory
    transport: MailTransport | None
    now: datetime
    sender: str
    vendor: str
    reply_to: str | None
    chats: Mapping[str, ChatTransport]
    quiet: QuietHours | None
    observer: WriteObserver
    summary: DeliverySummary

    def send(self, row_id: int) -> None:
        try:
            with self.transactions() as session:
                hand_over = self._prepare(session, session.get_one(OutboxMessage, row_id))
        except Refused as fault:
            self._failed(row_id, fault)
            return
        if hand_over is None:
            return
        try:
            self.observer.reached(f"{BOUNDARY}:before")
            refused = hand_over()
            self.observer.reached(f"{BOUNDARY}:after")
        except (Refused, Unavailable) as fault:
            self._failed(row_id, fault)
        else:
            self._sent(row_id, refused)

    def _prepare(
        self, session: Session, row: OutboxMessage
    ) -> Callable[[], tuple[RefusedAddress, ...]] | None:
        """What hands the message over, or None when there is nothing to send now.

        Withdraws what is out of date, and puts off what must wait for the morning.

        Raises:
            Refused: no message can be made of the row.
        """
        if row.next_attempt_at is None or row.next_attempt_at > self.now:
            return None  # another process has seen to it
        renewal = None if row.renewal_id is None else session.get_one(Renewal, row.renewal_id)
        customer = None if row.customer_id is None else session.get_one(Customer, row.customer_id)
        why = out_of_date(session, row)
        if why == CUSTOMER_PAUSED:
            self._put_by(session, row)
            return None
        if why is not None:
            self._withdraw(session, row, why)
            return None
        until = quiet_until(session, row, self.quiet, self.now)
        if until is not None:
            row.next_attempt_at = until
            session.add(row)
            self.summary.held += 1
            return None
        hand_over = (
            self._to_addresses(row, customer, renewal)
            if row.channel == MAIL
            else self._to_chat(session, row)
        )
        if hand_over is not None:
            # Where nothing can be written nothing may be sent: it could not be marked, and would
            # be sent again at every look. So the row is written first, and stays as due as it was.
            row.next_attempt_at = self.now - _A_MOMENT
            session.add(row)
        return hand_over

    def _to_chat(
        self, session: Session, row: OutboxMessage
    ) -> Callable[[], tuple[RefusedAddress, ...]] | None:
        chat = self.chats.get(row.channel)
        if chat is None:
            self._withdraw(session, row, CHANNEL_GONE)
            return None
        subject, body = row.subject, row.body

        def hand_over() -> tuple[RefusedAddress, ...]:
            chat.send(subject, body)
            return ()

        return hand_over

    def _to_addresses(
        self, row: OutboxMessage, customer: Customer | None, renewal: Renewal | None
    ) -> Callable[[], tuple[RefusedAddress, ...]] | None:
        transport = self.transport
        if transport is None or self.summary.stopped is not None:
            return None
        attachment = None
        if row.attach_request and customer is not None and renewal is not None and renewal.request:
            attachment = Attachment(request_filename(customer.slug), renewal.request)
        message = compose(
            row, attachment, sender=self.sender, vendor=self.vendor, reply_to=self.reply_to
        )
        return lambda: transport.send(message)

    def _put_by(self, session: Session, row: OutboxMessage) -> None:
        """Nothing goes to a paused customer; what was owed is owed again after the pause.

        A request waits for ``resume``. A rung is freed, to be decided on anew by then, with a
        text that fits the day.
        """
        if row.kind == Kind.DELIVERY:
            row.next_attempt_at, row.last_error = None, CUSTOMER_PAUSED
            session.add(row)
            self.summary.held += 1
            return
        row.dedupe_key = f"{row.dedupe_key}#{row.id}"
        row.ladder = row.rung = None
        self._withdraw(session, row, CUSTOMER_PAUSED)

    def _withdraw(self, session: Session, row: OutboxMessage, why: str) -> None:
        _give_up(row, why, self.now)
        session.add(row)
        self.summary.withdrawn += 1

    def _sent(self, row_id: int, refused: tuple[RefusedAddress, ...]) -> None:
        with self.transactions() as session:
            row = session.get_one(OutboxMessage, row_id)
            row.attempts += 1
            row.sent_at = self.now
            row.next_attempt_at = row.last_error = None
            session.add(row)
            if row.channel == MAIL:
                _flag(session, refused, self.now)
                bad = {one.address for one in refused}
                _unflag(session, {*row.recipients, *row.copies} - bad)
        self.summary.sent += 1
        self.summary.faults.extend(one.why for one in refused)

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
            if isinstance(fault, AddressesRefused):
                _flag(session, fault.refused, self.now)
            line = f"'{row.subject}' to {', '.join(row.recipients)}: {fault}"
        self.summary.failed += 1
        self.summary.given_up += given_up
        self.summary.faults.append(line)
        if isinstance(fault, ServerDown):
            self.summary.stopped = str(fault)


def _flag(session: Session, refused: Iterable[RefusedAddress], now: datetime) -> None:
    for one in refused:
        known = session.get(Bounce, one.address)
        if known is None:
            session.add(Bounce(address=one.address, at=now, why=one.why[:1000]))
        else:
            known.why = one.why[:1000]  # since when it has been so is what people ask for
            session.add(known)


def _unflag(session: Session, addresses: Iterable[str]) -> None:
    session.exec(delete(Bounce).where(col(Bounce.address).in_(list(addresses))))


def quiet_until(
    session: Session, row: OutboxMessage, quiet: QuietHours | None, now: datetime
) -> datetime | None:
    """Until when a message waits for the end of the quiet; None where it need not."""
    if quiet is None or row.kind not in TO_CUSTOMERS:
        return None
    until = quiet.until(now)
    if until is None:
        return None
    ends = session.exec(
        select(Certificate.not_after).where(
            Certificate.customer_id == row.customer_id, Certificate.state == "active"
        )
    ).first()
    return None if ends is not None and now < ends <= until else until


def out_of_date(session: Session, row: OutboxMessage) -> str | None:
    """Why a message is not sent although its time has come; None where it is."""
    renewal = None if row.renewal_id is None else session.get_one(Renewal, row.renewal_id)
    customer = None if row.customer_id is None else session.get_one(Customer, row.customer_id)
    if customer is not None and row.kind in _NOT_TO_THE_PAUSED:
        if customer.offboarded_at is not None:
            return CUSTOMER_GONE
        if customer.paused_at is not None:
            return CUSTOMER_PAUSED
    urges = row.kind in URGES_CUSTOMER or row.kind in _URGES_OPS
    if urges and renewal is not None and renewal.state not in OPEN_STATES:
        return RENEWAL_ENDED
    return SUPERSEDED if _has_successor(session, row) else None


def _has_successor(session: Session, row: OutboxMessage) -> bool:
    groups = (URGES_CUSTOMER, _URGES_OPS, _ABOUT_SIGNER)
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
        OutboxMessage.channel == row.channel,
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
