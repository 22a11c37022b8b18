"""Many customers at once: import, all of them or none, and export."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any

from sqlalchemy.exc import IntegrityError
from sqlmodel import Session

from lifecycle.errors import DatabaseLost, Finding, Refused, refuse
from lifecycle.pki.push_certificate import PushCertificate
from lifecycle.pki.upload import read_upload
from lifecycle.spool import Spool
from lifecycle.vendor import audit, registry, store
from lifecycle.vendor.bad_rows import BadRow, BadRows, no_bad_rows
from lifecycle.vendor.customer_file import Row
from lifecycle.vendor.database import Database, plan_each_time
from lifecycle.vendor.facts import CustomerKind
from lifecycle.vendor.models import Customer
from lifecycle.vendor.seen_rows import First, SeenRows

BATCH = 500


@dataclass(slots=True)
class ImportOutcome:
    """How many customers were added, changed, or there already, and the lines left out."""

    added: int = 0
    changed: int = 0
    unchanged: int = 0
    bad: Spool[BadRow] = field(default_factory=no_bad_rows)


@dataclass(slots=True)
class _Import:
    """One import under way."""

    session: Session
    read_certificate: Callable[[Path], bytes]
    update: bool
    at: datetime
    actor: str
    outcome: ImportOutcome
    seen: SeenRows = field(default_factory=SeenRows)
    """The good rows that the file has had so far."""
    waiting: list[registry.NewCustomer] = field(default_factory=list)
    """Who is to be added with the batch: one statement for all costs a tenth of one for each."""


def import_customers(
    database: Database,
    rows: Iterable[Row],
    *,
    read_certificate: Callable[[Path], bytes],
    keep_going: bool,
    at: datetime,
    actor: str,
    update: bool = False,
    dry_run: bool = False,
) -> ImportOutcome:
    """Adds the customers of all rows in one transaction.

    A row that is recorded as it stands changes nothing, so that a file can be imported again.

    Args:
        read_certificate: gives the bytes of a row's certificate file; raises ``Refused``.
        keep_going: import the good rows even though others are bad.
        at, actor: for the audit log.
        update: change customers that are recorded otherwise, instead of refusing the row.
        dry_run: say what would be, and write nothing.

    Raises:
        BadRows: rows are bad and ``keep_going`` is off; nothing was imported.
    """
    outcome = ImportOutcome()
    opened = database.trial if dry_run else database.transaction
    try:
        with opened() as session, audit.together(session):
            plan_each_time(session)
            work = _Import(session, read_certificate, update, at, actor, outcome)
            for batch in _batches(rows):
                known = _known(session, batch)
                for row in batch:
                    _import_row(work, row, known)
                _add_waiting(work)
                session.flush()
                session.expunge_all()
            if outcome.bad and not keep_going:
                raise BadRows(outcome.bad)
    except IntegrityError:
        raise DatabaseLost(
            "Somebody else added one of these customers in the meantime; nothing was imported.",
            "Import the file again.",
        ) from None
    return outcome


def _batches(rows: Iterable[Row]) -> Iterator[list[Row]]:
    left = iter(rows)
    while batch := list(islice(left, BATCH)):
        yield batch


@dataclass(frozen=True, slots=True)
class _Known:
    """A customer that is in the registry already."""

    customer: Customer
    contacts: tuple[str, ...]
    tags: tuple[str, ...]


def _known(session: Session, batch: Sequence[Row]) -> dict[str, _Known]:
    slugs = [row.slug for row in batch]
    found = store.customers_by_slug(session, slugs)
    contacts, tags = store.contacts_of(session, found), store.tags_of(session, found)
    return {
        customer.slug: _Known(
            customer,
            contacts.get(store.key_of(customer), ()),
            tags.get(store.key_of(customer), ()),
        )
        for customer in found
    }


def _import_row(work: _Import, row: Row, known: dict[str, _Known]) -> None:
    first = work.seen.first(row)
    if first is not None:
        if first.same:
            work.outcome.unchanged += 1
        else:
            work.outcome.bad.add(BadRow(row.line, row.slug, (_twice(row, first),)))
        return
    try:
        certificate = _certificate(work, row)
        recorded = known.get(row.slug)
        if recorded is None:
            _add(work, row, certificate)
        else:
            _compare(work, row, recorded, certificate)
    except Refused as refused:
        work.outcome.bad.add(BadRow(row.line, row.slug, refused.findings))
    else:
        work.seen.add(row)


def _certificate(work: _Import, row: Row) -> PushCertificate | None:
    if not row.certificate:
        return None
    return read_upload(work.read_certificate(Path(row.certificate))).certificate


def _add(work: _Import, row: Row, certificate: PushCertificate | None) -> None:
    new = registry.NewCustomer(
        row.slug,
        row.name,
        row.email,
        row.apple_account or None,
        _kind_of(row),
        contacts=row.contacts,
        language=row.language or None,
        tags=row.tags,
        notes=row.notes or None,
    )
    findings = new.findings()
    if findings:  # known before anything is written, so that no savepoint is needed
        raise Refused(findings)
    if certificate is None:
        work.waiting.append(new)
    else:
        with work.session.begin_nested(), audit.together(work.session):
            customer = registry.add(work.session, new, at=work.at, actor=work.actor)
            registry.adopt(work.session, customer, certificate, at=work.at, actor=work.actor)
    work.outcome.added += 1


def _kind_of(row: Row) -> CustomerKind:
    try:
        return CustomerKind(row.kind or CustomerKind.CUSTOMER)
    except ValueError:
        raise refuse(
            "kind_unknown",
            f"'{row.kind[:20]}' is no kind of customer.",
            f"Write {' or '.join(CustomerKind)}, or nothing.",
        ) from None


def _add_waiting(work: _Import) -> None:
    new, work.waiting = work.waiting, []
    registry.add_all(work.session, new, at=work.at, actor=work.actor)


def _compare(
    work: _Import, row: Row, recorded: _Known, certificate: PushCertificate | None
) -> None:
    if row.kind and _kind_of(row) != recorded.customer.kind:
        raise refuse(
            "kind_fixed",
            f"'{row.slug}' is recorded as {recorded.customer.kind}, and that cannot be changed.",
            "Correct the line, or add the other one under a slug of its own.",
        )
    changes, other = _differences(row, recorded)
    if other and not work.update:
        raise Refused(
            Finding(
                "customer_differs",
                f"'{row.slug}' is recorded with other {', '.join(other)}.",
                "Give --update to change what is recorded, or correct the line.",
            )
        )
    findings = changes.findings()
    if findings:
        raise Refused(findings)
    with work.session.begin_nested(), audit.together(work.session):
        changed = bool(other) and registry.edit(
            work.session, recorded.customer, changes, at=work.at, actor=work.actor
        )
        if certificate is not None:
            before = store.active_certificate(work.session, recorded.customer)
            registry.adopt(
                work.session, recorded.customer, certificate, at=work.at, actor=work.actor
            )
            changed = changed or before is None
    work.outcome.changed += changed
    work.outcome.unchanged += not changed


def _differences(row: Row, recorded: _Known) -> tuple[registry.Changes, list[str]]:
    """What would have to be changed, and the names of the columns that differ."""
    customer = recorded.customer
    changes, other = registry.Changes(), []
    for name in ("name", "email", "apple_account", "language", "notes"):
        want = getattr(row, name)
        if name in row.given and want != (getattr(customer, name) or ""):
            changes = replace(changes, **{name: want})
            other.append(name.replace("_", " "))
    for name, have in (("contacts", recorded.contacts), ("tags", recorded.tags)):
        words = set(getattr(row, name))
        if name in row.given and words != set(have):
            several: dict[str, Any] = {
                f"add_{name}": tuple(sorted(words - set(have))),
                f"remove_{name}": tuple(sorted(set(have) - words)),
            }
            changes = replace(changes, **several)
            other.append(name)
    return changes, other


def _twice(row: Row, first: First) -> Finding:
    return Finding(
        "slug_twice",
        f"'{row.slug}' is in line {first.line} as well, with something else.",
        "Leave one of the two lines.",
    )


def exported(
    database: Database,
    *,
    offboarded: bool,
    tags: Sequence[str],
    save_certificate: Callable[[str, bytes], str] | None,
) -> Iterator[Row]:
    """Every customer as a row that can be imported again, in the order of the slugs.

    Args:
        offboarded: those who have left as well.
        tags: only customers with one of these; empty: all.
        save_certificate: keeps a customer's active certificate (slug, DER) and gives the path
            for the row; None: the rows name none.
    """
    with database.reading() as session:
        records = store.all_records(session, offboarded=offboarded, tags=tags)
        while batch := list(islice(records, BATCH)):
            customers = [record.customer for record in batch]
            all_contacts = store.contacts_of(session, customers)
            all_tags = store.tags_of(session, customers)
            for number, record in enumerate(batch, 1):
                customer, key = record.customer, store.key_of(record.customer)
                path = ""
                if save_certificate is not None and record.active is not None:
                    path = save_certificate(customer.slug, record.active.der)
                yield Row(
                    number,
                    customer.slug,
                    customer.name,
                    customer.email,
                    customer.apple_account or "",
                    path,
                    all_contacts.get(key, ()),
                    customer.language or "",
                    all_tags.get(key, ()),
                    customer.notes or "",
                    customer.kind,
                )
