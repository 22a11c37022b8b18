"""Reads what the report shows from the vendor's database."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from sqlmodel import Session

from lifecycle.pki.certificates import certificate_name, parse_certificates
from lifecycle.vendor import store
from lifecycle.vendor.database import Database
from lifecycle.vendor.facts import CustomerFacts, Policy
from lifecycle.vendor.report import CustomerDetails, Report, build_report, decide_next_step


def build(database: Database, policy: Policy, at: datetime) -> Report:
    """The report on all customers in care and on the signer, as of ``at`` (aware UTC)."""
    with database.reading() as session:
        return build_report(_customers(session), _signers(session), policy, at)


def _customers(session: Session) -> Iterator[tuple[CustomerFacts, CustomerDetails]]:
    for record in store.all_records(session):
        yield record.facts, _details(record)


def next_step(record: store.CustomerRecord, policy: Policy, at: datetime) -> tuple[str, str]:
    """Who acts next for one customer, and what they do."""
    acts, step = decide_next_step(record.facts, _details(record), policy, at)
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
        for certificate in parse_certificates(signer.chain.encode()):
            yield certificate_name(certificate), certificate.not_valid_after_utc
