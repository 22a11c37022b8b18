"""One customer: as the document of ``--json``, and as lines for people."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console
    from sqlmodel import Session

    from lifecycle.vendor.store import CustomerRecord
    from lifecycle.vendor_side import VendorSide

BATCH = 500


def document_of(side: VendorSide, slug: str, now: datetime) -> dict[str, Any]:
    from dataclasses import asdict

    from lifecycle.vendor import deployments, store
    from lifecycle.vendor.reporting import next_step, target_rows

    with side.database.reading() as session:
        record = store.load(session, store.customer_by_slug(session, slug))
        customer, key = record.customer, store.key_of(record.customer)
        contacts = store.contacts_of(session, [customer]).get(key, ())
        refused = store.bounced(session, [customer.email, *contacts])
        targets = target_rows(deployments.of_customers(session, [customer]).get(key, ()))
        acts, step = next_step(session, record, side.policy, now, targets)
        return {
            **facts_of(record, side, now),
            "contacts": list(contacts),
            "bounced": [f"{b.address} since {b.at:%Y-%m-%d}: {b.why}" for b in refused],
            "tags": list(store.tags_of(session, [customer]).get(key, ())),
            "acts": acts,
            "next_step": step,
            "instance": _instance(session, record, now),
            "deployments": [asdict(one) for one in targets],
            "history": [
                {
                    "id": past.id,
                    "reason": past.reason,
                    "state": past.state,
                    "opened_at": past.opened_at,
                    "ended_at": past.ended_at,
                }
                for past in store.renewals_of(session, customer)
            ],
        }


def _instance(session: Session, record: CustomerRecord, now: datetime) -> dict[str, Any]:
    """Where the customer's instance runs, and whether it is heard of."""
    from lifecycle.vendor import credentials, invitations

    known = credentials.living(session, record.customer)
    invited = invitations.open_invitation(session, record.customer, now)
    facts = record.facts
    return {
        "where": "its own machine" if facts.remote else "embedded",
        "heard_at": None if facts.instance is None else facts.instance.heard_at.isoformat(),
        "version": known[0].version if known else None,
        "credential": known[0].id if known else None,
        "invited_until": None if invited is None else invited.expires_at.isoformat(),
    }


def facts_of(record: CustomerRecord, side: VendorSide, now: datetime) -> dict[str, Any]:
    from lifecycle.vendor.plan import status

    row, active, renewal, check = record.customer, record.active, record.renewal, record.latest
    return {
        "slug": row.slug,
        "name": row.name,
        "email": row.email,
        "apple_account": row.apple_account,
        "kind": row.kind,
        "status": str(status(record.facts, side.policy, now)),
        "paused_reason": row.paused_reason,
        "paused_until": row.paused_until,
        "language": row.language,
        "notes": row.notes,
        "offboarded_at": row.offboarded_at,
        "certificate": None
        if active is None
        else {
            "topic": active.topic,
            "common_name": active.common_name,
            "serial": active.serial,
            "not_after": active.not_after.isoformat(),
            "fingerprint": active.fingerprint,
        },
        "renewal": None
        if renewal is None
        else {
            "id": renewal.id,
            "state": renewal.state,
            "reason": renewal.reason,
            "opened_at": renewal.opened_at.isoformat(),
            "blocked_by": renewal.blocked_code,
            "blocked_message": renewal.blocked_message,
        },
        "isolation": None
        if check is None
        else {
            "verdict": check.verdict,
            "why": check.why,
            "concluded_at": None if check.concluded_at is None else check.concluded_at.isoformat(),
        },
    }


def add_words(session: Session, documents: Sequence[dict[str, Any]]) -> None:
    """Adds tags and contacts to documents of ``facts_of``, with few queries for many."""
    from sqlmodel import col, select

    from lifecycle.vendor import store
    from lifecycle.vendor.models import Customer

    for start in range(0, len(documents), BATCH):
        batch = documents[start : start + BATCH]
        slugs = [document["slug"] for document in batch]
        customers = session.exec(select(Customer).where(col(Customer.slug).in_(slugs))).all()
        keys = {customer.slug: store.key_of(customer) for customer in customers}
        tags, contacts = store.tags_of(session, customers), store.contacts_of(session, customers)
        for document in batch:
            key = keys[document["slug"]]
            document["contacts"] = list(contacts.get(key, ()))
            document["tags"] = list(tags.get(key, ()))


def print_list(documents: Sequence[dict[str, Any]], out: Console) -> None:
    """What ``customer list`` prints: a line for each."""
    from rich.table import Table
    from rich.text import Text

    from cli.report_table import STYLES

    table = Table("slug", "name", "status", "expires", "Apple Account", box=None)
    for one in documents:
        certificate = one["certificate"]
        stands = "off-boarded" if one["offboarded_at"] else one["status"]
        table.add_row(
            Text(one["slug"], overflow="fold"),
            Text(one["name"]),
            Text(stands, style=STYLES.get(stands, "dim")),
            "" if certificate is None else certificate["not_after"][:10],
            Text(one["apple_account"] or "unknown"),
        )
    out.print(table)


def print_customer(document: dict[str, Any], out: Console) -> None:
    """What ``customer show`` prints of a document: what is known, in the order one asks."""
    from rich.table import Table
    from rich.text import Text

    from cli.report_table import STYLES

    status = document["status"]
    heading = Text(f"{document['slug']}  {document['name']}  ", style="bold")
    stands = "off-boarded" if document["offboarded_at"] else status
    out.print(heading + Text(stands, style=STYLES.get(status, "")))
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for label, value in _lines(document):
        table.add_row(Text(label, style="dim"), Text(value))
    out.print(table)


def _lines(document: dict[str, Any]) -> Iterator[tuple[str, str]]:
    acts = "" if document["acts"] == "nobody" else f" ({document['acts']} must act)"
    yield "next", f"{document['next_step']}{acts}"
    certificate = document["certificate"]
    if certificate is not None:
        ends = datetime.fromisoformat(certificate["not_after"])
        yield "certificate", f"{certificate['common_name']}, serial {certificate['serial']}"
        yield "until", f"{ends:%Y-%m-%d %H:%M} UTC"
        yield "topic", certificate["topic"]
    yield "Apple Account", document["apple_account"] or "unknown"
    yield "messages to", ", ".join((document["email"], *document["contacts"]))
    for refused in document["bounced"]:
        yield "refused", refused
    yield from _renewal(document["renewal"])
    isolation = document["isolation"]
    if isolation is not None and isolation["concluded_at"] is not None:
        when = datetime.fromisoformat(isolation["concluded_at"])
        yield "isolation", f"{isolation['verdict']} on {when:%Y-%m-%d}: {isolation['why']}"
    yield "instance", _of_instance(document["instance"])
    for one in document["deployments"]:
        since = "" if one["since"] is None else f" since {one['since']:%Y-%m-%d}"
        stands = "deployed" if one["code"] is None else f"not deployed{since}: {one['message']}"
        yield f"target {one['target']}", f"{one['kind']}, {stands}"
    for label, key in (("language", "language"), ("notes", "notes")):
        if document[key]:
            yield label, document[key]
    if document["tags"]:
        yield "tags", ", ".join(document["tags"])
    if document["kind"] != "customer":
        yield "kind", document["kind"]
    for past in document["history"]:
        end = "open" if past["ended_at"] is None else f"{past['state']} {past['ended_at']:%Y-%m-%d}"
        yield (
            f"renewal {past['id']}",
            f"{past['reason']}, opened {past['opened_at']:%Y-%m-%d}, {end}",
        )


def _of_instance(instance: dict[str, Any]) -> str:
    heard, version, until = (instance[key] for key in ("heard_at", "version", "invited_until"))
    said = [instance["where"]]
    if version is not None:
        said.append(f"version {version}")
    if heard is not None:
        said.append(f"heard of {datetime.fromisoformat(heard):%Y-%m-%d %H:%M} UTC")
    if until is not None:
        said.append(f"invited until {datetime.fromisoformat(until):%Y-%m-%d %H:%M} UTC")
    return ", ".join(said)


def _renewal(renewal: dict[str, Any] | None) -> Iterator[tuple[str, str]]:
    if renewal is None:
        return
    opened = datetime.fromisoformat(renewal["opened_at"])
    said = f"{renewal['state']}, opened {opened:%Y-%m-%d %H:%M} UTC ({renewal['reason']})"
    yield "open renewal", said
    if renewal["blocked_message"]:
        yield "held up", renewal["blocked_message"]
