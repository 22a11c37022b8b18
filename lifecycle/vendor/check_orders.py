"""Orders isolation checks: at most one is outstanding for each customer."""

from __future__ import annotations

from datetime import datetime

from sqlmodel import Session

from lifecycle.vendor import store
from lifecycle.vendor.models import Customer, IsolationCheck


def order_isolation_check(
    session: Session, customer: Customer, *, at: datetime
) -> IsolationCheck | None:
    """Orders a check of the active certificate; gives the outstanding one if there is one.

    None when the customer has no active certificate to check.
    """
    ordered = store.ordered_check(session, customer)
    active = store.active_certificate(session, customer)
    if ordered is not None and active is not None and ordered.certificate_id == active.id:
        return ordered
    if ordered is not None:
        # The certificate it was ordered for has been superseded: its evidence means nothing.
        session.delete(ordered)
        session.flush()
    if active is None:
        return None
    check = IsolationCheck(
        customer_id=store.key_of(customer),
        certificate_id=store.key_of(active),
        ordered_at=at,
    )
    session.add(check)
    customer.next_action_at = at
    session.add(customer)
    session.flush()
    return check
