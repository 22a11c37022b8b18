"""The vendor's books as one JSON document, so that nobody is locked in.

Everything that another product needs to go on: customers, every certificate they had, renewals with
their CSRs and requests, verdicts, deploy targets, the MDM signing certificates (public), and the
audit log with its hashes. Its form is docs/vendor-export.schema.json. No secret is in it, because
none is in the registry; names and addresses are personal data.

Times are ISO 8601 in UTC. Keys may be added within a version; none is renamed or removed.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any, TypeVar

from sqlmodel import Session, SQLModel, col, select

from lifecycle.pki.pem import encode_pem
from lifecycle.vendor import deployments, store
from lifecycle.vendor.database import Database
from lifecycle.vendor.models import (
    AuditEntry,
    Certificate,
    Customer,
    Deployment,
    IsolationCheck,
    Renewal,
    Signer,
)
from lifecycle.vendor.signed_requests import request_of

FORMAT = "pushcert-vendor"
VERSION = 1
BATCH = 500

_CUSTOMER = (
    *("slug", "name", "email", "apple_account", "kind", "created_at", "paused_at"),
    *("paused_reason", "paused_until", "offboarded_at", "remote", "language", "notes"),
)
_CERTIFICATE = (
    *("state", "topic", "serial", "common_name", "issuer", "fingerprint", "key_fingerprint"),
    *("not_before", "not_after", "recorded_at", "activated_at", "superseded_at", "revoked_at"),
)
_RENEWAL = (
    *("id", "state", "reason", "opened_at", "csr_received_at", "signed_at", "delivered_at"),
    *("ended_at", "signer_fingerprint", "blocked_code", "blocked_message"),
)
_CHECK = ("ordered_at", "concluded_at", "verdict", "why", "answers")
_DEPLOYMENT = ("target", "kind", "fingerprint", "code", "message", "since", "at")
_SIGNER = (
    *("fingerprint", "common_name", "not_before", "not_after", "chain", "imported_at"),
    "retired_at",
)
_AUDIT = ("seq", "at", "actor", "action", "subject", "detail", "previous", "hash")

Row = TypeVar("Row", Certificate, Renewal, IsolationCheck)


def as_text(database: Database, vendor: str, at: datetime) -> Iterator[str]:
    """The document, piece by piece, of one consistent state; memory does not grow with it.

    Args:
        database: the vendor's.
        vendor: the vendor's name.
        at: now, aware UTC.
    """
    with database.reading() as session:
        head = {
            "format": FORMAT,
            "version": VERSION,
            "exported_at": at.isoformat(),
            "vendor": vendor,
        }
        yield _dump(head)[:-1]
        yield ',\n"customers": '
        yield from _listed(_customers(session))
        yield ',\n"signers": '
        signers = session.exec(select(Signer).order_by(col(Signer.id)))
        yield from _listed(_plain(row, _SIGNER) for row in signers)
        yield ',\n"audit": '
        entries = session.exec(
            select(AuditEntry).order_by(col(AuditEntry.seq)).execution_options(yield_per=BATCH)
        )
        yield from _listed(_plain(row, _AUDIT) for row in entries)
        yield "\n}\n"


def _listed(documents: Iterable[dict[str, Any]]) -> Iterator[str]:
    before = "["
    for document in documents:
        yield f"{before}\n{_dump(document)}"
        before = ","
    yield "[]" if before == "[" else "\n]"


def _customers(session: Session) -> Iterator[dict[str, Any]]:
    last = ""
    while rows := session.exec(
        select(Customer).where(col(Customer.slug) > last).order_by(col(Customer.slug)).limit(BATCH)
    ).all():
        yield from _batch(session, rows)
        last = rows[-1].slug
        session.expunge_all()


def _batch(session: Session, customers: Sequence[Customer]) -> Iterator[dict[str, Any]]:
    ids = [store.key_of(customer) for customer in customers]
    contacts, tags = store.contacts_of(session, customers), store.tags_of(session, customers)
    certificates = _of(session, Certificate, ids)
    renewals = _of(session, Renewal, ids)
    checks = _of(session, IsolationCheck, ids)
    targets = deployments.of_customers(session, customers)
    for key, customer in zip(ids, customers, strict=True):
        fingerprints = {row.id: row.fingerprint for row in certificates[key]}
        yield {
            **_plain(customer, _CUSTOMER),
            "contacts": list(contacts.get(key, ())),
            "tags": list(tags.get(key, ())),
            "certificates": [_certificate(row) for row in certificates[key]],
            "renewals": [_renewal(session, row) for row in renewals[key]],
            "isolation_checks": [
                {**_plain(row, _CHECK), "certificate": fingerprints.get(row.certificate_id)}
                for row in checks[key]
            ],
            "deployments": [_deployment(row) for row in targets.get(key, ())],
        }


def _of(session: Session, kind: type[Row], ids: Sequence[int]) -> dict[int, list[Row]]:
    found: dict[int, list[Row]] = defaultdict(list)
    statement = select(kind).where(col(kind.customer_id).in_(ids)).order_by(col(kind.id))
    for row in session.exec(statement):
        found[row.customer_id].append(row)
    return found


def _certificate(row: Certificate) -> dict[str, Any]:
    return {
        **_plain(row, _CERTIFICATE),
        "renewal": row.renewal_id,
        "pem": encode_pem("CERTIFICATE", row.der),
    }


def _renewal(session: Session, row: Renewal) -> dict[str, Any]:
    csr = None if row.csr is None else encode_pem("CERTIFICATE REQUEST", row.csr)
    return {**_plain(row, _RENEWAL), "csr": csr, "request": request_of(session, row)}


def _deployment(row: Deployment) -> dict[str, Any]:
    return _plain(row, _DEPLOYMENT)


def _plain(row: SQLModel, names: Sequence[str]) -> dict[str, Any]:
    values = ((name, getattr(row, name)) for name in names)
    return {
        name: value.isoformat() if isinstance(value, datetime) else value for name, value in values
    }


def _dump(document: dict[str, Any]) -> str:
    return json.dumps(document, ensure_ascii=False)
