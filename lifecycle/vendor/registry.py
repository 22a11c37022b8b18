"""The registry of customers: who they are, and what was decided about them by hand."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime

from sqlmodel import Session, select

from lifecycle.errors import Finding, Refused, refuse
from lifecycle.pki.push_certificate import PushCertificate
from lifecycle.vendor import audit, store
from lifecycle.vendor.claims import check_claims, claim, claims_of
from lifecycle.vendor.desk import certificate_row
from lifecycle.vendor.facts import CustomerKind, RenewalReason, RenewalState
from lifecycle.vendor.models import Customer, IsolationCheck, Renewal
from lifecycle.vendor.outbox import take_up

SLUG = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,62}[a-z0-9])?")
_EMAIL = re.compile(r"[^@\s\x00-\x1f\x7f]{1,64}@[^@\s\x00-\x1f\x7f]+\.[^@\s.\x00-\x1f\x7f]+")


@dataclass(frozen=True, slots=True)
class NewCustomer:
    """What a person says about a customer when adding them."""

    slug: str
    name: str
    email: str
    apple_account: str | None = None
    kind: CustomerKind = CustomerKind.CUSTOMER

    def findings(self) -> tuple[Finding, ...]:
        """Everything that is wrong with these particulars."""
        found = []
        if not SLUG.fullmatch(self.slug):
            found.append(
                Finding(
                    "slug_malformed",
                    f"'{self.slug[:64]}' cannot be a slug.",
                    "Use 1 to 64 lower-case letters, digits and hyphens, such as 'acme-corp'.",
                )
            )
        if not self.name.strip() or len(self.name) > 200:
            found.append(
                Finding("name_missing", "The name is empty or too long.", "Give 1 to 200 letters.")
            )
        for label, value in (("email", self.email), ("Apple Account", self.apple_account)):
            if value is None:
                continue
            if not _EMAIL.fullmatch(value) or len(value) > 254 or not value.isascii():
                found.append(
                    Finding(
                        "email_malformed",
                        f"The {label} '{value[:80]}' is not an email address.",
                        "Give an address such as 'it@example.com'.",
                    )
                )
        return tuple(found)


def add(session: Session, new: NewCustomer, *, at: datetime, actor: str) -> Customer:
    """Adds a customer; the planner opens the first renewal.

    Raises:
        Refused: the particulars are malformed, or the slug is taken.
    """
    findings = list(new.findings())
    taken = session.exec(select(Customer).where(Customer.slug == new.slug)).first()
    if taken is not None:
        findings.append(
            Finding(
                "slug_taken",
                f"There is a customer '{new.slug}' already ({taken.name}).",
                "Choose another slug, or see `pushcert customer show` for what is recorded.",
            )
        )
    if findings:
        raise Refused(findings)
    customer = Customer(
        slug=new.slug,
        name=new.name.strip(),
        email=new.email,
        apple_account=new.apple_account,
        kind=new.kind,
        created_at=at,
        next_action_at=at,
    )
    session.add(customer)
    session.flush()
    audit.append(
        session,
        at=at,
        actor=actor,
        action="customer_added",
        subject=new.slug,
        detail={"name": customer.name, "apple_account": new.apple_account, "kind": str(new.kind)},
    )
    return customer


def adopt(
    session: Session, customer: Customer, certificate: PushCertificate, *, at: datetime, actor: str
) -> None:
    """Records a certificate that the customer already uses, public part only.

    Raises:
        Refused: another customer has its topic, serial or key, or this customer has an
            active certificate already.
    """
    findings = check_claims(session, customer, claims_of(certificate))
    active = store.active_certificate(session, customer)
    if active is not None and active.fingerprint == certificate.fingerprint:
        return
    if active is not None:
        findings.append(
            Finding(
                "certificate_present",
                f"'{customer.slug}' already has the active certificate {active.serial}.",
                f"Renew it with `pushcert renew {customer.slug}`.",
            )
        )
    if findings:
        raise Refused(findings)
    claim(session, customer, claims_of(certificate))
    session.add(certificate_row(customer, certificate, at, store.ACTIVE))
    renewal = store.open_renewal(session, customer)
    if renewal is not None and renewal.reason == RenewalReason.INITIAL:
        _end(renewal, RenewalState.SUPERSEDED, at)
        session.add(renewal)
    customer.next_action_at = at
    session.add(customer)
    audit.append(
        session,
        at=at,
        actor=actor,
        action="certificate_adopted",
        subject=customer.slug,
        detail={"topic": str(certificate.topic), "serial": certificate.serial},
    )


def pause(session: Session, customer: Customer, reason: str, *, at: datetime, actor: str) -> None:
    """Stops everything for this customer until ``resume``; doing it twice changes nothing."""
    if customer.paused_at is not None:
        return
    customer.paused_at, customer.paused_reason = at, reason
    _changed(session, customer, "customer_paused", at, actor, {"reason": reason})


def resume(session: Session, customer: Customer, *, at: datetime, actor: str) -> None:
    """Takes a paused customer up again; what is owed by now is done at the next tick."""
    if customer.paused_at is None:
        return
    customer.paused_at = customer.paused_reason = None
    take_up(session, store.key_of(customer), at)
    _changed(session, customer, "customer_resumed", at, actor, {})


def offboard(session: Session, customer: Customer, *, at: datetime, actor: str) -> None:
    """Ends the care for this customer. Records stay; an open renewal is cancelled."""
    if customer.offboarded_at is not None:
        return
    customer.offboarded_at = at
    _changed(session, customer, "customer_offboarded", at, actor, {})


def request_renewal(
    session: Session, customer: Customer, reason: RenewalReason, *, at: datetime, actor: str
) -> Renewal:
    """Opens a renewal because a person wants one; gives the open one if there is one.

    Raises:
        Refused: the customer is paused or off-boarded.
    """
    if customer.paused_at is not None or customer.offboarded_at is not None:
        state = "paused" if customer.offboarded_at is None else "off-boarded"
        raise refuse(
            "customer_not_in_care",
            f"'{customer.slug}' is {state}, so nothing is done for it.",
            f"Run `pushcert customer resume {customer.slug}` first."
            if state == "paused"
            else "Add the customer again under a new slug.",
        )
    renewal = store.open_renewal(session, customer)
    if renewal is None:
        renewal = open_renewal(session, customer, reason, at=at, actor=actor)
    return renewal


def open_renewal(
    session: Session, customer: Customer, reason: RenewalReason, *, at: datetime, actor: str
) -> Renewal:
    """Opens a renewal; the caller has seen that there is none."""
    renewal = Renewal(
        customer_id=store.key_of(customer),
        state=RenewalState.REQUESTED,
        reason=reason,
        opened_at=at,
    )
    session.add(renewal)
    session.flush()
    _changed(
        session,
        customer,
        "renewal_opened",
        at,
        actor,
        {"renewal": renewal.id, "reason": str(reason)},
    )
    return renewal


def cancel_renewal(
    session: Session, customer: Customer, renewal: Renewal, why: str, *, at: datetime, actor: str
) -> None:
    """Ends an open renewal without a certificate."""
    _end(renewal, RenewalState.CANCELLED, at)
    session.add(renewal)
    _changed(session, customer, "renewal_cancelled", at, actor, {"renewal": renewal.id, "why": why})


def order_isolation_check(
    session: Session, customer: Customer, *, at: datetime
) -> IsolationCheck | None:
    """Orders a check of the active certificate; gives the outstanding one if there is one.

    None when the customer has no active certificate to check.
    """
    ordered = store.ordered_check(session, customer)
    active = store.active_certificate(session, customer)
    if ordered is not None and active is not None and ordered.certificate_id == active.id:
        return ordered
    if ordered is not None:
        # The certificate it was ordered for has been superseded: its evidence means nothing.
        session.delete(ordered)
        session.flush()
    if active is None:
        return None
    check = IsolationCheck(
        customer_id=store.key_of(customer),
        certificate_id=store.key_of(active),
        ordered_at=at,
    )
    session.add(check)
    customer.next_action_at = at
    session.add(customer)
    session.flush()
    return check


def _end(renewal: Renewal, state: RenewalState, at: datetime) -> None:
    renewal.state = state
    renewal.ended_at = at


def _changed(
    session: Session,
    customer: Customer,
    action: str,
    at: datetime,
    actor: str,
    detail: dict[str, object],
) -> None:
    customer.next_action_at = at
    session.add(customer)
    audit.append(session, at=at, actor=actor, action=action, subject=customer.slug, detail=detail)
