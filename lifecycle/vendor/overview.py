"""What vendor ops look at first: counts, what is stuck, what ends when; read with few queries."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, time, timedelta
from typing import Any

from sqlalchemy import ColumnElement, and_, case, or_
from sqlmodel import Session, col

from lifecycle.clock import require_utc
from lifecycle.vendor import customer_search
from lifecycle.vendor.customer_standing import Standing, counts_of, standing, status_counts, tally
from lifecycle.vendor.facts import Policy, Status, Verdict
from lifecycle.vendor.models import Customer
from lifecycle.vendor.report import Acts, ReportRow, SignerRow
from lifecycle.vendor.report_weeks import EXPIRED, WEEKS, Chart, chart_of_counts
from lifecycle.vendor.reporting import signer_rows
from lifecycle.vendor.undelivered import failing

LISTED = 10
"""Of what is stuck, and of what is most urgent."""
_PRESSING = (Status.EXPIRED, Status.REVOKED, Status.URGENT)


@dataclass(frozen=True, slots=True)
class Overview:
    """How the vendor's customers stand at ``at``.

    Attributes:
        counts: customers by status, most urgent first.
        chart: how many certificates end in which week.
        held: the renewals that are stuck for the longest time; ``held_total``: of how many.
        pressing: the most urgent of the others; ``pressing_total``: of how many.
        waiting: for how many customers each has to act, whether or not it is stuck.
        breached, unproven: customers whose isolation is breached, was never proven.
        silent: customers whose instance has not asked for a day.
        without_instance: customers with none over the network.
        signers: the MDM signing certificate and its chain; empty: there is none.
        undelivered: messages that failed and have not got through since.
    """

    at: datetime
    counts: dict[str, int]
    chart: Chart
    held: tuple[ReportRow, ...]
    held_total: int
    pressing: tuple[ReportRow, ...]
    pressing_total: int
    waiting: dict[str, int]
    breached: int
    unproven: int
    silent: int
    without_instance: int
    signers: tuple[SignerRow, ...]
    undelivered: int

    @property
    def customers(self) -> int:
        """How many there are in care."""
        return sum(self.counts.values())


def overview(session: Session, policy: Policy, now: datetime) -> Overview:
    """The overview at ``now`` (aware UTC)."""
    at = standing(session, policy, now)
    breached = at.verdict == Verdict.BREACHED
    pressing = and_(or_(at.status.in_(_PRESSING), breached), ~at.held)
    acts = tally(session, at, at.acts)
    found = counts_of(
        session,
        at,
        {
            "held_total": at.held,
            "pressing_total": pressing,
            "breached": breached,
            "unproven": at.to_be_proven,
            "silent": at.silent,
            "without_instance": at.without_instance,
        },
    )
    return Overview(
        at=now,
        counts=status_counts(session, at),
        chart=_chart(session, at, now),
        held=_first(session, at, at.held, (at.renewal.blocked_at,), policy, now),
        pressing=_first(session, at, pressing, at.urgency, policy, now),
        waiting={str(who): acts.get(who, 0) for who in (Acts.VENDOR, Acts.INSTANCE, Acts.CUSTOMER)},
        signers=signer_rows(session, policy, now),
        undelivered=len(failing(session)),
        **found,
    )


def _first(
    session: Session,
    at: Standing,
    condition: ColumnElement[bool],
    order: tuple[Any, ...],
    policy: Policy,
    now: datetime,
) -> tuple[ReportRow, ...]:
    found = session.execute(
        at.select(col(Customer.id))
        .where(condition)
        .order_by(*order, col(Customer.slug))
        .limit(LISTED)
    )
    return customer_search.rows(session, [key for (key,) in found], policy, now)


def _chart(session: Session, at: Standing, now: datetime) -> Chart:
    """As ``report_weeks.chart_of``, with the counting left to the database."""
    today = require_utc(now).date()
    monday = datetime.combine(today - timedelta(days=today.weekday()), time(), now.tzinfo)
    end = at.active.not_after
    week = case(
        (end <= now, EXPIRED),
        *((end < monday + timedelta(weeks=n + 1), n) for n in range(WEEKS)),
        else_=WEEKS,
    )
    counts = tally(session, at, week, end.is_not(None), at.status != Status.PAUSED)
    return chart_of_counts(counts, now)
