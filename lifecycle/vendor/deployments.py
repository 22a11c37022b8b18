"""What instances report of their deploy targets, and whose turn it is to look at one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from sqlmodel import Session, col, or_, select
from sqlmodel.sql.expression import SelectOfScalar

from lifecycle.vendor import audit
from lifecycle.vendor.models import Certificate, Customer, Deployment
from lifecycle.vendor.store import ACTIVE, key_of

if TYPE_CHECKING:
    from lifecycle.wire import messages  # the report starts without them

LONGEST_RECHECK = timedelta(days=366)
"""No instance looks at a target more rarely, unless it never does."""


def record(
    session: Session, customer: Customer, report: messages.Deployment, now: datetime
) -> None:
    """Keeps what an instance reports; only what changed goes to the audit log.

    When it happened is told by the vendor's clock: an instance's may be wrong by years.
    """
    key = key_of(customer)
    row = session.get(Deployment, (key, report.target))
    if report.removed:
        if row is not None:
            session.delete(row)
            _audit(session, customer, "deploy_target_removed", report, now)
        return
    before = None if row is None else (row.code, row.fingerprint)
    if row is None:
        row = Deployment(
            customer_id=key,
            target=report.target,
            kind=report.target_kind,
            fingerprint=report.fingerprint,
        )
    if report.code is None:
        row.since = None
    elif row.code != report.code:
        row.since = now
    row.kind, row.fingerprint = report.target_kind, report.fingerprint
    row.code, row.message = report.code, report.message
    row.at, row.next_at = now, _soon(report.again_at, now)
    session.add(row)
    if before != (report.code, report.fingerprint):
        done = "certificate_deployed" if report.code is None else "deployment_failed"
        _audit(session, customer, done, report, now)


def _soon(at: datetime | None, now: datetime) -> datetime | None:
    return at if at is not None and abs(at - now) <= LONGEST_RECHECK else None


def of_customers(
    session: Session, customers: Sequence[Customer]
) -> dict[int, tuple[Deployment, ...]]:
    """The targets of each, by name, by the customer's key; without those that have none."""
    ids = [key_of(customer) for customer in customers]
    found: dict[int, tuple[Deployment, ...]] = {}
    for row in session.exec(
        select(Deployment)
        .where(col(Deployment.customer_id).in_(ids))
        .order_by(col(Deployment.target))
    ):
        found[row.customer_id] = (*found.get(row.customer_id, ()), row)
    return found


def due(session: Session, targets: Mapping[str, str | None], now: datetime) -> list[str]:
    """Slugs of the customers in care whose instances have a target to look at.

    Args:
        targets: those that are configured: the slug of the one customer a target is for, or
            None where it is for all.
        now: aware UTC.
    """
    slugs = set(
        session.exec(
            _in_care()
            .join(Deployment, col(Deployment.customer_id) == Customer.id)
            .where(
                or_(
                    col(Deployment.next_at) <= now,
                    col(Deployment.target).not_in(list(targets)),
                )
            )
        )
    )
    for name, slug in targets.items():
        slugs.update(_never_looked_at(session, name, slug))
    return sorted(slugs)


def _never_looked_at(session: Session, target: str, slug: str | None) -> Iterable[str]:
    has_it = select(Deployment.customer_id).where(
        Deployment.customer_id == Customer.id,
        Deployment.target == target,
        # A failed attempt for an older certificate has a turn of its own.
        or_(Deployment.fingerprint == Certificate.fingerprint, col(Deployment.code).is_not(None)),
    )
    statement = (
        _in_care()
        .join(Certificate, col(Certificate.customer_id) == Customer.id)
        .where(Certificate.state == ACTIVE, ~has_it.exists())
    )
    if slug is not None:
        statement = statement.where(Customer.slug == slug)
    return session.exec(statement)


def _in_care() -> SelectOfScalar[str]:
    # An instance on a machine of its own looks after its targets by itself.
    return select(Customer.slug).where(
        col(Customer.offboarded_at).is_(None),
        col(Customer.paused_at).is_(None),
        col(Customer.remote).is_(False),
    )


def _audit(
    session: Session,
    customer: Customer,
    action: str,
    report: messages.Deployment,
    now: datetime,
) -> None:
    audit.append(
        session,
        at=now,
        actor=f"instance:{customer.slug}",
        action=action,
        subject=customer.slug,
        detail={
            "target": report.target,
            "kind": report.target_kind,
            "fingerprint": report.fingerprint,
            "code": report.code,
        },
    )
