"""Messages that did not get through: why a row of the outbox ended without being sent, who has
not heard for that reason, and what a corrected address sets going again.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement
from sqlalchemy.orm import aliased
from sqlmodel import Session, col, func, or_, select

from lifecycle.vendor.facts import OPEN_STATES
from lifecycle.vendor.kinds import MAIL, TO_CUSTOMERS, URGES_CUSTOMER
from lifecycle.vendor.models import Customer, OutboxMessage, Renewal

RENEWAL_ENDED = "renewal ended"
CUSTOMER_PAUSED = "customer paused"
CUSTOMER_GONE = "customer off-boarded"
SUPERSEDED = "a later message takes its place"
IN_DIGEST = "told in the digest"
NOTHING_TO_TELL = "nothing to tell"
CHANNEL_GONE = "the channel is no longer configured"
TAKEN_AS_SENT = "taken as sent when a backup was restored"
WITHDRAWALS = frozenset(
    {
        RENEWAL_ENDED,
        CUSTOMER_PAUSED,
        CUSTOMER_GONE,
        SUPERSEDED,
        IN_DIGEST,
        NOTHING_TO_TELL,
        CHANNEL_GONE,
        TAKEN_AS_SENT,
    }
)
"""Why a row was given up although nothing failed; what ``last_error`` says then."""

OVERDUE = timedelta(hours=1)
"""What has waited for longer than this waits for something that is out of order."""
WORTH_SENDING = timedelta(days=30)
"""A message that is older than this is of no use to an address that was corrected today."""


def failing(session: Session) -> Sequence[OutboxMessage]:
    """Rows that somebody should look into, oldest first.

    Those that failed and are tried again, and those given up after a failure, as long as no
    later message has reached the same people and it still matters to them.
    """
    rows = session.exec(
        select(OutboxMessage)
        .where(col(OutboxMessage.sent_at).is_(None), OutboxMessage.attempts > 0, _not_withdrawn())
        .order_by(col(OutboxMessage.id))
    ).all()
    return [
        row
        for row in rows
        if row.given_up_at is None or not (_past(session, row) or _reached_since(session, row))
    ]


def count_undelivered(session: Session, now: datetime) -> int:
    """How many messages failed, or have waited for more than an hour, and are not sent.

    Where the mail server is down one message is tried and the others wait behind it.
    """
    waiting = session.exec(
        select(func.count())
        .select_from(OutboxMessage)
        .where(
            col(OutboxMessage.next_attempt_at) <= now - OVERDUE,
            OutboxMessage.attempts == 0,
            col(OutboxMessage.sent_at).is_(None),
        )
    ).one()
    return len(failing(session)) + waiting


def not_received(session: Session, among: Collection[int] | None = None) -> dict[int, str]:
    """Customers whose last request or reminder was given up, and why, by the customer's key.

    Only while the renewal is open: they have to act, and do not know it.

    Args:
        among: asks about these customers alone, by their keys; None: about everybody.
    """
    later = aliased(OutboxMessage)
    heard_since = (
        select(later.id)
        .where(
            later.renewal_id == OutboxMessage.renewal_id,
            col(later.id) > OutboxMessage.id,
            col(later.kind).in_(URGES_CUSTOMER),
        )
        .exists()
    )
    given_up = (
        select(OutboxMessage.customer_id, OutboxMessage.last_error)
        .join(Renewal)
        .where(
            col(OutboxMessage.given_up_at).is_not(None),
            _not_withdrawn(),
            col(OutboxMessage.kind).in_(URGES_CUSTOMER),
            col(Renewal.state).in_(OPEN_STATES),
            ~heard_since,
        )
    )
    if among is not None:
        given_up = given_up.where(col(OutboxMessage.customer_id).in_(among))
    rows = session.exec(given_up)
    return {key: why or "" for key, why in rows if key is not None}


def readdress(session: Session, customer_id: int, addresses: Sequence[str], now: datetime) -> int:
    """Sends what has not got through to a customer to its addresses of now; gives how many.

    What waits goes there, and what was given up of late is tried once more. The outbox
    withdraws what a later message repeats, or what is out of date by now.
    """
    rows = session.exec(
        select(OutboxMessage).where(
            OutboxMessage.customer_id == customer_id,
            OutboxMessage.channel == MAIL,
            col(OutboxMessage.kind).in_(TO_CUSTOMERS),
            col(OutboxMessage.sent_at).is_(None),
            col(OutboxMessage.created_at) > now - WORTH_SENDING,
            _not_withdrawn(),
        )
    ).all()
    for row in rows:
        row.recipients = list(addresses)
        row.copies = [copy for copy in row.copies if copy not in addresses]
        if row.given_up_at is not None or row.attempts:
            row.given_up_at = row.last_error = None
            row.attempts, row.next_attempt_at = 0, now
        session.add(row)
    return len(rows)


def _not_withdrawn() -> ColumnElement[bool]:
    return or_(
        col(OutboxMessage.last_error).is_(None), col(OutboxMessage.last_error).not_in(WITHDRAWALS)
    )


def _past(session: Session, row: OutboxMessage) -> bool:
    """Whether nobody needs the message any more."""
    if row.customer_id is not None:
        customer = session.get_one(Customer, row.customer_id)
        if customer.offboarded_at is not None:
            return True
    if row.kind not in URGES_CUSTOMER or row.renewal_id is None:
        return False
    return session.get_one(Renewal, row.renewal_id).state not in OPEN_STATES


def _reached_since(session: Session, row: OutboxMessage) -> bool:
    """Whether a later message got through to the same people, whatever their addresses are."""
    later = select(OutboxMessage.id).where(
        col(OutboxMessage.id) > row.id,
        col(OutboxMessage.sent_at).is_not(None),
        OutboxMessage.channel == row.channel,
    )
    if row.kind in TO_CUSTOMERS:
        later = later.where(
            col(OutboxMessage.kind).in_(TO_CUSTOMERS),
            OutboxMessage.customer_id == row.customer_id,
        )
    else:
        later = later.where(col(OutboxMessage.kind).not_in(TO_CUSTOMERS))
    return session.exec(later.limit(1)).first() is not None
