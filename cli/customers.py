"""``customer``: the registry."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli import customer_files, invitations
from cli.invocation import AsJson, actor, console, invocation, print_json, read_file

if TYPE_CHECKING:
    from datetime import datetime

    from sqlmodel import Session

    from lifecycle.vendor.models import Customer
    from lifecycle.vendor.store import CustomerRecord
    from lifecycle.vendor_side import VendorSide

customer = typer.Typer(
    no_args_is_help=True, help="The registry of customers. Example: pushcert customer list"
)
Slug = Annotated[str, typer.Argument(help="The customer's slug.")]


def register(app: typer.Typer) -> None:
    """Adds these commands to the command line."""
    customer_files.add_to(customer)
    invitations.add_to(customer)
    app.add_typer(customer, name="customer")


@customer.command()
def add(
    ctx: typer.Context,
    slug: Slug,
    name: Annotated[str, typer.Option("--name", help="As people know the customer.")],
    email: Annotated[str, typer.Option("--email", help="Who gets requests and reminders.")],
    apple_account: Annotated[
        str | None,
        typer.Option("--apple-account", help="The Apple Account that owns the certificate."),
    ] = None,
    canary: Annotated[
        bool,
        typer.Option("--canary", help="The vendor's own tenant, whose device probes address."),
    ] = False,
    contact: Annotated[
        list[str] | None, typer.Option("--contact", help="A further address; repeatable.")
    ] = None,
    language: Annotated[
        str | None, typer.Option("--language", help="Of messages: en, de, fr, es or ja.")
    ] = None,
    tag: Annotated[
        list[str] | None, typer.Option("--tag", help="To pick many at once; repeatable.")
    ] = None,
    note: Annotated[str | None, typer.Option("--note", help="For ops alone.")] = None,
    as_json: AsJson = False,
) -> None:
    """Adds a customer; the first renewal opens by itself.

    Example: pushcert customer add acme --name 'Acme Corp' --email it@acme.example
    """
    from lifecycle.vendor import registry
    from lifecycle.vendor.facts import CustomerKind

    kind = CustomerKind.CANARY if canary else CustomerKind.CUSTOMER
    new = registry.NewCustomer(
        slug,
        name,
        email,
        apple_account,
        kind,
        contacts=tuple(contact or ()),
        language=language,
        tags=tuple(tag or ()),
        notes=note,
    )
    with invocation(ctx).vendor_side() as side:
        now = side.clock.now()
        with side.database.transaction() as session:
            registry.add(session, new, at=now, actor=actor())
        if as_json:
            print_json(_document(side, slug, now))
            return
    console().print(f"Added {slug}. Next: pushcert renew {slug}", markup=False)


@customer.command("list")
def list_customers(
    ctx: typer.Context,
    everyone: Annotated[bool, typer.Option("--all", help="Off-boarded customers as well.")] = False,
    tag: Annotated[
        list[str] | None, typer.Option("--tag", help="Only with this tag; repeatable.")
    ] = None,
    of_status: Annotated[
        list[str] | None, typer.Option("--status", help="Only of this status; repeatable.")
    ] = None,
    search: Annotated[
        str | None, typer.Option("--search", help="Only whose slug, name or address has this.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Lists the customers with their status.

    Example: pushcert customer list --tag region:emea --json
    """
    from rich.table import Table

    from lifecycle.vendor import store
    from lifecycle.vendor.facts import Status
    from lifecycle.vendor.plan import status

    for given in of_status or ():
        if given not in set(Status):
            raise typer.BadParameter(f"a status is one of {', '.join(Status)}")
    table = Table("slug", "name", "status", "expires", "Apple Account", box=None)
    documents = []
    with invocation(ctx).vendor_side() as side, side.database.reading() as session:
        now = side.clock.now()
        for record in store.all_records(session, offboarded=everyone, tags=tag or ()):
            row, active = record.customer, record.active
            stands = status(record.facts, side.policy, now)
            if of_status and (row.offboarded_at is not None or stands not in of_status):
                continue
            words = f"{row.slug} {row.name} {row.email} {row.apple_account or ''}".lower()
            if search and search.lower() not in words:
                continue
            if as_json:
                documents.append(_facts(record, side, now))
                continue
            table.add_row(
                row.slug,
                row.name,
                "off-boarded" if row.offboarded_at else stands,
                "" if active is None else f"{active.not_after:%Y-%m-%d}",
                row.apple_account or "unknown",
            )
    if as_json:
        print_json(documents)
    else:
        console().print(table)


@customer.command()
def show(ctx: typer.Context, slug: Slug, as_json: AsJson = False) -> None:
    """Shows one customer: certificate, renewal, isolation, and what comes next.

    Example: pushcert customer show acme
    """
    with invocation(ctx).vendor_side() as side:
        document = _document(side, slug, side.clock.now())
    if as_json:
        print_json(document)
        return
    out = console()
    history = document.pop("history")
    for key, value in document.items():
        if isinstance(value, dict):
            inner = ", ".join(f"{k} {v}" for k, v in value.items() if v is not None)
            out.print(f"{key.replace('_', ' ')}: {inner}", markup=False)
        elif isinstance(value, list):
            out.print(f"{key.replace('_', ' ')}: {', '.join(map(str, value)) or '-'}", markup=False)
        else:
            out.print(f"{key.replace('_', ' ')}: {'-' if value is None else value}", markup=False)
    for past in history:
        out.print(
            f"renewal {past['id']}: {past['reason']}, opened {past['opened_at']:%Y-%m-%d},"
            + (f" {past['state']} {past['ended_at']:%Y-%m-%d}" if past["ended_at"] else " open"),
            markup=False,
        )


Slugs = Annotated[list[str] | None, typer.Argument(help="The customers' slugs.")]
WithTag = Annotated[
    list[str] | None, typer.Option("--with-tag", help="Everybody with this tag; repeatable.")
]


@customer.command()
def pause(
    ctx: typer.Context,
    slugs: Slugs = None,
    with_tag: WithTag = None,
    reason: Annotated[str, typer.Option("--reason", help="Why; shown in reports.")] = "",
    until: Annotated[
        str | None, typer.Option("--until", help="Taken up again on this date, YYYY-MM-DD.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Stops renewals, reminders and checks for customers until they are resumed.

    Example: pushcert customer pause acme --reason 'contract on hold' --until 2027-06-01
    """
    from lifecycle.vendor import audit, registry

    end = None if until is None else date_option("--until", until)
    with (
        invocation(ctx).vendor_side() as side,
        side.database.transaction() as session,
        audit.together(session),
    ):
        chosen = choose(session, slugs, with_tag)
        now = side.clock.now()
        changed = [
            c.slug
            for c in chosen
            if registry.pause(session, c, reason, at=now, actor=actor(), until=end)
        ]
    _say_changed("Paused", changed, chosen, as_json)


@customer.command()
def resume(
    ctx: typer.Context, slugs: Slugs = None, with_tag: WithTag = None, as_json: AsJson = False
) -> None:
    """Takes paused customers up again; what is owed is done at the next tick.

    Example: pushcert customer resume acme
    """
    from lifecycle.vendor import audit, registry

    with (
        invocation(ctx).vendor_side() as side,
        side.database.transaction() as session,
        audit.together(session),
    ):
        chosen = choose(session, slugs, with_tag)
        now = side.clock.now()
        changed = [c.slug for c in chosen if registry.resume(session, c, at=now, actor=actor())]
    _say_changed("Resumed", changed, chosen, as_json)


@customer.command()
def offboard(
    ctx: typer.Context,
    slugs: Slugs = None,
    with_tag: WithTag = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Ends the care for customers who have left; records stay.

    Asks first when it is on a terminal.

    Example: pushcert customer offboard acme
    """
    from lifecycle.vendor import audit, registry

    with invocation(ctx).vendor_side() as side:
        with side.database.reading() as session:
            names = [c.slug for c in choose(session, slugs, with_tag)]
        if not yes and sys.stdin.isatty() and not as_json:
            typer.confirm(f"End the care for {', '.join(names)}?", abort=True)
        with side.database.transaction() as session, audit.together(session):
            chosen = choose(session, names, None)
            now = side.clock.now()
            changed = [
                c.slug for c in chosen if registry.offboard(session, c, at=now, actor=actor())
            ]
    _say_changed("Off-boarded", changed, chosen, as_json)


@customer.command()
def edit(
    ctx: typer.Context,
    slugs: Slugs = None,
    with_tag: WithTag = None,
    everyone: Annotated[bool, typer.Option("--all", help="Every customer in care.")] = False,
    name: Annotated[str | None, typer.Option("--name", help="As people know them.")] = None,
    email: Annotated[str | None, typer.Option("--email", help="The main address.")] = None,
    apple_account: Annotated[
        str | None, typer.Option("--apple-account", help="Owns the certificate; '' for unknown.")
    ] = None,
    language: Annotated[
        str | None, typer.Option("--language", help="en, de, fr, es or ja; '' for the vendor's.")
    ] = None,
    note: Annotated[str | None, typer.Option("--note", help="For ops alone; '' for none.")] = None,
    add_tag: Annotated[list[str] | None, typer.Option("--add-tag", help="Repeatable.")] = None,
    remove_tag: Annotated[
        list[str] | None, typer.Option("--remove-tag", help="Repeatable.")
    ] = None,
    add_contact: Annotated[
        list[str] | None, typer.Option("--add-contact", help="A further address; repeatable.")
    ] = None,
    remove_contact: Annotated[
        list[str] | None, typer.Option("--remove-contact", help="Repeatable.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say who would be changed, and change nothing.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Changes what is recorded about customers: all of them, or none if anything is wrong.

    Example: pushcert customer edit --with-tag region:emea --language de
    """
    from lifecycle.vendor import audit, registry

    wanted = registry.Changes(
        name,
        email,
        apple_account,
        language,
        note,
        *(tuple(words or ()) for words in (add_tag, remove_tag, add_contact, remove_contact)),
    )
    if wanted == registry.Changes():
        raise typer.BadParameter("say what to change, such as --language de")
    with invocation(ctx).vendor_side() as side:
        opened = side.database.trial if dry_run else side.database.transaction
        with opened() as session, audit.together(session):
            chosen = choose(session, slugs, with_tag, everyone=everyone)
            if len(chosen) > 1 and (name is not None or email is not None):
                raise typer.BadParameter("--name and --email are for one customer")
            now = side.clock.now()
            changed = [
                c.slug for c in chosen if registry.edit(session, c, wanted, at=now, actor=actor())
            ]
    _say_changed("Would change" if dry_run else "Changed", changed, chosen, as_json)


@customer.command()
def adopt(
    ctx: typer.Context,
    slug: Slug,
    file: Annotated[Path, typer.Argument(help="The certificate in use; - for stdin.")],
    apple_account: Annotated[
        str | None,
        typer.Option("--apple-account", help="The Apple Account that owns it, if it is known."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Records the certificate that a customer already uses, so that it is renewed in time.

    Only the public part is taken. An unknown Apple Account is allowed, and stays in reports
    until it is known: without it nobody can renew.

    Example: pushcert customer adopt acme 'MDM_ Example_Certificate.pem'
    """
    from lifecycle.pki.upload import read_upload
    from lifecycle.vendor import registry, store

    certificate = read_upload(read_file(file)).certificate
    with invocation(ctx).vendor_side() as side:
        now = side.clock.now()
        with side.database.transaction() as session:
            found = store.customer_by_slug(session, slug)
            if apple_account is not None:
                changes = registry.Changes(apple_account=apple_account)
                registry.edit(session, found, changes, at=now, actor=actor())
            registry.adopt(session, found, certificate, at=now, actor=actor())
            account = found.apple_account
        document = _document(side, slug, now)
    if as_json:
        print_json(document)
    else:
        console().print(
            f"{slug} uses {certificate.common_name}, serial {certificate.serial},"
            f" until {certificate.not_after:%Y-%m-%d}.",
            markup=False,
        )
    if certificate.not_after <= now:
        print("note: this certificate has expired already; renew it at once.", file=sys.stderr)
    if account is None:
        print(
            "note: the Apple Account is not known. Find out which one it is before the renewal:"
            f" pushcert customer edit {slug} --apple-account ADDRESS",
            file=sys.stderr,
        )


def choose(
    session: Session, slugs: list[str] | None, tags: list[str] | None, *, everyone: bool = False
) -> list[Customer]:
    """The customers that a command was given: by slug, by tag, or all in care.

    Raises:
        Refused: ``customer_unknown``.
    """
    from lifecycle.vendor import store

    if sum((bool(slugs), bool(tags), everyone)) != 1:
        raise typer.BadParameter("name customers, or choose them with --with-tag")
    if slugs:
        wanted = dict.fromkeys(slugs)
        store.customers_by_slug(session, list(wanted))  # locks many in one order
        return [store.customer_by_slug(session, slug) for slug in wanted]
    return store.customers_in_care(session, tags or ())


def date_option(option: str, text: str) -> datetime:
    """A date or an instant; UTC where it says no zone."""
    from datetime import UTC, datetime

    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(f"{option} is a date such as 2027-03-01") from None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _say_changed(done: str, changed: list[str], chosen: list[Customer], as_json: bool) -> None:
    if as_json:
        rest = [c.slug for c in chosen if c.slug not in set(changed)]
        print_json({"changed": changed, "unchanged": rest})
        return
    named = f": {', '.join(changed[:10])}" if changed else ""
    more = f" and {len(changed) - 10} more" if len(changed) > 10 else ""
    console().print(
        f"{done} {len(changed)}{named}{more}; {len(chosen) - len(changed)} were so already.",
        markup=False,
    )


def _document(side: VendorSide, slug: str, now: datetime) -> dict[str, Any]:
    from lifecycle.vendor import store
    from lifecycle.vendor.reporting import next_step

    with side.database.reading() as session:
        record = store.load(session, store.customer_by_slug(session, slug))
        customer, key = record.customer, store.key_of(record.customer)
        contacts = store.contacts_of(session, [customer]).get(key, ())
        refused = store.bounced(session, [customer.email, *contacts])
        acts, step = next_step(record, side.policy, now)
        return {
            **_facts(record, side, now),
            "contacts": list(contacts),
            "bounced": [f"{b.address} since {b.at:%Y-%m-%d}: {b.why}" for b in refused],
            "tags": list(store.tags_of(session, [customer]).get(key, ())),
            "acts": acts,
            "next_step": step,
            "instance": _instance(session, record, now),
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


def _facts(record: CustomerRecord, side: VendorSide, now: datetime) -> dict[str, Any]:
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
