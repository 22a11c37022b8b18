"""A reminder because a person wants one now, whatever the ladder says."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlmodel import Session, col, select

from lifecycle.errors import Refused, refuse
from lifecycle.vendor import audit, store
from lifecycle.vendor.facts import RenewalState
from lifecycle.vendor.kinds import Kind
from lifecycle.vendor.models import Customer, OutboxMessage
from lifecycle.vendor.notices import About, Notices
from lifecycle.vendor.store import CustomerRecord

NOT_WITHIN = timedelta(hours=4)
"""After a reminder by hand no other is sent for this long."""
_BY_HAND = "reminder-now:"


@dataclass(frozen=True, slots=True)
class Reminded:
    """What came of it.

    Attributes:
        to: who gets the message.
        at: when it was written; earlier than asked for where ``again`` is False.
        again: it was written now, and not by somebody a short while ago.
        message_id: of the row in the outbox.
    """

    to: tuple[str, ...]
    at: datetime
    again: bool
    message_id: int


def remind_now(
    session: Session, customer: Customer, notices: Notices, *, at: datetime, actor: str
) -> Reminded:
    """Writes the message of the open renewal once more, unless that was done a while ago.

    The ladder goes on as if nothing had been sent.

    Raises:
        Refused: ``nothing_to_remind_of``, ``customer_not_in_care``: there is nothing that the
            customer could do now.
    """
    record = store.load(session, customer)
    refused = obstacle(record)
    if refused is not None:
        raise refused
    last = last_by_hand(session, record, at)
    if last is not None:
        return _reminded(last, again=False)
    about = About(customer, record.active, record.renewal)
    row = notices.reminder_now(session, about, at)
    audit.append(
        session,
        at=at,
        actor=actor,
        action="reminded_by_hand",
        subject=customer.slug,
        detail={
            "renewal": None if record.renewal is None else record.renewal.id,
            "to": list(row.recipients),
        },
    )
    return _reminded(row, again=True)


def _reminded(row: OutboxMessage, *, again: bool) -> Reminded:
    if row.id is None:
        raise ValueError("the message has not been stored")
    return Reminded(tuple(row.recipients), row.created_at, again, row.id)


def obstacle(record: CustomerRecord) -> Refused | None:
    """Why no reminder can be sent now; None: one can."""
    customer, renewal = record.customer, record.renewal
    if customer.paused_at is not None or customer.offboarded_at is not None:
        state = "paused" if customer.offboarded_at is None else "off-boarded"
        return refuse(
            "customer_not_in_care",
            f"'{customer.slug}' is {state}, so nobody is reminded of anything.",
            f"Run `pushcert customer resume {customer.slug}` first."
            if state == "paused"
            else "Add the customer again under a new slug.",
        )
    if renewal is None:
        return refuse(
            "nothing_to_remind_of",
            f"No renewal of '{customer.slug}' is open, so there is nothing to remind of.",
            f"Start one with `pushcert renew {customer.slug}`.",
        )
    if record.received is not None:
        return refuse(
            "nothing_to_remind_of",
            f"The certificate of '{customer.slug}' has come; the customer has done their part.",
            "Wait until the instance has activated it.",
        )
    if renewal.state != RenewalState.DELIVERED:
        return refuse(
            "nothing_to_remind_of",
            f"'{customer.slug}' has no request to take to the portal yet ({renewal.state}).",
            f"See `pushcert customer show {customer.slug}` for who must act.",
        )
    return None


def last_by_hand(session: Session, record: CustomerRecord, now: datetime) -> OutboxMessage | None:
    """The reminder by hand of the open renewal that is too new for another; or None."""
    renewal = record.renewal
    return session.exec(
        select(OutboxMessage)
        .where(
            OutboxMessage.customer_id == record.customer.id,
            OutboxMessage.kind == Kind.REMINDER,
            col(OutboxMessage.renewal_id) == (None if renewal is None else renewal.id),
            col(OutboxMessage.created_at) > now - NOT_WITHIN,
            col(OutboxMessage.dedupe_key).startswith(_BY_HAND),
        )
        .order_by(col(OutboxMessage.id).desc())
        .limit(1)
    ).first()
