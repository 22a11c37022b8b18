"""Carries out what the planner says people are to be told; the rest is the worker's."""

from __future__ import annotations

from datetime import datetime

from sqlmodel import Session, col, select

from lifecycle.vendor import audit, store
from lifecycle.vendor.facts import Policy, RenewalState
from lifecycle.vendor.models import Certificate, Customer, Renewal
from lifecycle.vendor.notices import About, Notices
from lifecycle.vendor.plan import Action, Deliver, Remind
from lifecycle.vendor.restores import may_have_been_delivered

TELLS = frozenset[type[Action]]({Deliver, Remind})
"""The actions that end in a message."""


def tell(
    session: Session,
    notices: Notices,
    record: store.CustomerRecord,
    action: Deliver | Remind,
    now: datetime,
    *,
    policy: Policy,
    actor: str,
) -> None:
    """Writes the message into the outbox, in the transaction of the decision.

    Args:
        record: the customer as the action was planned from; with a renewal for ``Deliver``.
        now: aware UTC.
        policy: the vendor's choices.
        actor: who, for the audit log.
    """
    customer, renewal = record.customer, record.renewal
    about = About(customer, record.active, renewal)
    if isinstance(action, Remind):
        if action.customer_can_act:
            notices.reminder(session, about, action.rung, now)
        else:
            notices.ops_reminder(session, about, action.rung, now)
        return
    if renewal is None:
        raise ValueError("there is no renewal whose request could be handed over")
    again = (
        renewal.delivered_at is not None
        or _had_one_in_vain(session, customer, record.active)
        or may_have_been_delivered(session, customer, record.active, renewal, policy)
    )
    renewal.state = RenewalState.DELIVERED
    renewal.delivered_at = renewal.delivered_at or now
    session.add(renewal)
    notices.delivery(session, about, action.rung, now, again=again)
    audit.append(
        session,
        at=now,
        actor=actor,
        action="request_delivered",
        subject=customer.slug,
        detail={"renewal": renewal.id},
    )


def _had_one_in_vain(session: Session, customer: Customer, active: Certificate | None) -> bool:
    """Whether a request of a renewal that was cancelled may still lie in somebody's mailbox."""
    cancelled = select(Renewal.id).where(
        Renewal.customer_id == customer.id,
        Renewal.state == RenewalState.CANCELLED,
        col(Renewal.delivered_at).is_not(None),
    )
    if active is not None:
        cancelled = cancelled.where(Renewal.opened_at > active.recorded_at)
    return session.exec(cancelled.limit(1)).first() is not None
