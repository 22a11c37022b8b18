"""Sends what waits in the outbox: in order, with backoff, and never what is out of date.

Most rows are mail; what concerns vendor ops goes to their chat channels as well, in rows of
its own, so that a chat that is down keeps no mail waiting.

A row is taken in one transaction, sent outside of any, and marked in the next. Two processes
never send one row: on PostgreSQL it is leased by whoever sends it (``leases``), on SQLite the
caller keeps other senders out. A process that dies between sending and marking leaves a row of
which nobody can know whether it went out; it is sent once more, with the same ``Message-ID``. A
database that is lost at that moment does no such harm: it is marked when the database is back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum, auto
from typing import Protocol

from sqlalchemy import Select, tuple_
from sqlalchemy import select as sql_select
from sqlmodel import Session, col, delete, select, update

from lifecycle.boundary import Unobserved, Watch, WriteObserver, ignore
from lifecycle.errors import Refused, Unavailable
from lifecycle.language.portal import request_filename
from lifecycle.vendor.database import Database
from lifecycle.vendor.facts import OPEN_STATES
from lifecycle.vendor.kinds import MAIL, TO_CUSTOMERS, URGES_CUSTOMER, Kind
from lifecycle.vendor.leases import (
    MESSAGE_LEASE,
    is_over,
    new_holder,
    release_message,
    take_message,
)
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
from lifecycle.vendor.signed_requests import request_of
from lifecycle.vendor.undelivered import (
    CHANNEL_GONE,
    CUSTOMER_GONE,
    CUSTOMER_PAUSED,
    RENEWAL_ENDED,
    SUPERSEDED,
)

HandOver = Callable[[], tuple[RefusedAddress, ...]]
"""Hands a message over; gives the addresses that were passed over."""

FIRST_RETRY = timedelta(minutes=5)
LONGEST_RETRY = timedelta(hours=6)
GIVE_UP_AFTER = timedelta(days=30)
"""Counted from the decision. Far longer than mail servers try (RFC 5321, 4.5.4.1), because
here a message that is out of date is withdrawn, and one that is not is better late than never:
a mail server that is down for a week must not cost anybody the reminder of that week."""

PAGE = 500
"""Rows that are looked up at a time."""
MARKING_ATTEMPTS = 200
"""Tries to mark what was sent or failed; with the waits between, as long as the lease."""

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
    database: Database,
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
    lease: timedelta = MESSAGE_LEASE,
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
        database: the vendor's. On SQLite the caller sees to it that nobody else sends.
        transport: takes the mail; None: it goes on waiting.
        now: aware UTC; the whole run counts as this instant.
        sender, vendor: address and name that the messages come from.
        reply_to: where answers go; None: to the sender.
        chats: vendor ops' chat channels, by name.
        quiet: when customers are to be left alone.
        observer: told just before and just after a message is handed over.
        watch: told how far it is.
        stop: asked between rows; True ends the run.
        lease: how long a message in hand is nobody else's (PostgreSQL).

    Raises:
        Unavailable: the database cannot be used.
    """
    summary = DeliverySummary()
    run = _Run(
        database,
        transport,
        now,
        sender,
        vendor,
        reply_to,
        chats or {},
        quiet,
        observer or Unobserved(),
        summary,
        lease,
        None if database.has_one_writer else new_holder(),
    )
    after: tuple[datetime, int] | None = None
    done = 0
    while page := run.page(after):
        for _, row_id in sorted(page, key=lambda row: row[1]):
            if stop():
                return summary
            run.send(row_id)
            done += 1
            watch(done, "Sending messages")
        after = page[-1]
    return summary


def due_statement(
    now: datetime, after: tuple[datetime, int] | None = None, limit: int = PAGE
) -> Select[datetime | None, int | None]:
    """The due query, a page of it; a test asserts that it runs on its index.

    Args:
        after: time and id of the last row of the page before.
    """
    due_at, row_id = col(OutboxMessage.next_attempt_at), col(OutboxMessage.id)
    statement = sql_select(due_at, row_id).where(due_at <= now)
    if after is not None:
        statement = statement.where(tuple_(due_at, row_id) > after)
    return statement.order_by(due_at, row_id).limit(limit)


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


class _Left(Enum):
    """Why a row that was due is not handed over now."""

    ALONE = auto()
    """It is another sender's, was seen to, or waits for the mail server."""
    WITHDRAWN = auto()
    HELD = auto()


@dataclass(frozen=True, slots=True)
class _Run:
    """One delivery run."""

    database: Database
    transport: MailTransport | None
    now: datetime
    sender: str
    vendor: str
    reply_to: str | None
    chats: Mapping[str, ChatTransport]
    quiet: QuietHours | None
    observer: WriteObserver
    summary: DeliverySummary
    lease: timedelta
    holder: str | None
    """In whose name rows are leased; None: nobody else sends."""

    def page(self, after: tuple[datetime, int] | None) -> list[tuple[datetime, int]]:
        """When and which: the next rows that are due and nobody else's."""
        statement = due_statement(self.now, after)
        if self.holder is not None:
            free = is_over(col(OutboxMessage.leased_until), self.lease)
            statement = statement.where(free)
        with self.database.reading() as session:
            return [
                (due_at, row_id)
                for due_at, row_id in session.execute(statement)
                if due_at is not None and row_id is not None
            ]

    def send(self, row_id: int) -> None:
        """Sends one row, or sees to it that it is not sent."""
        try:
            taken = self.database.carry_out(lambda session: self._prepare(session, row_id))
        except Refused as fault:
            self._failed(row_id, fault)
            return
        if isinstance(taken, _Left):
            self.summary.withdrawn += taken is _Left.WITHDRAWN
            self.summary.held += taken is _Left.HELD
            return
        try:
            self.observer.reached(f"{BOUNDARY}:before")
            refused = taken()
            self.observer.reached(f"{BOUNDARY}:after")
        except (Refused, Unavailable) as fault:
            self._failed(row_id, fault)
        else:
            self._sent(row_id, refused)

    def _prepare(self, session: Session, row_id: int) -> HandOver | _Left:
        """What hands the message over, or why it is not handed over now.

        Withdraws what is out of date, and puts off what must wait for the morning.

        Raises:
            Refused: no message can be made of the row.
        """
        chosen = select(OutboxMessage).where(OutboxMessage.id == row_id)
        row = session.exec(chosen.with_for_update(skip_locked=True, key_share=True)).first()
        if row is None or row.next_attempt_at is None or row.next_attempt_at > self.now:
            return _Left.ALONE  # another process sees to it, or has
        if self.holder is not None and not take_message(session, row, self.holder, self.lease):
            return _Left.ALONE
        hand_over = self._decide(session, row)
        if isinstance(hand_over, _Left):
            release_message(row)
            session.add(row)
        return hand_over

    def _decide(self, session: Session, row: OutboxMessage) -> HandOver | _Left:
        renewal = None if row.renewal_id is None else session.get_one(Renewal, row.renewal_id)
        customer = None if row.customer_id is None else session.get_one(Customer, row.customer_id)
        why = out_of_date(session, row)
        if why == CUSTOMER_PAUSED:
            return self._put_by(session, row)
        if why is not None:
            return self._withdraw(session, row, why)
        until = quiet_until(session, row, self.quiet, self.now)
        if until is not None:
            row.next_attempt_at = until
            session.add(row)
            return _Left.HELD
        hand_over = (
            self._to_addresses(session, row, customer, renewal)
            if row.channel == MAIL
            else self._to_chat(session, row)
        )
        if self.holder is None and not isinstance(hand_over, _Left):
            # Where nothing can be written nothing may be sent: it could not be marked, and would
            # be sent again at every look. So the row is written first, as a lease is, and stays
            # as due as it was.
            row.next_attempt_at = self.now - _A_MOMENT
            session.add(row)
        return hand_over

    def _to_chat(self, session: Session, row: OutboxMessage) -> HandOver | _Left:
        chat = self.chats.get(row.channel)
        if chat is None:
            return self._withdraw(session, row, CHANNEL_GONE)
        subject, body = row.subject, row.body

        def hand_over() -> tuple[RefusedAddress, ...]:
            chat.send(subject, body)
            return ()

        return hand_over

    def _to_addresses(
        self,
        session: Session,
        row: OutboxMessage,
        customer: Customer | None,
        renewal: Renewal | None,
    ) -> HandOver | _Left:
        transport = self.transport
        if transport is None or self.summary.stopped is not None:
            return _Left.ALONE
        attachment = None
        if row.attach_request and customer is not None and renewal is not None:
            request = request_of(session, renewal)
            if request is not None:
                attachment = Attachment(request_filename(customer.slug), request)
        message = compose(
            row, attachment, sender=self.sender, vendor=self.vendor, reply_to=self.reply_to
        )
        return lambda: transport.send(message)

    def _put_by(self, session: Session, row: OutboxMessage) -> _Left:
        """Nothing goes to a paused customer; what was owed is owed again after the pause.

        A request waits for ``resume``. A rung is freed, to be decided on anew by then, with a
        text that fits the day.
        """
        if row.kind == Kind.DELIVERY:
            row.next_attempt_at, row.last_error = None, CUSTOMER_PAUSED
            session.add(row)
            return _Left.HELD
        row.dedupe_key = f"{row.dedupe_key}#{row.id}"
        row.ladder = row.rung = None
        return self._withdraw(session, row, CUSTOMER_PAUSED)

    def _withdraw(self, session: Session, row: OutboxMessage, why: str) -> _Left:
        _give_up(row, why, self.now)
        session.add(row)
        return _Left.WITHDRAWN

    def _sent(self, row_id: int, refused: tuple[RefusedAddress, ...]) -> None:
        def mark(session: Session) -> None:
            row = self._in_hand(session, row_id)
            if row is None:
                return
            row.attempts += 1
            row.sent_at = self.now
            row.next_attempt_at = row.last_error = None
            session.add(row)
            if row.channel == MAIL:
                _flag(session, refused, self.now)
                bad = {one.address for one in refused}
                _unflag(session, {*row.recipients, *row.copies} - bad)

        self.database.carry_out(mark, attempts=MARKING_ATTEMPTS)
        self.summary.sent += 1
        self.summary.faults.extend(one.why for one in refused)

    def _failed(self, row_id: int, fault: Refused | Unavailable) -> None:
        def mark(session: Session) -> tuple[bool, str]:
            row = self._in_hand(session, row_id)
            if row is None:
                return False, str(fault)
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
            return given_up, f"'{row.subject}' to {', '.join(row.recipients)}: {fault}"

        given_up, line = self.database.carry_out(mark, attempts=MARKING_ATTEMPTS)
        self.summary.failed += 1
        self.summary.given_up += given_up
        self.summary.faults.append(line)
        if isinstance(fault, ServerDown):
            self.summary.stopped = str(fault)

    def _in_hand(self, session: Session, row_id: int) -> OutboxMessage | None:
        """The row, given free to be marked; None: it has been marked already, by a commit of
        which nobody knew whether it came through."""
        chosen = select(OutboxMessage).where(OutboxMessage.id == row_id)
        row = session.exec(chosen.with_for_update(key_share=True)).one()
        # Refused before it was leased: nobody has it in hand, and this run may mark it.
        if row.next_attempt_at is None or row.leased_to not in (None, self.holder):
            return None
        if row.next_attempt_at > self.now:
            return None
        release_message(row)
        return row


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
