"""The registry of customers: who they are, and what was decided about them by hand."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import insert
from sqlmodel import Session, select

from lifecycle.errors import Finding, Refused, refuse
from lifecycle.language.languages import LANGUAGES
from lifecycle.pki.push_certificate import PushCertificate
from lifecycle.vendor import audit, store
from lifecycle.vendor.claims import check_claims, claim, claims_of
from lifecycle.vendor.desk import certificate_row
from lifecycle.vendor.facts import CustomerKind, RenewalReason, RenewalState
from lifecycle.vendor.models import Contact, Customer, CustomerTag, Renewal
from lifecycle.vendor.outbox import take_up
from lifecycle.vendor.undelivered import readdress

SLUG = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,62}[a-z0-9])?")
_EMAIL = re.compile(r"[^@\s\x00-\x1f\x7f]{1,64}@[^@\s\x00-\x1f\x7f]+\.[^@\s.\x00-\x1f\x7f]+")


TAG = re.compile(r"[a-z0-9][a-z0-9_.:-]{0,63}")
_NO_NAME = Finding("name_missing", "The name is empty or too long.", "Give 1 to 200 letters.")


@dataclass(frozen=True, slots=True)
class NewCustomer:
    """What a person says about a customer when adding them."""

    slug: str
    name: str
    email: str
    apple_account: str | None = None
    kind: CustomerKind = CustomerKind.CUSTOMER
    contacts: tuple[str, ...] = ()
    language: str | None = None
    tags: tuple[str, ...] = ()
    notes: str | None = None

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
        if _no_name(self.name):
            found.append(_NO_NAME)
        found += _address_findings("email", self.email)
        if self.apple_account is not None:
            found += _address_findings("Apple Account", self.apple_account)
        for contact in self.contacts:
            found += _address_findings("contact", contact)
        found += _language_findings(self.language)
        found += _notes_findings(self.notes)
        for tag in self.tags:
            found += _tag_findings(tag)
        return tuple(found)


@dataclass(frozen=True, slots=True)
class Changes:
    """What a person wants changed about customers; None leaves a thing as it is.

    An empty ``apple_account``, ``language`` or ``notes`` takes it away.
    """

    name: str | None = None
    email: str | None = None
    apple_account: str | None = None
    language: str | None = None
    notes: str | None = None
    add_tags: tuple[str, ...] = ()
    remove_tags: tuple[str, ...] = ()
    add_contacts: tuple[str, ...] = ()
    remove_contacts: tuple[str, ...] = ()

    def findings(self) -> tuple[Finding, ...]:
        """Everything that is wrong with what is wanted."""
        found = []
        if self.name is not None and _no_name(self.name):
            found.append(_NO_NAME)
        if self.email is not None:
            found += _address_findings("email", self.email)
        if self.apple_account:
            found += _address_findings("Apple Account", self.apple_account)
        for contact in self.add_contacts:
            found += _address_findings("contact", contact)
        found += _language_findings(self.language)
        found += _notes_findings(self.notes)
        for tag in self.add_tags:
            found += _tag_findings(tag)
        return tuple(found)


def _no_name(name: str) -> bool:
    return not name.strip() or len(name) > 200 or "\0" in name


def _notes_findings(notes: str | None) -> list[Finding]:
    if "\0" not in (notes or ""):
        return []
    return [
        Finding(
            "notes_malformed",
            "There is a NUL character in the notes, which no database has a place for.",
            "Write them as plain text.",
        )
    ]


def _address_findings(label: str, value: str) -> list[Finding]:
    if _EMAIL.fullmatch(value) and len(value) <= 254 and value.isascii():
        return []
    return [
        Finding(
            "email_malformed",
            f"The {label} '{value[:80]}' is not an email address.",
            "Give an address such as 'it@example.com'.",
        )
    ]


def _language_findings(language: str | None) -> list[Finding]:
    if not language or language in LANGUAGES:
        return []
    return [
        Finding(
            "language_unknown",
            f"There are no messages in the language '{language[:20]}'.",
            f"Use one of {', '.join(LANGUAGES)}.",
        )
    ]


def _tag_findings(tag: str) -> list[Finding]:
    if TAG.fullmatch(tag):
        return []
    return [
        Finding(
            "tag_malformed",
            f"'{tag[:70]}' cannot be a tag.",
            "Use 1 to 64 lower-case letters, digits and _ . : -, such as 'region:emea'.",
        )
    ]


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
    add_all(session, [new], at=at, actor=actor)
    return store.customer_by_slug(session, new.slug)


def add_all(session: Session, new: Sequence[NewCustomer], *, at: datetime, actor: str) -> None:
    """Adds customers whose particulars are in order and whose slugs are free, in a number of
    statements that does not grow with them; see ``add``."""
    if not new:
        return
    session.flush()
    table = Customer.__table__  # type: ignore[attr-defined]
    session.execute(insert(table), [_columns(one, at) for one in new])
    worded = [one for one in new if one.contacts or one.tags]
    if worded:
        found = store.customers_by_slug(session, [one.slug for one in worded])
        ids = {customer.slug: store.key_of(customer) for customer in found}
        for one in worded:
            session.add_all(Contact(customer_id=ids[one.slug], address=a) for a in {*one.contacts})
            session.add_all(CustomerTag(customer_id=ids[one.slug], tag=t) for t in {*one.tags})
    audit.append_all(
        session,
        [
            audit.Entry(
                at,
                actor,
                "customer_added",
                one.slug,
                {
                    "name": one.name.strip(),
                    "apple_account": one.apple_account,
                    "kind": str(one.kind),
                },
            )
            for one in new
        ],
    )


def _columns(new: NewCustomer, at: datetime) -> dict[str, object]:
    return {
        "slug": new.slug,
        "name": new.name.strip(),
        "email": new.email,
        "apple_account": new.apple_account,
        "kind": str(new.kind),
        "created_at": at,
        "remote": False,
        "language": new.language or None,
        "notes": new.notes or None,
        "next_action_at": at,
    }


def edit(
    session: Session, customer: Customer, changes: Changes, *, at: datetime, actor: str
) -> bool:
    """Changes what is recorded about a customer; True if anything was other than wanted.

    Messages that have not got through go to the addresses of now.

    Raises:
        Refused: what is wanted is malformed; nothing was changed.
    """
    findings = changes.findings()
    if findings:
        raise Refused(findings)
    altered: dict[str, object] = {}
    for name in ("name", "email", "apple_account", "language", "notes"):
        wanted = getattr(changes, name)
        if wanted is None:
            continue
        new, old = wanted.strip() or None, getattr(customer, name)
        if new != old:
            altered[name] = [old, new]
            setattr(customer, name, new)
    customer_id = store.key_of(customer)
    if changes.add_tags or changes.remove_tags:
        altered |= _alter_words(
            session,
            "tags",
            store.tags_of(session, [customer]).get(customer_id, ()),
            (changes.add_tags, changes.remove_tags),
            lambda tag: CustomerTag(customer_id=customer_id, tag=tag),
            lambda tag: (tag, customer_id),
        )
    if changes.add_contacts or changes.remove_contacts:
        altered |= _alter_words(
            session,
            "contacts",
            store.contacts_of(session, [customer]).get(customer_id, ()),
            (changes.add_contacts, changes.remove_contacts),
            lambda address: Contact(customer_id=customer_id, address=address),
            lambda address: (customer_id, address),
        )
    if "email" in altered or "contacts" in altered:
        session.flush()
        readdress(session, customer_id, store.addresses_of(session, customer), at)
    if altered:
        _changed(session, customer, "customer_edited", at, actor, altered)
    return bool(altered)


def _alter_words(
    session: Session,
    what: str,
    old: tuple[str, ...],
    wanted: tuple[tuple[str, ...], tuple[str, ...]],
    make: Callable[[str], Contact | CustomerTag],
    key: Callable[[str], tuple[int | str, int | str]],
) -> dict[str, object]:
    add, remove = wanted
    new = tuple(sorted({*old, *add} - set(remove)))
    for word in set(new) - set(old):
        session.add(make(word))
    for word in set(old) - set(new):
        session.delete(session.get_one(type(make(word)), key(word)))
    return {} if new == old else {what: [list(old), list(new)]}


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


def pause(
    session: Session,
    customer: Customer,
    reason: str,
    *,
    at: datetime,
    actor: str,
    until: datetime | None = None,
) -> bool:
    """Stops everything for this customer until ``resume``; True if that was not so already.

    Args:
        until: when it ends by itself (aware UTC, after ``at``); None: when a person says so.

    Raises:
        Refused: ``pause_end_past``.
    """
    if until is not None and until <= at:
        raise refuse(
            "pause_end_past",
            f"{until:%Y-%m-%d} is not in the future, so nothing would be paused.",
            "Give a later date, or none.",
        )
    wanted = (reason, until)
    if customer.paused_at is not None and (customer.paused_reason, customer.paused_until) == wanted:
        return False
    customer.paused_at = customer.paused_at or at
    customer.paused_reason, customer.paused_until = wanted
    detail: dict[str, object] = {
        "reason": reason,
        "until": None if until is None else until.isoformat(),
    }
    _changed(session, customer, "customer_paused", at, actor, detail)
    return True


def resume(session: Session, customer: Customer, *, at: datetime, actor: str) -> bool:
    """Takes a paused customer up again; what is owed by now is done at the next tick.

    True if the customer was paused.
    """
    if customer.paused_at is None:
        return False
    customer.paused_at = customer.paused_reason = customer.paused_until = None
    take_up(session, store.key_of(customer), at)
    _changed(session, customer, "customer_resumed", at, actor, {})
    return True


def offboard(session: Session, customer: Customer, *, at: datetime, actor: str) -> bool:
    """Ends the care for this customer. Records stay; an open renewal is cancelled.

    True if the customer was in care.
    """
    if customer.offboarded_at is not None:
        return False
    customer.offboarded_at = at
    _changed(session, customer, "customer_offboarded", at, actor, {})
    return True


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
        opened_by=actor[:200],
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
