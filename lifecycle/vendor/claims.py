"""What belongs to one customer alone: a topic, a serial, a public key.

The check gives a person both names; the primary key of the table makes it hold even when
two processes record at the same instant.
"""

from __future__ import annotations

from collections.abc import Mapping

from sqlmodel import Session, select

from lifecycle.errors import Finding
from lifecycle.pki.push_certificate import PushCertificate
from lifecycle.vendor.models import Claim, Customer
from lifecycle.vendor.store import key_of

_WORDS = {"topic": "topic", "serial": "certificate (issuer and serial)", "key": "public key"}


def issued_serial(certificate: PushCertificate) -> str:
    """Issuer and serial: a serial alone is unique only within its issuer (RFC 5280, 4.1.2.2)."""
    return f"{certificate.issuer} {certificate.serial}"


def claims_of(certificate: PushCertificate) -> dict[str, str]:
    """Everything about a push certificate that no second customer may have."""
    return {
        "topic": str(certificate.topic),
        "serial": issued_serial(certificate),
        "key": certificate.key_fingerprint,
    }


def check_claims(session: Session, customer: Customer, wanted: Mapping[str, str]) -> list[Finding]:
    """A refusing finding for every value that another customer holds, with both names."""
    findings = []
    for kind, value in wanted.items():
        held = session.exec(
            select(Customer)
            .join(Claim)
            .where(Claim.kind == kind, Claim.value == value, Claim.customer_id != customer.id)
        ).first()
        if held is not None:
            findings.append(
                Finding(
                    f"{kind}_of_another_customer",
                    f"The {_WORDS[kind]} of this file belongs to '{held.slug}' and cannot be used"
                    f" for '{customer.slug}' as well.",
                    f"Use the file that was issued for '{customer.slug}': each customer needs a"
                    " push certificate of its own.",
                )
            )
    return findings


def claim(session: Session, customer: Customer, wanted: Mapping[str, str]) -> None:
    """Books the values for the customer; those it holds already stay as they are."""
    for kind, value in wanted.items():
        if session.get(Claim, (kind, value)) is None:
            session.add(Claim(kind=kind, value=value, customer_id=key_of(customer)))
