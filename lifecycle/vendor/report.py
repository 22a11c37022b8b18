"""The expiry report: who stands where, what is stuck and why, what comes next. Pure.

The JSON document's keys are those of ``ReportRow`` and ``SignerRow``, with times in ISO 8601
(UTC); they do not change.
"""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from datetime import datetime, timedelta
from typing import Any

from lifecycle.vendor.countdown import days_left
from lifecycle.vendor.facts import CustomerFacts, Policy, RenewalState, Status
from lifecycle.vendor.plan import opens_at, status

URGENCY = (
    Status.REVOKED,
    Status.EXPIRED,
    Status.URGENT,
    Status.DUE,
    Status.NO_CERTIFICATE,
    Status.OK,
    Status.PAUSED,
)


@dataclass(frozen=True, slots=True)
class CustomerDetails:
    """What the planner does not need to know about a customer, and a reader does."""

    name: str
    email: str
    apple_account: str | None
    blocked_message: str | None = None
    verdict_why: str | None = None


@dataclass(frozen=True, slots=True)
class ReportRow:
    """One customer. ``days_left`` counts whole days, negative after expiry."""

    slug: str
    name: str
    email: str
    apple_account: str | None
    status: str
    topic: str | None
    serial: str | None
    not_after: datetime | None
    days_left: int | None
    renewal_state: str | None
    renewal_reason: str | None
    renewal_opened_at: datetime | None
    blocked_by: str | None
    blocked_message: str | None
    verdict: str | None
    last_checked_at: datetime | None
    next_step: str


@dataclass(frozen=True, slots=True)
class SignerRow:
    """The MDM signing certificate, or a certificate of its chain."""

    name: str
    not_after: datetime
    days_left: int


@dataclass(frozen=True, slots=True)
class Report:
    """The report at one instant, most urgent first."""

    at: datetime
    rows: tuple[ReportRow, ...]
    signers: tuple[SignerRow, ...]

    @property
    def counts(self) -> dict[str, int]:
        """How many customers have each status, most urgent first."""
        found = Counter(row.status for row in self.rows)
        return {str(name): found[name] for name in URGENCY if found[name]}

    def only(self, *, within: timedelta | None = None, statuses: Iterable[str] = ()) -> Report:
        """The rows that end within a time and have one of the statuses (empty: any)."""
        wanted = frozenset(statuses)
        return Report(
            self.at,
            tuple(
                row
                for row in self.rows
                if (not wanted or row.status in wanted)
                and (
                    within is None
                    or (row.not_after is not None and row.not_after - self.at <= within)
                )
            ),
            self.signers,
        )


def build_report(
    customers: Iterable[tuple[CustomerFacts, CustomerDetails]],
    signers: Iterable[tuple[str, datetime]],
    policy: Policy,
    at: datetime,
) -> Report:
    """The report as it stands, or will stand, at ``at`` (aware UTC).

    Args:
        customers: facts and details; off-boarded ones are left out.
        signers: name and end of the signer and of each certificate in its chain.
        policy: decides statuses, as it does for the planner.
    """
    rows = [
        _row(facts, details, policy, at) for facts, details in customers if not facts.offboarded
    ]
    latest = datetime.max.replace(tzinfo=at.tzinfo)
    rows.sort(
        key=lambda row: (URGENCY.index(Status(row.status)), row.not_after or latest, row.slug)
    )
    return Report(
        at, tuple(rows), tuple(SignerRow(name, end, days_left(end, at)) for name, end in signers)
    )


def _row(facts: CustomerFacts, details: CustomerDetails, policy: Policy, at: datetime) -> ReportRow:
    active, renewal, isolation = facts.active, facts.renewal, facts.isolation
    stands = status(facts, policy, at)
    return ReportRow(
        slug=facts.slug,
        name=details.name,
        email=details.email,
        apple_account=details.apple_account,
        status=str(stands),
        topic=None if active is None else active.topic,
        serial=None if active is None else active.serial,
        not_after=None if active is None else active.not_after,
        days_left=None if active is None else days_left(active.not_after, at),
        renewal_state=None if renewal is None else str(renewal.state),
        renewal_reason=None if renewal is None else str(renewal.reason),
        renewal_opened_at=None if renewal is None else renewal.opened_at,
        blocked_by=None if renewal is None else renewal.blocked_code,
        blocked_message=details.blocked_message,
        verdict=None if isolation.verdict is None else str(isolation.verdict),
        last_checked_at=isolation.concluded_at,
        next_step=_next_step(facts, details, policy, at),
    )


def _next_step(facts: CustomerFacts, details: CustomerDetails, policy: Policy, at: datetime) -> str:
    renewal = facts.renewal
    if facts.paused:
        return "paused; resume it to go on"
    if renewal is None:
        if facts.active is None or opens_at(facts.active, facts.slug, policy) <= at:
            return "a renewal opens at the next tick"
        return f"renewal opens {opens_at(facts.active, facts.slug, policy):%Y-%m-%d}"
    if renewal.blocked_code is not None:
        return details.blocked_message or renewal.blocked_code
    if renewal.received:
        return "instance activates the certificate"
    match renewal.state:
        case RenewalState.REQUESTED:
            return "instance makes the CSR"
        case RenewalState.CSR_RECEIVED:
            return "vendor signs the CSR"
        case RenewalState.SIGNED:
            return "request goes to the customer"
        case _:
            return "customer uploads the request to the portal"


def as_json_text(report: Report) -> str:
    """The report as one JSON document."""
    document: dict[str, Any] = {
        "at": report.at.isoformat(),
        "counts": report.counts,
        "customers": [_plain(asdict(row)) for row in report.rows],
        "signers": [_plain(asdict(row)) for row in report.signers],
    }
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def as_csv(report: Report) -> str:
    """The customers as CSV with a header line. A cell that a spreadsheet would run as a
    formula is kept from it by a leading apostrophe."""
    text = io.StringIO()
    names = [field.name for field in fields(ReportRow)]
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(names)
    for row in report.rows:
        plain = _plain(asdict(row))
        writer.writerow(["" if plain[n] is None else _cell(plain[n]) for n in names])
    return text.getvalue()


def _cell(value: object) -> object:
    return f"'{value}" if isinstance(value, str) and value.startswith(("=", "+", "@")) else value


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    return {
        name: value.isoformat() if isinstance(value, datetime) else value
        for name, value in values.items()
    }
