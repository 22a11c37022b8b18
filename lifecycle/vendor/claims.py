"""What belongs to one customer alone: a topic, a serial, a public key.

The check gives a person both names; the primary key of the table makes it hold even when
two processes record at the same instant.
"""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import ColumnElement
from sqlmodel import Session, or_, select

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
    held = dict(
        session.exec(
            select(Claim.kind, Customer.slug)
            .join(Customer)
            .where(_any_of(wanted), Claim.customer_id != customer.id)
        ).all()
    )
    return [
        Finding(
            f"{kind}_of_another_customer",
            f"The {_WORDS[kind]} of this file belongs to '{held[kind]}' and cannot be used"
            f" for '{customer.slug}' as well.",
            f"Use the file that was issued for '{customer.slug}': each customer needs a"
            " push certificate of its own.",
        )
        for kind in wanted
        if kind in held
    ]


def claim(session: Session, customer: Customer, wanted: Mapping[str, str]) -> None:
    """Books the values for the customer; those it holds already stay as they are."""
    booked = set(session.exec(select(Claim.kind).where(_any_of(wanted))))
    for kind, value in wanted.items():
        if kind not in booked:
            session.add(Claim(kind=kind, value=value, customer_id=key_of(customer)))


def _any_of(wanted: Mapping[str, str]) -> ColumnElement[bool]:
    return or_(*((Claim.kind == kind) & (Claim.value == value) for kind, value in wanted.items()))
