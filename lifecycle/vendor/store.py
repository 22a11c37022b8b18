"""Reads the planner's facts from the vendor's tables, and finds the customers that are due."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any

from sqlalchemy import bindparam
from sqlalchemy.orm import aliased
from sqlmodel import Session, col, func, or_, select, update
from sqlmodel.sql.expression import Select, SelectOfScalar

from lifecycle.errors import refuse
from lifecycle.pki.fingerprints import fingerprint
from lifecycle.vendor.database import writes
from lifecycle.vendor.facts import (
    OPEN_STATES,
    CertificateFacts,
    CustomerFacts,
    CustomerKind,
    InstanceFacts,
    IsolationFacts,
    RenewalFacts,
    RenewalReason,
    RenewalState,
    SignerFacts,
    Verdict,
)
from lifecycle.vendor.models import (
    Bounce,
    Certificate,
    Contact,
    Customer,
    CustomerTag,
    IsolationCheck,
    OutboxMessage,
    Renewal,
    Signer,
    TokenClaim,
)

ACTIVE = "active"
RECEIVED = "received"
SUPERSEDED = "superseded"
REJECTED = "rejected"

LOCKED_AT_A_TIME = 5000


def key_of(row: Customer | Certificate | Renewal | Signer | IsolationCheck) -> int:
    """The primary key of a row that has been stored."""
    if row.id is None:
        raise ValueError(f"{type(row).__name__} has not been stored yet")
    return row.id


def customer_by_slug(session: Session, slug: str) -> Customer:
    """The customer with this slug; locked until the end of a transaction that writes.

    Raises:
        Refused: ``customer_unknown``.
    """
    customer = session.exec(_locked(session, select(Customer).where(Customer.slug == slug))).first()
    if customer is None:
        raise refuse(
            "customer_unknown",
            f"There is no customer '{slug}'.",
            "See `pushcert customer list` for the slugs, or add it with `pushcert customer add`.",
        )
    return customer


def customer_by_id(session: Session, customer_id: int) -> Customer:
    """The customer with this key, which exists; locked until the end of a transaction that
    writes."""
    return session.exec(_locked(session, _customer()), params={"id": customer_id}).one()


def customers_by_slug(session: Session, slugs: Sequence[str]) -> list[Customer]:
    """Those of the customers that there are, by key; locked like one."""
    return list(session.exec(_locked(session, _with_slugs()), params={"slugs": slugs}))


def lock_customers(session: Session, ids: Sequence[int]) -> None:
    """Locks many customers in a transaction that writes. Always in the order of their keys, so
    that two that lock many do not wait for each other."""
    for start in range(0, len(ids), LOCKED_AT_A_TIME):
        part = sorted(ids)[start : start + LOCKED_AT_A_TIME]
        chosen = select(Customer).where(col(Customer.id).in_(part)).order_by(col(Customer.id))
        session.exec(_locked(session, chosen)).all()


def _locked(session: Session, statement: SelectOfScalar[Customer]) -> SelectOfScalar[Customer]:
    # Not against rows that refer to the customer: those may be written meanwhile. SQLite, with
    # its one writer, leaves the clause out.
    if not writes(session):
        return statement
    return statement.with_for_update(key_share=True).execution_options(populate_existing=True)


def active_certificate(session: Session, customer: Customer) -> Certificate | None:
    """The certificate the customer's instance pushes with, or None."""
    return session.exec(
        select(Certificate).where(
            Certificate.customer_id == customer.id, Certificate.state == ACTIVE
        )
    ).first()


def received_certificate(session: Session, renewal: Renewal) -> Certificate | None:
    """The certificate accepted for this renewal and not activated yet, or None."""
    return session.exec(
        select(Certificate).where(
            Certificate.renewal_id == renewal.id, Certificate.state == RECEIVED
        )
    ).first()


def open_renewal(session: Session, customer: Customer) -> Renewal | None:
    """The customer's open renewal, or None; the database allows no second one."""
    return session.exec(
        select(Renewal).where(
            Renewal.customer_id == customer.id, col(Renewal.state).in_(OPEN_STATES)
        )
    ).first()


def approvers(renewal: Renewal) -> tuple[str, ...]:
    """Who has approved the signature of the CSR that the renewal has now."""
    if not renewal.approvals or renewal.csr is None:
        return ()
    of_this = fingerprint(renewal.csr)
    return tuple(str(one["by"]) for one in renewal.approvals if one["csr"] == of_this)


def current_signer(session: Session) -> Signer | None:
    """The MDM signing certificate that requests are signed with now, or None."""
    return session.exec(_signer_in_force()).first()


def slugs_of_kind(session: Session, kind: CustomerKind) -> list[str]:
    """Slugs of all customers of this kind that are in care, sorted."""
    return list(
        session.exec(
            select(Customer.slug)
            .where(Customer.kind == kind, col(Customer.offboarded_at).is_(None))
            .order_by(Customer.slug)
        )
    )


def customers_in_care(session: Session, tags: Sequence[str] = ()) -> list[Customer]:
    """All customers in care, by slug; only those with one of the tags, if any are given."""
    statement = select(Customer).where(col(Customer.offboarded_at).is_(None))
    if tags:
        tagged = select(CustomerTag.customer_id).where(col(CustomerTag.tag).in_(tags))
        statement = statement.where(col(Customer.id).in_(tagged))
    found = session.exec(_locked(session, statement.order_by(col(Customer.id))))
    return sorted(found, key=lambda customer: customer.slug)


def renewals_of(session: Session, customer: Customer, limit: int = 10) -> list[Renewal]:
    """The customer's renewals, newest first."""
    return list(
        session.exec(
            select(Renewal)
            .where(Renewal.customer_id == customer.id)
            .order_by(col(Renewal.id).desc())
            .limit(limit)
        )
    )


def signer_by_fingerprint(session: Session, fingerprint: str) -> Signer | None:
    """A signer that is or was in force, or None."""
    return session.exec(select(Signer).where(Signer.fingerprint == fingerprint)).first()


def ordered_check(session: Session, customer: Customer) -> IsolationCheck | None:
    """The isolation check whose evidence is outstanding, or None."""
    return session.exec(
        select(IsolationCheck).where(
            IsolationCheck.customer_id == customer.id, col(IsolationCheck.verdict).is_(None)
        )
    ).first()


def latest_check(session: Session, customer: Customer) -> IsolationCheck | None:
    """The isolation check that was judged last, or None."""
    return session.exec(
        select(IsolationCheck)
        .where(IsolationCheck.customer_id == customer.id, col(IsolationCheck.verdict).is_not(None))
        .order_by(col(IsolationCheck.concluded_at).desc(), col(IsolationCheck.id).desc())
        .limit(1)
    ).first()


def ladder_name(active: Certificate | None, renewal: Renewal | None) -> str | None:
    """Which ladder the outbox books rungs on: of the active certificate, else of the renewal."""
    if active is not None:
        return f"certificate:{active.id}"
    return None if renewal is None else f"renewal:{renewal.id}"


@dataclass(frozen=True, slots=True)
class CustomerRecord:
    """One customer's rows as they stand in one transaction, and the facts made of them.

    ``ordered`` and ``latest`` are checks of the active certificate only.
    """

    customer: Customer
    active: Certificate | None
    renewal: Renewal | None
    received: Certificate | None
    ordered: IsolationCheck | None
    latest: IsolationCheck | None
    facts: CustomerFacts


def load(session: Session, customer: Customer) -> CustomerRecord:
    """Everything the planner needs to know about one customer."""
    return load_many(session, (customer,))[0]


def load_many(session: Session, customers: Sequence[Customer]) -> list[CustomerRecord]:
    """The same of many customers, in their order, with as many queries as for one."""
    ids = [key_of(customer) for customer in customers]
    of_these = {"customers": ids}
    actives = {row.customer_id: row for row in session.exec(_actives(), params=of_these)}
    renewals = {row.customer_id: row for row in session.exec(_open_renewals(), params=of_these)}
    opened = {"renewals": [row.id for row in renewals.values()]}
    received = {row.renewal_id: row for row in session.exec(_received(), params=opened)}
    ordered = {row.customer_id: row for row in session.exec(_ordered_checks(), params=of_these)}
    latest = {row.customer_id: row for row in session.exec(_latest_checks(), params=of_these)}
    ladders = {
        name: id_
        for id_ in ids
        if (name := ladder_name(actives.get(id_), renewals.get(id_))) is not None
    }
    told: dict[int, set[str]] = {}
    for name, rung in session.exec(_rungs(), params={"ladders": list(ladders)}):
        if name is not None and rung is not None:
            told.setdefault(ladders[name], set()).add(rung)
    signer = signer_facts(current_signer(session))
    instances = _instances(session, [key_of(c) for c in customers if c.remote])
    return [
        _record(
            customer,
            active := actives.get(id_),
            renewal := renewals.get(id_),
            None if renewal is None else received.get(renewal.id),
            _of_certificate(ordered.get(id_), active),
            _of_certificate(latest.get(id_), active),
            frozenset(told.get(id_, ())),
            signer,
            instances.get(id_),
        )
        for id_, customer in zip(ids, customers, strict=True)
    ]


def _instances(session: Session, ids: Sequence[int]) -> dict[int, InstanceFacts]:
    """Those of these customers' instances that may ask, and when they were heard of last."""
    if not ids:
        return {}
    # Mapped here and not above: most registries have none, and it would slow every start.
    from lifecycle.vendor.access_models import InstanceCredential

    heard = func.max(func.coalesce(InstanceCredential.seen_at, InstanceCredential.created_at))
    found = session.exec(
        select(InstanceCredential.customer_id, heard)
        .where(
            col(InstanceCredential.customer_id).in_(ids),
            col(InstanceCredential.revoked_at).is_(None),
        )
        .group_by(col(InstanceCredential.customer_id))
    )
    return {customer_id: InstanceFacts(at) for customer_id, at in found}


# Made once. The worker asks these for each customer that is due, and to make the statements took
# it longer than to read what they find. A statement with the values in it is also one of the
# things that Python finds to be garbage late, and an import makes thousands.


@cache
def _customer() -> SelectOfScalar[Customer]:
    return select(Customer).where(col(Customer.id) == bindparam("id"))


@cache
def _with_slugs() -> SelectOfScalar[Customer]:
    chosen = select(Customer).where(col(Customer.slug).in_(bindparam("slugs")))
    return chosen.order_by(col(Customer.id))


@cache
def _words(of: Any, word: Any) -> Select[int, str]:
    return select(of, word).where(col(of).in_(bindparam("customers"))).order_by(col(word))


@cache
def _signer_in_force() -> SelectOfScalar[Signer]:
    return select(Signer).where(col(Signer.retired_at).is_(None))


@cache
def _actives() -> SelectOfScalar[Certificate]:
    return select(Certificate).where(
        col(Certificate.customer_id).in_(bindparam("customers")), Certificate.state == ACTIVE
    )


@cache
def _open_renewals() -> SelectOfScalar[Renewal]:
    return select(Renewal).where(
        col(Renewal.customer_id).in_(bindparam("customers")), col(Renewal.state).in_(OPEN_STATES)
    )


@cache
def _received() -> SelectOfScalar[Certificate]:
    return select(Certificate).where(
        col(Certificate.renewal_id).in_(bindparam("renewals")), Certificate.state == RECEIVED
    )


@cache
def _ordered_checks() -> SelectOfScalar[IsolationCheck]:
    return select(IsolationCheck).where(
        col(IsolationCheck.customer_id).in_(bindparam("customers")),
        col(IsolationCheck.verdict).is_(None),
    )


@cache
def _rungs() -> Select[str | None, str | None]:
    return select(OutboxMessage.ladder, OutboxMessage.rung).where(
        col(OutboxMessage.ladder).in_(bindparam("ladders"))
    )


@cache
def _latest_checks() -> SelectOfScalar[IsolationCheck]:
    """The check that was judged last, of each; one look at the index for each customer."""
    check = aliased(IsolationCheck)
    newest = (
        select(check.id)
        .where(check.customer_id == Customer.id, col(check.verdict).is_not(None))
        .order_by(col(check.concluded_at).desc(), col(check.id).desc())
        .limit(1)
        .correlate(Customer)
        .scalar_subquery()
    )
    found = select(IsolationCheck).join(Customer, col(IsolationCheck.id) == newest)
    return found.where(col(Customer.id).in_(bindparam("customers")))


def _record(
    customer: Customer,
    active: Certificate | None,
    renewal: Renewal | None,
    received: Certificate | None,
    ordered: IsolationCheck | None,
    latest: IsolationCheck | None,
    told: frozenset[str],
    signer: SignerFacts | None,
    instance: InstanceFacts | None,
) -> CustomerRecord:
    facts = CustomerFacts(
        slug=customer.slug,
        paused=customer.paused_at is not None,
        paused_until=customer.paused_until,
        offboarded=customer.offboarded_at is not None,
        kind=CustomerKind(customer.kind),
        active=None if active is None else _certificate_facts(active),
        renewal=None if renewal is None else _renewal_facts(renewal, received is not None),
        isolation=IsolationFacts(
            ordered=ordered is not None,
            concluded_at=None if latest is None else latest.concluded_at,
            verdict=None if latest is None or latest.verdict is None else Verdict(latest.verdict),
        ),
        told=told,
        signer=signer,
        remote=customer.remote,
        instance=instance,
    )
    return CustomerRecord(customer, active, renewal, received, ordered, latest, facts)


def _of_certificate(
    check: IsolationCheck | None, active: Certificate | None
) -> IsolationCheck | None:
    # What was ordered for, or said about, a superseded certificate says nothing about this one.
    if check is None or active is None or check.certificate_id != active.id:
        return None
    return check


def _certificate_facts(row: Certificate) -> CertificateFacts:
    return CertificateFacts(
        id=key_of(row),
        topic=row.topic,
        serial=row.serial,
        common_name=row.common_name,
        not_before=row.not_before,
        not_after=row.not_after,
        activated_at=row.activated_at or row.recorded_at,
        revoked_at=row.revoked_at,
        revocation_checked_at=row.revocation_checked_at,
        names_responder=row.names_responder,
    )


def _renewal_facts(row: Renewal, received: bool) -> RenewalFacts:
    return RenewalFacts(
        id=key_of(row),
        state=RenewalState(row.state),
        reason=RenewalReason(row.reason),
        opened_at=row.opened_at,
        delivered_at=row.delivered_at,
        request_dies_at=row.request_dies_at,
        received=received,
        blocked_code=row.blocked_code,
        opened_by=row.opened_by,
        approved_by=approvers(row),
    )


def signer_facts(row: Signer | None) -> SignerFacts | None:
    """What the planner needs to know about the signer in force."""
    if row is None:
        return None
    return SignerFacts(
        row.fingerprint,
        row.not_before,
        row.not_after,
        unavailable_since=row.unavailable_since,
        unavailable_why=row.unavailable_why,
    )


def due_customers(session: Session, now: datetime, limit: int) -> list[int]:
    """Ids of at most ``limit`` customers that must be looked at, longest overdue first."""
    return [found for found in session.exec(due_statement(now, limit)) if found is not None]


def due_statement(now: datetime, limit: int) -> SelectOfScalar[int | None]:
    """The due query; a test asserts that it runs on the index of ``next_action_at``."""
    return (
        select(col(Customer.id))
        .where(col(Customer.next_action_at) <= now)
        .order_by(col(Customer.next_action_at), col(Customer.id))
        .limit(limit)
    )


def wake_customers_with_open_renewals(session: Session, now: datetime) -> None:
    """Makes everybody due whose renewal may have waited for a signer."""
    waiting = select(Renewal.customer_id).where(col(Renewal.state).in_(OPEN_STATES))
    lock_customers(session, list(session.exec(waiting)))
    session.exec(update(Customer).where(col(Customer.id).in_(waiting)).values(next_action_at=now))


def tags_of(session: Session, customers: Sequence[Customer]) -> dict[int, tuple[str, ...]]:
    """The tags of each, sorted, by the customer's key; without those that have none."""
    return _words_of(session, customers, CustomerTag.customer_id, CustomerTag.tag)


def contacts_of(session: Session, customers: Sequence[Customer]) -> dict[int, tuple[str, ...]]:
    """The further addresses of each, sorted, by the customer's key."""
    return _words_of(session, customers, Contact.customer_id, Contact.address)


def addresses_of(session: Session, customer: Customer) -> tuple[str, ...]:
    """Everybody who gets a customer's messages, the main address first."""
    others = contacts_of(session, [customer]).get(key_of(customer), ())
    return tuple(dict.fromkeys((customer.email, *others)))


def count_tokens(session: Session, customer: Customer) -> int:
    """How many device tokens the customer's instance has told of, by their fingerprints."""
    of = TokenClaim.customer_id == customer.id
    return session.exec(select(func.count()).select_from(TokenClaim).where(of)).one()


def bounced(session: Session, addresses: Iterable[str]) -> list[Bounce]:
    """Those of the addresses that a mail server refused for good, sorted."""
    return list(
        session.exec(
            select(Bounce)
            .where(col(Bounce.address).in_(list(addresses)))
            .order_by(col(Bounce.address))
        )
    )


def bounces_in_use(session: Session, others: Iterable[str] = ()) -> list[Bounce]:
    """Refused addresses that customers in care still have, or that are among ``others``; sorted."""
    in_care = col(Customer.offboarded_at).is_(None)
    main = select(Customer.email).where(in_care)
    further = select(Contact.address).join(Customer).where(in_care)
    address = col(Bounce.address)
    statement = select(Bounce).where(
        or_(address.in_(main), address.in_(further), address.in_(list(others)))
    )
    return list(session.exec(statement.order_by(address)))


def customers_at(session: Session, address: str) -> list[Customer]:
    """Customers in care that have this address, as the main one or as a further one."""
    at_further = select(Contact.customer_id).where(Contact.address == address)
    return list(
        session.exec(
            select(Customer)
            .where(
                col(Customer.offboarded_at).is_(None),
                or_(Customer.email == address, col(Customer.id).in_(at_further)),
            )
            .order_by(col(Customer.slug))
        )
    )


def _words_of(
    session: Session, customers: Sequence[Customer], of: Any, word: Any
) -> dict[int, tuple[str, ...]]:
    ids = [key_of(customer) for customer in customers]
    found: dict[int, tuple[str, ...]] = {}
    if not ids:
        return found
    for customer_id, said in session.exec(_words(of, word), params={"customers": ids}):
        found[customer_id] = (*found.get(customer_id, ()), said)
    return found


def all_records(
    session: Session,
    *,
    offboarded: bool = False,
    tags: Sequence[str] = (),
    batch: int = 500,
) -> Iterator[CustomerRecord]:
    """Every customer in slug order, loaded in batches so that memory does not grow.

    Args:
        offboarded: those who have left as well.
        tags: only customers with one of these; empty: all.
    """
    last = ""
    while True:
        statement = select(Customer).where(col(Customer.slug) > last)
        if tags:
            tagged = select(CustomerTag.customer_id).where(col(CustomerTag.tag).in_(tags))
            statement = statement.where(col(Customer.id).in_(tagged))
        if not offboarded:
            statement = statement.where(col(Customer.offboarded_at).is_(None))
        rows = session.exec(statement.order_by(col(Customer.slug)).limit(batch)).all()
        yield from load_many(session, rows)
        if len(rows) < batch:
            return
        last = rows[-1].slug
        session.expunge_all()
