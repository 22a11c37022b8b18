"""The expiry report: who stands where, what is stuck and why, what comes next. Pure.

The JSON document is ``{"at", "counts", "customers", "signers", "undelivered", "bounces"}``; the
keys of a customer are those of ``ReportRow``, of its deploy targets those of ``TargetRow``, of a
signer those of ``SignerRow``, of a bounce those of ``BouncedAddress``, with times in ISO 8601
(UTC). Keys may be added; none is renamed or removed.
The CSV has a line for each customer and signer, told apart by ``kind``.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from types import MappingProxyType
from typing import Any

from lifecycle.language.countdown import days_left
from lifecycle.vendor.facts import (
    CustomerFacts,
    CustomerKind,
    Policy,
    RenewalState,
    Status,
    Verdict,
)
from lifecycle.vendor.plan import opens_at, pause_is_over, status

URGENCY = (
    Status.REVOKED,
    Status.EXPIRED,
    Status.URGENT,
    Status.DUE,
    Status.NO_CERTIFICATE,
    Status.OK,
    Status.PAUSED,
)


UNREACHED = "vendor corrects the customer's address: the request was refused there"
BY_VENDOR = ("signer_", "signing_", "instance_not_enrolled")
"""Blocks that only the vendor can lift; all others are lifted in the customer's instance."""


@dataclass(frozen=True, slots=True)
class TargetRow:
    """A deploy target of a customer's instance, as the instance reported it last.

    Attributes:
        target, kind: its name and its kind.
        code, message, since: why it does not have the certificate, and since when; None: it has.
        at: when that was tried.
    """

    target: str
    kind: str
    code: str | None
    message: str | None
    since: datetime | None
    at: datetime


@dataclass(frozen=True, slots=True)
class CustomerDetails:
    """What the planner does not need to know about a customer, and a reader does."""

    name: str
    email: str
    apple_account: str | None
    paused_reason: str | None = None
    blocked_at: datetime | None = None
    blocked_message: str | None = None
    verdict_why: str | None = None
    contacts: tuple[str, ...] = ()
    bounced: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    undelivered: str | None = None
    deployments: tuple[TargetRow, ...] = ()


class Acts(StrEnum):
    """Who has to act next for a customer."""

    CUSTOMER = "customer"
    INSTANCE = "instance"
    VENDOR = "vendor"
    NOBODY = "nobody"
    """Nothing is owed; the clock will bring the next step."""


@dataclass(frozen=True, slots=True)
class ReportRow:
    """One customer.

    Attributes:
        days_left: until ``not_after``, begun days counted whole, as the reminder ladder counts
            them: 1 on the last day, 0 or less once it has expired.
        blocked_by, blocked_since, blocked_message: why the open renewal cannot go on.
        verdict, verdict_why, last_checked_at: of the last isolation check that was judged.
        acts, next_step: who does what next.
        contacts: further addresses that get the customer's messages.
        bounced: those of all addresses that a mail server refuses for good.
        tags: sorted.
        common_name: of the active certificate, as the portal lists it.
        canary: the vendor's own tenant, whose isolation is not checked.
        undelivered: why the last request or reminder never got to the customer, who does not
            know that there is something to do; None where it did.
        deployments: where the instance brings the certificate, and whether it is there.
    """

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
    blocked_since: datetime | None
    blocked_message: str | None
    verdict: str | None
    verdict_why: str | None
    last_checked_at: datetime | None
    acts: str
    next_step: str
    contacts: tuple[str, ...] = ()
    bounced: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    common_name: str | None = None
    canary: bool = False
    undelivered: str | None = None
    deployments: tuple[TargetRow, ...] = ()

    @property
    def not_deployed(self) -> tuple[TargetRow, ...]:
        """The targets that do not have the certificate."""
        return failing(self.deployments)


@dataclass(frozen=True, slots=True)
class BouncedAddress:
    """An address that a mail server refused for good: since when, and why."""

    address: str
    at: datetime
    why: str


@dataclass(frozen=True, slots=True)
class SignerRow:
    """The MDM signing certificate, or a certificate of its chain.

    ``status`` is ``ok``, ``due`` (inside the renewal window), ``urgent`` or ``expired``.
    ``unavailable_since`` and ``unavailable_why`` are set while the signing key cannot be used.
    """

    name: str
    status: str
    not_after: datetime
    days_left: int
    unavailable_since: datetime | None = None
    unavailable_why: str | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """The report at one instant, most urgent first."""

    at: datetime
    rows: tuple[ReportRow, ...]
    signers: tuple[SignerRow, ...]
    undelivered: int = 0
    """Messages that failed, or have waited for more than an hour, and have not got through."""
    bounces: tuple[BouncedAddress, ...] = ()
    """Like ``undelivered`` as it stands today, in a forecast as well."""

    @property
    def counts(self) -> dict[str, int]:
        """How many customers have each status, most urgent first."""
        found = Counter(row.status for row in self.rows)
        return {str(name): found[name] for name in URGENCY if found[name]}

    def only(self, *, within: timedelta | None = None, statuses: Iterable[str] = ()) -> Report:
        """What has one of the statuses (empty: any) and ends within a time, or has ended.

        A customer without a certificate ends at no time and is left out by ``within``.
        """
        wanted = frozenset(statuses)

        def fits(row: ReportRow | SignerRow) -> bool:
            ends_soon = within is None or (
                row.not_after is not None and row.not_after - self.at <= within
            )
            return ends_soon and (not wanted or row.status in wanted)

        return replace(
            self,
            rows=tuple(filter(fits, self.rows)),
            signers=tuple(filter(fits, self.signers)),
        )

    def sorted_by(self, order: str) -> Report:
        """The same in another order, one of ``ORDERS``."""
        if order == "urgency":
            return self
        key = ORDERS[order]
        return replace(self, rows=tuple(sorted(self.rows, key=lambda row: (*key(row), row.slug))))


_LAST = "\uffff"
ORDERS: Mapping[str, Callable[[ReportRow], tuple[str, ...]]] = MappingProxyType(
    {
        "urgency": lambda _: (),
        "expiry": lambda row: (_LAST if row.not_after is None else row.not_after.isoformat(),),
        "customer": lambda row: (row.name.casefold(),),
        "account": lambda row: ((row.apple_account or "").casefold(),),
        "status": lambda row: (row.status,),
    }
)
"""Ways to sort a report; ``urgency`` is how it is built."""


def build_report(
    customers: Iterable[tuple[CustomerFacts, CustomerDetails]],
    signers: Iterable[tuple[str, datetime]],
    policy: Policy,
    at: datetime,
    *,
    undelivered: int = 0,
    bounces: Iterable[BouncedAddress] = (),
    outage: tuple[datetime, str] | None = None,
) -> Report:
    """The report as it stands, or will stand, at ``at`` (aware UTC).

    Args:
        customers: facts and details; off-boarded ones are left out.
        signers: name and end of the signer and of each certificate in its chain.
        policy: decides statuses, as it does for the planner.
        undelivered: how many messages have not got through.
        bounces: the addresses that mail servers refuse.
        outage: since when the signing key cannot be used, and why; None: it can.
    """
    rows = [
        row_of(facts, details, policy, at) for facts, details in customers if not facts.offboarded
    ]
    latest = datetime.max.replace(tzinfo=at.tzinfo)
    rows.sort(
        key=lambda row: (
            row.verdict != Verdict.BREACHED,
            URGENCY.index(Status(row.status)),
            row.not_after or latest,
            row.slug,
        )
    )
    return Report(
        at,
        tuple(rows),
        described_signers(signers, outage, policy, at),
        undelivered,
        tuple(bounces),
    )


def described_signers(
    signers: Iterable[tuple[str, datetime]],
    outage: tuple[datetime, str] | None,
    policy: Policy,
    at: datetime,
) -> tuple[SignerRow, ...]:
    """The rows of the signer and its chain; an outage is the signer's, and that comes first."""
    rows = [signer_row(name, end, policy, at) for name, end in signers]
    if rows and outage is not None:
        rows[0] = replace(rows[0], unavailable_since=outage[0], unavailable_why=outage[1])
    return tuple(rows)


def signer_row(name: str, end: datetime, policy: Policy, at: datetime) -> SignerRow:
    """How the signer, or a certificate of its chain, stands at ``at`` (aware UTC)."""
    if end <= at:
        stands = Status.EXPIRED
    elif end - at <= policy.urgent:
        stands = Status.URGENT
    else:
        stands = Status.DUE if end - at <= policy.window else Status.OK
    return SignerRow(name, str(stands), end, days_left(end, at))


def row_of(
    facts: CustomerFacts, details: CustomerDetails, policy: Policy, at: datetime
) -> ReportRow:
    """One customer's row at ``at`` (aware UTC)."""
    active, renewal, isolation = facts.active, facts.renewal, facts.isolation
    stands = status(facts, policy, at)
    acts, step = decide_next_step(facts, details, policy, at)
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
        blocked_since=details.blocked_at,
        blocked_message=details.blocked_message,
        verdict=None if isolation.verdict is None else str(isolation.verdict),
        verdict_why=details.verdict_why,
        last_checked_at=isolation.concluded_at,
        acts=str(acts),
        next_step=step,
        contacts=details.contacts,
        bounced=details.bounced,
        tags=details.tags,
        common_name=None if active is None else active.common_name,
        canary=facts.kind is CustomerKind.CANARY,
        undelivered=details.undelivered,
        deployments=details.deployments,
    )


def failing(targets: Iterable[TargetRow]) -> tuple[TargetRow, ...]:
    """Those of the deploy targets that do not have the certificate."""
    return tuple(one for one in targets if one.code is not None)


def decide_next_step(
    facts: CustomerFacts, details: CustomerDetails, policy: Policy, at: datetime
) -> tuple[Acts, str]:
    """Who acts next for a customer at ``at``, and what they do."""
    renewal = facts.renewal
    if facts.paused and not pause_is_over(facts, at):
        why = f" ({details.paused_reason})" if details.paused_reason else ""
        end = "" if facts.paused_until is None else f" until {facts.paused_until:%Y-%m-%d}"
        return Acts.NOBODY, f"paused{end}{why}"
    if renewal is None:
        if facts.active is None or status(facts, policy, at) is not Status.OK:
            return Acts.VENDOR, "a renewal opens at the next tick"
        undeployed = failing(details.deployments)
        if undeployed:
            names = ", ".join(one.target for one in undeployed)
            return Acts.INSTANCE, f"instance deploys to {names} again"
        opens = opens_at(facts.active, facts.slug, policy)
        return Acts.NOBODY, f"renewal opens {opens:%Y-%m-%d}"
    return renewal_step(
        renewal.state,
        renewal.received,
        renewal.blocked_code,
        details.blocked_message,
        details.undelivered,
    )


def renewal_step(
    state: str, received: bool, blocked_by: str | None, why: str | None, undelivered: str | None
) -> tuple[Acts, str]:
    """Who acts next in an open renewal, and what they do.

    Args:
        state: one of ``facts.OPEN_STATES``.
        received: the certificate has come, and is not in use yet.
        blocked_by, why: code and sentence of what holds it up; None: nothing.
        undelivered: why the customer never got the request or the reminder; None: they did.
    """
    if blocked_by is not None:
        acts = Acts.VENDOR if blocked_by.startswith(BY_VENDOR) else Acts.INSTANCE
        return acts, why or blocked_by
    if received:
        return Acts.INSTANCE, "instance activates the certificate"
    match state:
        case RenewalState.REQUESTED:
            return Acts.INSTANCE, "instance makes the CSR"
        case RenewalState.CSR_RECEIVED:
            return Acts.VENDOR, "vendor signs the CSR"
        case RenewalState.SIGNED:
            return Acts.VENDOR, "request goes to the customer"
        case _ if undelivered is not None:
            return Acts.VENDOR, UNREACHED
        case _:
            return Acts.CUSTOMER, "customer uploads the request to the portal"


def as_json_text(report: Report) -> str:
    """The report as one JSON document."""
    document: dict[str, Any] = {
        "at": report.at.isoformat(),
        "counts": report.counts,
        "customers": [_plain(asdict(row)) for row in report.rows],
        "signers": [_plain(asdict(row)) for row in report.signers],
        "undelivered": report.undelivered,
        "bounces": [_plain(asdict(row)) for row in report.bounces],
    }
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def as_csv(report: Report) -> str:
    """The report as CSV with a header line; see ``report_csv``."""
    from lifecycle.vendor.report_csv import customer_line, header, signer_lines

    customers = "".join(customer_line(cells_of(row)) for row in report.rows)
    return header() + customers + signer_lines(report.signers)


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    return {name: _plain_value(value) for name, value in values.items()}


def _plain_value(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, tuple):
        return tuple(_plain(one) if isinstance(one, dict) else one for one in value)
    return value


def cells_of(row: ReportRow) -> tuple[Any, ...]:
    """A row's values, each in one cell: times as ISO 8601 text, of several things their words."""
    return tuple(_cell(getattr(row, name)) for name in ReportRow.__slots__)


def _cell(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    if not isinstance(value, tuple):
        return value
    return " ".join(
        f"{one.target}:{one.code or 'deployed'}" if isinstance(one, TargetRow) else str(one)
        for one in value
    )
