"""Reads what the report shows from the vendor's database."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import islice

from sqlmodel import Session, select

from lifecycle.vendor import deployments, store
from lifecycle.vendor.database import Database
from lifecycle.vendor.facts import CustomerFacts, Policy
from lifecycle.vendor.models import Bounce, Deployment
from lifecycle.vendor.report import (
    BouncedAddress,
    CustomerDetails,
    Report,
    ReportRow,
    SignerRow,
    TargetRow,
    build_report,
    decide_next_step,
    described_signers,
    row_of,
)
from lifecycle.vendor.undelivered import count_undelivered, not_received

BATCH = 500


def build(
    database: Database,
    policy: Policy,
    at: datetime,
    *,
    tags: Sequence[str] = (),
    ops: Sequence[str] = (),
    now: datetime | None = None,
) -> Report:
    """The report on customers in care and on the signer, as of ``at`` (aware UTC).

    Args:
        tags: only customers with one of these; empty: all.
        ops: vendor ops' addresses, which may bounce as well.
        now: where ``at`` is a day to come: what today is, for what cannot be forecast.
    """
    with database.reading() as session:
        return build_report(
            _customers(session, tags),
            _signers(session),
            policy,
            at,
            undelivered=count_undelivered(session, now or at),
            bounces=_bounces(session, ops),
            outage=_outage(session),
        )


def stream_csv(
    database: Database,
    policy: Policy,
    at: datetime,
    *,
    tags: Sequence[str] = (),
    within: timedelta | None = None,
    statuses: Sequence[str] = (),
    note: Callable[[str], None] = lambda _slug: None,
    noted: Sequence[str] = (),
    processes: int = 1,
) -> Iterator[bytes]:
    """The report as CSV (UTF-8), in pieces, in memory that does not grow with the customers.

    Args:
        tags: only customers with one of these; empty: all.
        within, statuses: as for ``Report.only``.
        note: told the slug of every customer of the statuses ``noted``, shown or not, in no order.
        processes: as for ``report_shares.pieces``.
    """
    from lifecycle.vendor.report_csv import header, signer_lines
    from lifecycle.vendor.report_lines import Choice
    from lifecycle.vendor.report_shares import Order, pieces

    latest = None if within is None else at + within
    choice = Choice(latest, frozenset(statuses), frozenset(noted))
    yield header().encode()
    order = Order(policy, at, tuple(tags), choice)
    yield from pieces(database, order, processes=processes, note=note)
    with database.reading() as session:
        signers = build_report((), _signers(session), policy, at)
    shown = signers.only(within=within, statuses=statuses).signers
    yield signer_lines(shown).encode()


def rows_of(
    session: Session, records: Sequence[store.CustomerRecord], policy: Policy, at: datetime
) -> list[ReportRow]:
    """The report's rows of these customers alone, in their order."""
    return [row_of(facts, details, policy, at) for facts, details in _described(session, records)]


def signer_rows(session: Session, policy: Policy, at: datetime) -> tuple[SignerRow, ...]:
    """How the signer and the certificates of its chain stand; empty: there is none."""
    return described_signers(_signers(session), _outage(session), policy, at)


def _customers(
    session: Session, tags: Sequence[str]
) -> Iterator[tuple[CustomerFacts, CustomerDetails]]:
    records = store.all_records(session, tags=tags, batch=BATCH)
    while batch := list(islice(records, BATCH)):
        yield from _described(session, batch)


def _described(
    session: Session, records: Sequence[store.CustomerRecord]
) -> Iterator[tuple[CustomerFacts, CustomerDetails]]:
    customers = [record.customer for record in records]
    refused = {row.address for row in session.exec(select(Bounce))}
    unreached = not_received(session, [store.key_of(customer) for customer in customers])
    contacts = store.contacts_of(session, customers)
    worn = store.tags_of(session, customers)
    targets = deployments.of_customers(session, customers)
    for record in records:
        key = store.key_of(record.customer)
        others = contacts.get(key, ())
        yield (
            record.facts,
            replace(
                _details(record),
                contacts=others,
                bounced=bounced_of(record.customer.email, others, refused),
                tags=worn.get(key, ()),
                undelivered=unreached.get(key),
                deployments=target_rows(targets.get(key, ())),
            ),
        )


def bounced_of(email: str, contacts: Iterable[str], refused: Collection[str]) -> tuple[str, ...]:
    """Those of a customer's addresses that mail servers refuse."""
    return tuple(a for a in dict.fromkeys((email, *contacts)) if a in refused)


def target_rows(rows: Iterable[Deployment]) -> tuple[TargetRow, ...]:
    """Deploy targets as a report shows them."""
    return tuple(
        TargetRow(row.target, row.kind, row.code, row.message, row.since, row.at) for row in rows
    )


def next_step(
    session: Session,
    record: store.CustomerRecord,
    policy: Policy,
    at: datetime,
    targets: tuple[TargetRow, ...] = (),
) -> tuple[str, str]:
    """Who acts next for one customer, and what they do."""
    key = store.key_of(record.customer)
    why = not_received(session, [key]).get(key)
    details = replace(_details(record), undelivered=why, deployments=targets)
    acts, step = decide_next_step(record.facts, details, policy, at)
    return str(acts), step


def _details(record: store.CustomerRecord) -> CustomerDetails:
    customer, renewal = record.customer, record.renewal
    return CustomerDetails(
        name=customer.name,
        email=customer.email,
        apple_account=customer.apple_account,
        paused_reason=customer.paused_reason,
        blocked_at=None if renewal is None else renewal.blocked_at,
        blocked_message=None if renewal is None else renewal.blocked_message,
        verdict_why=None if record.latest is None else record.latest.why,
    )


def _signers(session: Session) -> Iterator[tuple[str, datetime]]:
    signer = store.current_signer(session)
    if signer is not None:
        from lifecycle.pki.certificates import certificate_name, parse_certificates

        for certificate in parse_certificates(signer.chain.encode()):
            yield certificate_name(certificate), certificate.not_valid_after_utc


def _outage(session: Session) -> tuple[datetime, str] | None:
    signer = store.current_signer(session)
    if signer is None or signer.unavailable_since is None:
        return None
    return signer.unavailable_since, signer.unavailable_why or ""


def _bounces(session: Session, ops: Sequence[str]) -> Iterator[BouncedAddress]:
    for row in store.bounces_in_use(session, ops):
        yield BouncedAddress(row.address, row.at, row.why)
