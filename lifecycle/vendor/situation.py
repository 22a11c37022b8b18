"""One customer's rows in one query: what an instance asks for, over and over.

``store.load`` gathers the planner's facts as well; this is for reading what an answer shows.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

from sqlalchemy import Select, bindparam
from sqlalchemy.orm import aliased
from sqlmodel import Session, and_, col, select

from lifecycle.errors import Refused
from lifecycle.vendor import store
from lifecycle.vendor.facts import OPEN_STATES
from lifecycle.vendor.models import Certificate, Customer, IsolationCheck, Renewal


@dataclass(frozen=True, slots=True)
class Situation:
    """As in ``store.CustomerRecord``: checks are those of the active certificate only."""

    customer: Customer
    active: Certificate | None
    renewal: Renewal | None
    received: Certificate | None
    ordered: IsolationCheck | None
    latest: IsolationCheck | None


def situation(session: Session, slug: str) -> Situation:
    """The customer with this slug, and what is open and in force.

    Raises:
        Refused: ``customer_unknown``.
    """
    row = session.execute(_statement(), {"slug": slug}).first()
    if row is None:
        raise _unknown(session, slug)
    customer, active, renewal, received, ordered, latest = row
    if latest is not None and (active is None or latest.certificate_id != active.id):
        latest = None  # it says nothing about this certificate
    return Situation(customer, active, renewal, received, ordered, latest)


def _unknown(session: Session, slug: str) -> Refused:
    try:
        store.customer_by_slug(session, slug)
    except Refused as refused:
        return refused
    raise AssertionError("a customer that is there has a row")


@cache
def _statement() -> Select[Any]:
    """Built once: putting it together takes longer than asking it.

    No join can multiply rows: the partial unique indexes allow one of each.
    """
    active, received = aliased(Certificate), aliased(Certificate)
    ordered, latest, check = (aliased(IsolationCheck) for _ in range(3))
    newest = (
        select(check.id)
        .where(check.customer_id == Customer.id, col(check.verdict).is_not(None))
        .order_by(col(check.concluded_at).desc(), col(check.id).desc())
        .limit(1)
        .correlate(Customer)
        .scalar_subquery()
    )
    found: Select[Any] = (
        select(Customer)
        .add_columns(active, Renewal, received, ordered, latest)
        .outerjoin(
            active, and_(col(active.customer_id) == Customer.id, active.state == store.ACTIVE)
        )
        .outerjoin(
            Renewal,
            and_(
                col(Renewal.customer_id) == Customer.id, col(Renewal.state).in_(sorted(OPEN_STATES))
            ),
        )
        .outerjoin(
            received,
            and_(col(received.renewal_id) == Renewal.id, received.state == store.RECEIVED),
        )
        .outerjoin(
            ordered,
            and_(
                col(ordered.customer_id) == Customer.id,
                col(ordered.verdict).is_(None),
                col(ordered.certificate_id) == active.id,
            ),
        )
        .outerjoin(latest, col(latest.id) == newest)
        .where(col(Customer.slug) == bindparam("slug"))
    )
    return found
