"""Where customers stand, as SQL: the planner's and the report's rules for thousands at once.

``plan.status`` and ``report.decide_next_step`` decide; this says the same to the database, so
that a page of a list can be found without loading everybody. A test holds the two together.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast

from sqlalchemy import (
    ARRAY,
    ColumnElement,
    Integer,
    Select,
    and_,
    any_,
    case,
    exists,
    func,
    literal,
    or_,
    select,
)
from sqlalchemy.orm import aliased
from sqlmodel import Session, col

from lifecycle.vendor import store
from lifecycle.vendor.access_models import InstanceCredential
from lifecycle.vendor.facts import (
    OPEN_STATES,
    CustomerKind,
    Policy,
    RenewalState,
    Status,
    Verdict,
)
from lifecycle.vendor.models import Certificate, Customer, IsolationCheck, Renewal
from lifecycle.vendor.plan import opens_at
from lifecycle.vendor.report import BY_VENDOR, URGENCY, Acts


@dataclass(frozen=True, slots=True)
class Standing:
    """Expressions over ``joined``: a row for each customer.

    Attributes:
        joined: the customers in care, beside their active certificate and open renewal.
        active, renewal: those.
        status, acts: as ``plan.status`` and ``report.decide_next_step`` say.
        verdict: of the last isolation check of the active certificate, or NULL.
        held: the open renewal cannot go on, and somebody must act.
        to_be_proven: isolation should have been proven and never was.
        silent: there is an instance over the network, and it has not asked for
            ``Policy.instance_silent``.
        without_instance: there is none over the network.
    """

    active: Any
    renewal: Any
    status: ColumnElement[str]
    acts: ColumnElement[str]
    verdict: ColumnElement[Any]
    held: ColumnElement[bool]
    to_be_proven: ColumnElement[bool]
    silent: ColumnElement[bool]
    without_instance: ColumnElement[bool]

    def select(self, *what: Any) -> Select[Any]:
        """A query for ``what`` of every customer in care."""
        customer, renewal = col(Customer.id), self.renewal
        return (
            select(*what)
            .select_from(Customer)
            .outerjoin(
                self.active,
                and_(self.active.customer_id == customer, self.active.state == store.ACTIVE),
            )
            .outerjoin(
                renewal,
                and_(renewal.customer_id == customer, renewal.state.in_(sorted(OPEN_STATES))),
            )
            .where(col(Customer.offboarded_at).is_(None))
        )

    @property
    def urgency(self) -> tuple[Any, ...]:
        """What to order by, most urgent first."""
        rank = case({str(name): number for number, name in enumerate(URGENCY)}, value=self.status)
        breached = case((self.verdict == Verdict.BREACHED, 0), else_=1)
        return (breached, rank, *self.expiry)

    @property
    def expiry(self) -> tuple[Any, ...]:
        """What to order by, first end first; those without a certificate come last."""
        return (self.active.not_after.is_(None), self.active.not_after, col(Customer.slug))


def standing(session: Session, policy: Policy, now: datetime) -> Standing:
    """The expressions for ``now`` (aware UTC)."""
    active: Any = aliased(Certificate)
    renewal: Any = aliased(Renewal)
    paused = and_(
        col(Customer.paused_at).is_not(None),
        or_(col(Customer.paused_until).is_(None), col(Customer.paused_until) > now),
    )
    status = _status(session, active, paused, policy, now)
    acts = _acts(active, renewal, paused, status)
    verdict = _verdict(active)
    checkable = and_(
        col(Customer.kind) != CustomerKind.CANARY,
        status.in_([Status.OK, Status.DUE, Status.URGENT]),
    )
    enrolled, lately = _enrolled(), now - policy.instance_silent
    heard = or_(
        col(InstanceCredential.seen_at) > lately, col(InstanceCredential.created_at) > lately
    )
    return Standing(
        active=active,
        renewal=renewal,
        status=status,
        acts=acts,
        verdict=verdict,
        held=and_(renewal.blocked_code.is_not(None), ~paused),
        to_be_proven=and_(checkable, verdict.is_(None)),
        silent=and_(enrolled, ~_enrolled(heard)),
        without_instance=~enrolled,
    )


def _status(
    session: Session, active: Any, paused: ColumnElement[bool], policy: Policy, now: datetime
) -> ColumnElement[str]:
    opened = _opened_within_spread(session, policy, now)
    return case(
        (paused, literal(str(Status.PAUSED))),
        (active.id.is_(None), literal(str(Status.NO_CERTIFICATE))),
        (active.revoked_at <= now, literal(str(Status.REVOKED))),
        (active.not_after <= now, literal(str(Status.EXPIRED))),
        (active.not_after <= now + policy.urgent, literal(str(Status.URGENT))),
        (active.not_after <= now + policy.window - policy.spread, literal(str(Status.DUE))),
        (_is_one_of(session, active.id, opened), literal(str(Status.DUE))),
        else_=literal(str(Status.OK)),
    )


def _opened_within_spread(session: Session, policy: Policy, now: datetime) -> list[int]:
    """Certificates whose renewal has opened in the days over which openings are spread.

    The customer's share of the spread is a hash of the slug, which no database computes; it
    matters for the certificates that end within those days alone.
    """
    last = now + policy.window
    found = session.execute(
        select(col(Certificate.id), col(Certificate.not_after), col(Customer.slug))
        .join(Customer, col(Customer.id) == col(Certificate.customer_id))
        .where(
            col(Certificate.state) == store.ACTIVE,
            col(Certificate.not_after) > last - policy.spread,
            col(Certificate.not_after) <= last,
        )
    )
    return [row.id for row in found if opens_at(row, row.slug, policy) <= now]


def _is_one_of(session: Session, column: Any, ids: list[int]) -> ColumnElement[bool]:
    """``column IN ids`` for as many as there are: as one parameter, not as one for each."""
    if session.get_bind().dialect.name == "sqlite":
        each = func.json_each(json.dumps(ids)).table_valued("value")
        return cast(ColumnElement[bool], column.in_(select(each.c.value)))
    return cast(ColumnElement[bool], column == any_(literal(ids, ARRAY(Integer))))


def _acts(
    active: Any, renewal: Any, paused: ColumnElement[bool], status: ColumnElement[str]
) -> ColumnElement[str]:
    received = exists().where(
        col(Certificate.renewal_id) == renewal.id, col(Certificate.state) == store.RECEIVED
    )
    by_vendor = or_(*(renewal.blocked_code.startswith(code, autoescape=True) for code in BY_VENDOR))
    vendor, instance = literal(str(Acts.VENDOR)), literal(str(Acts.INSTANCE))
    customer, nobody = literal(str(Acts.CUSTOMER)), literal(str(Acts.NOBODY))
    opens_next = or_(active.id.is_(None), status != Status.OK)
    return case(
        (paused, nobody),
        (and_(renewal.id.is_(None), opens_next), vendor),
        (renewal.id.is_(None), nobody),
        (and_(renewal.blocked_code.is_not(None), by_vendor), vendor),
        (renewal.blocked_code.is_not(None), instance),
        (received, instance),
        (renewal.state == RenewalState.REQUESTED, instance),
        (renewal.state.in_([RenewalState.CSR_RECEIVED, RenewalState.SIGNED]), vendor),
        else_=customer,
    )


def _verdict(active: Any) -> ColumnElement[Any]:
    check = aliased(IsolationCheck)
    newest = (
        select(col(check.id))
        .where(col(check.customer_id) == col(Customer.id), col(check.verdict).is_not(None))
        .order_by(col(check.concluded_at).desc(), col(check.id).desc())
        .limit(1)
        .correlate(Customer)
        .scalar_subquery()
    )
    # What was said about a superseded certificate says nothing about this one.
    return (
        select(col(IsolationCheck.verdict))
        .where(
            col(IsolationCheck.id) == newest,
            col(IsolationCheck.certificate_id) == active.id,
        )
        .correlate(Customer, active)
        .scalar_subquery()
    )


def _enrolled(*further: ColumnElement[bool]) -> ColumnElement[bool]:
    return exists().where(
        col(InstanceCredential.customer_id) == Customer.id,
        col(InstanceCredential.revoked_at).is_(None),
        *further,
    )


def status_counts(session: Session, at: Standing) -> dict[str, int]:
    """How many customers in care have each status, most urgent first; none has no entry."""
    counts = tally(session, at, at.status)
    return {str(name): counts[name] for name in URGENCY if name in counts}


def tally(
    session: Session, at: Standing, by: ColumnElement[Any], *conditions: ColumnElement[bool]
) -> dict[Any, int]:
    """How many customers in care there are by the value of an expression."""
    found = session.execute(at.select(by, func.count()).where(*conditions).group_by(by))
    return {value: number for value, number in found}  # noqa: C416 - a result has keys of its own


def counts_of(
    session: Session, at: Standing, conditions: Mapping[str, ColumnElement[bool]]
) -> dict[str, int]:
    """How many customers in care fit each condition; they are looked through once."""
    counted = (func.count().filter(condition) for condition in conditions.values())
    return dict(zip(conditions, session.execute(at.select(*counted)).one(), strict=True))
