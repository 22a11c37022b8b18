"""Whether the registry says what was written into it: the audit log, and every certificate."""

from __future__ import annotations

from collections.abc import Iterator

from cryptography.hazmat.primitives.serialization import Encoding
from sqlmodel import Session, col, select

from lifecycle.errors import Finding, Refused
from lifecycle.pki.chain import parse_certificates
from lifecycle.pki.fingerprints import fingerprint
from lifecycle.pki.push_certificate import PushCertificate
from lifecycle.vendor.audit import LogOutcome, verify_log
from lifecycle.vendor.models import Certificate, Claim, Customer, Signer

BATCH = 500
_FACTS = ("topic", "serial", "fingerprint", "key_fingerprint", "not_before", "not_after")
REMEDY = (
    "Somebody changed the database by hand, or its disk is failing: compare with an older backup."
)


def examine(session: Session) -> tuple[LogOutcome, tuple[Finding, ...]]:
    """Looks through the registry.

    Dates are not judged: a certificate that has ended is as sound as one that has not.

    Args:
        session: reads only.

    Returns:
        What was found of the audit log, and a finding for everything that is not as it was
        written: ``audit_log_broken``, ``certificate_row_damaged``, ``signer_row_damaged``.
    """
    log = verify_log(session)
    found: list[Finding] = []
    if log.problem is not None:
        found.append(
            Finding("audit_log_broken", f"The audit log is not whole: {log.problem}", REMEDY)
        )
    found += _certificates(session)
    found += _signers(session)
    return log, tuple(found)


def _certificates(session: Session) -> Iterator[Finding]:
    last = 0
    while rows := session.exec(
        select(Certificate, Customer.slug)
        .join(Customer)
        .where(col(Certificate.id) > last)
        .order_by(col(Certificate.id))
        .limit(BATCH)
    ).all():
        keys = [row.key_fingerprint for row, _ in rows]
        claimed = dict(
            session.exec(
                select(Claim.value, Claim.customer_id).where(
                    Claim.kind == "key", col(Claim.value).in_(keys)
                )
            ).all()
        )
        for row, slug in rows:
            why = _fault(row, claimed.get(row.key_fingerprint))
            if why is not None:
                yield Finding(
                    "certificate_row_damaged",
                    f"The certificate of '{slug}' with serial {row.serial[:64]} {why}.",
                    REMEDY,
                )
            last = row.id or last
        session.expunge_all()


def _fault(row: Certificate, owner: int | None) -> str | None:
    try:
        certificate = PushCertificate.from_der(row.der)
    except Refused:
        return "cannot be read"
    wrong = [name for name in _FACTS if getattr(row, name) != getattr(certificate, name)]
    if wrong:
        return f"is recorded with another {wrong[0].replace('_', ' ')} than it has"
    if owner is not None and owner != row.customer_id:
        return "has a key that is booked for another customer"
    return None


def _signers(session: Session) -> Iterator[Finding]:
    for signer in session.exec(select(Signer)):
        try:
            first = parse_certificates(signer.chain.encode())[0]
            sound = fingerprint(first.public_bytes(Encoding.DER)) == signer.fingerprint
        except (Refused, IndexError):
            sound = False
        if not sound:
            yield Finding(
                "signer_row_damaged",
                f"The chain of the signer {signer.common_name[:100]} is not the one recorded.",
                REMEDY,
            )
