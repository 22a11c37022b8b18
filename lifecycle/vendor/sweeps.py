"""Isolation runs: which customers a run owes a check, and what came of it.

A run checks each customer once: a check carries the run's id, and the database holds that there
is one for each pair. So a run that was killed is taken up where it stood, by anybody.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, delete, insert, update
from sqlmodel import Session, and_, col, exists, func, select

from lifecycle.clock import require_utc
from lifecycle.errors import refuse
from lifecycle.vendor import audit, store
from lifecycle.vendor.facts import CustomerKind, Verdict
from lifecycle.vendor.models import Certificate, Customer, IsolationCheck, IsolationRun


@dataclass(frozen=True, slots=True)
class Job:
    """One check to be made: its id, and whose instance makes it."""

    check_id: int
    customer_id: int
    slug: str


def begin(session: Session, *, at: datetime, actor: str, since: datetime | None) -> IsolationRun:
    """Begins a run.

    Args:
        since: leave out customers whose last verdict is as new as this.
    """
    run = IsolationRun(
        id=f"{require_utc(at):%Y%m%dT%H%M%SZ}-{secrets.token_hex(4)}", started_at=at, since=since
    )
    session.add(run)
    session.flush()
    _audit(session, run, "isolation_run_begun", at, actor)
    return run


def unfinished(session: Session) -> IsolationRun:
    """The newest run that was not finished.

    Raises:
        Refused: ``no_unfinished_run``.
    """
    run = session.exec(
        select(IsolationRun)
        .where(col(IsolationRun.finished_at).is_(None))
        .order_by(col(IsolationRun.started_at).desc(), col(IsolationRun.id).desc())
    ).first()
    if run is None:
        raise refuse(
            "no_unfinished_run",
            "No isolation run is waiting to be taken up.",
            "Begin one with `pushcert verify --all`.",
        )
    return run


def newest(session: Session, limit: int) -> list[IsolationRun]:
    """Runs, the newest first."""
    found = session.exec(
        select(IsolationRun)
        .order_by(col(IsolationRun.started_at).desc(), col(IsolationRun.id).desc())
        .limit(limit)
    )
    return list(found)


def finish(session: Session, run_id: str, *, at: datetime, actor: str) -> None:
    """Every customer of the run has its verdict."""
    run = session.get_one(IsolationRun, run_id)
    run.finished_at = at
    session.add(run)
    _audit(session, run, "isolation_run_finished", at, actor)


def owed(session: Session, run: IsolationRun) -> int:
    """How many customers the run has yet to check."""
    statement = select(func.count()).select_from(Customer).join(Certificate, _is_active())
    return session.exec(statement.where(*_owes(run))).one()


def verdicts(session: Session, run_id: str) -> Mapping[Verdict, int]:
    """How many customers got each verdict in a run."""
    found = session.exec(
        select(IsolationCheck.verdict, func.count())
        .where(IsolationCheck.run_id == run_id, col(IsolationCheck.verdict).is_not(None))
        .group_by(col(IsolationCheck.verdict))
    )
    counts = {Verdict(verdict): count for verdict, count in found if verdict is not None}
    return {verdict: counts.get(verdict, 0) for verdict in Verdict}


def breached(session: Session, run_id: str, limit: int) -> list[tuple[str, str]]:
    """Slug and why, of at most ``limit`` customers that the run found breached."""
    found = session.exec(
        select(Customer.slug, IsolationCheck.why)
        .join(IsolationCheck)
        .where(IsolationCheck.run_id == run_id, IsolationCheck.verdict == Verdict.BREACHED)
        .order_by(Customer.slug)
        .limit(limit)
    )
    return [(slug, why or "") for slug, why in found]


def order(
    session: Session, run: IsolationRun, *, after: int, limit: int, at: datetime
) -> list[Job]:
    """Orders the run's next checks, in a number of statements that does not grow with them.

    Args:
        after: id of the customer after whom to go on; 0 at the beginning.
        limit: how many at most; fewer come at the end, and none when it is over.
    """
    due = session.exec(
        select(Customer.id, Customer.slug, Certificate.id)
        .join(Certificate, _is_active())
        .where(col(Customer.id) > after, *_owes(run))
        .order_by(col(Customer.id))
        .limit(limit)
        .with_for_update(of=Customer, key_share=True)  # a worker may order checks, too
    ).all()
    certificates = {customer: certificate for customer, _, certificate in due}
    ordered = _outstanding(session, certificates)
    if ordered:
        session.execute(
            update(IsolationCheck)
            .where(col(IsolationCheck.id).in_(list(ordered.values())))
            .values(run_id=run.id)
        )
    new: list[dict[str, object]] = [
        {
            "customer_id": customer,
            "certificate_id": certificate,
            "ordered_at": at,
            "run_id": run.id,
            "answers": [],
        }
        for customer, certificate in certificates.items()
        if customer not in ordered
    ]
    if new:
        made = session.execute(
            insert(IsolationCheck).returning(
                col(IsolationCheck.customer_id), col(IsolationCheck.id)
            ),
            new,
        )
        ordered.update({customer: check for customer, check in made if check is not None})
    return [Job(ordered[customer], customer, slug) for customer, slug, _ in due if customer]


def _outstanding(
    session: Session, certificates: Mapping[int | None, int | None]
) -> dict[int | None, int]:
    """Checks that are ordered already, by customer. Those of a certificate that has been
    superseded go: their evidence would mean nothing."""
    found = session.exec(
        select(IsolationCheck.id, IsolationCheck.customer_id, IsolationCheck.certificate_id).where(
            col(IsolationCheck.customer_id).in_(list(certificates)),
            col(IsolationCheck.verdict).is_(None),
        )
    ).all()
    stale = [check for check, customer, of in found if certificates[customer] != of]
    if stale:
        session.execute(delete(IsolationCheck).where(col(IsolationCheck.id).in_(stale)))
    return {
        customer: check
        for check, customer, of in found
        if check is not None and certificates[customer] == of
    }


def _is_active() -> ColumnElement[bool]:
    return and_(
        col(Certificate.customer_id) == col(Customer.id),
        col(Certificate.state) == store.ACTIVE,
    )


def _owes(run: IsolationRun) -> list[ColumnElement[bool]]:
    """Who is in care and not paused, is no canary tenant (it has no other to probe against),
    has its instance here, and has not been checked by this run, or since when the run counts
    from. Instances on machines of their own are asked for their checks one by one."""
    of_customer = col(IsolationCheck.customer_id) == col(Customer.id)
    judged = col(IsolationCheck.verdict).is_not(None)
    conditions = [
        col(Customer.paused_at).is_(None),
        col(Customer.offboarded_at).is_(None),
        col(Customer.kind) == CustomerKind.CUSTOMER,
        col(Customer.remote).is_(False),
        ~exists().where(of_customer, judged, col(IsolationCheck.run_id) == run.id),
    ]
    if run.since is not None:
        newer = col(IsolationCheck.concluded_at) >= run.since
        conditions.append(~exists().where(of_customer, judged, newer))
    return conditions


def _audit(session: Session, run: IsolationRun, action: str, at: datetime, actor: str) -> None:
    detail = {str(verdict): count for verdict, count in verdicts(session, run.id).items()}
    audit.append(session, at=at, actor=actor, action=action, subject=run.id, detail=detail)
