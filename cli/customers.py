"""``customer``: the registry."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.invocation import AsJson, actor, console, invocation, print_json, read_file
from lifecycle.errors import AttentionNeeded

if TYPE_CHECKING:
    from datetime import datetime

    from lifecycle.vendor.store import CustomerRecord
    from lifecycle.vendor_side import VendorSide

customer = typer.Typer(
    no_args_is_help=True, help="The registry of customers. Example: pushcert customer list"
)
Slug = Annotated[str, typer.Argument(help="The customer's slug.")]


def register(app: typer.Typer) -> None:
    """Adds these commands to the command line."""
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
    as_json: AsJson = False,
) -> None:
    """Adds a customer; the first renewal opens by itself.

    Example: pushcert customer add acme --name 'Acme Corp' --email it@acme.example
    """
    from lifecycle.vendor import registry
    from lifecycle.vendor.facts import CustomerKind

    kind = CustomerKind.CANARY if canary else CustomerKind.CUSTOMER
    new = registry.NewCustomer(slug, name, email, apple_account, kind)
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
    as_json: AsJson = False,
) -> None:
    """Lists the customers with their status.

    Example: pushcert customer list --json
    """
    from rich.table import Table

    from lifecycle.vendor import store
    from lifecycle.vendor.plan import status

    table = Table("slug", "name", "status", "expires", "Apple Account", box=None)
    documents = []
    with invocation(ctx).vendor_side() as side, side.database.reading() as session:
        now = side.clock.now()
        for record in store.all_records(session, offboarded=everyone):
            if as_json:
                documents.append(_facts(record, side, now))
                continue
            row, active = record.customer, record.active
            table.add_row(
                row.slug,
                row.name,
                "off-boarded" if row.offboarded_at else status(record.facts, side.policy, now),
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
    for key, value in document.items():
        if isinstance(value, dict):
            inner = ", ".join(f"{k} {v}" for k, v in value.items() if v is not None)
            out.print(f"{key.replace('_', ' ')}: {inner}", markup=False)
        else:
            out.print(f"{key.replace('_', ' ')}: {'-' if value is None else value}", markup=False)


@customer.command()
def pause(
    ctx: typer.Context,
    slug: Slug,
    reason: Annotated[str, typer.Option("--reason", help="Why; shown in reports.")] = "",
) -> None:
    """Stops renewals, reminders and checks for a customer until resumed.

    Example: pushcert customer pause acme --reason 'contract on hold'
    """
    from lifecycle.vendor import registry, store

    with invocation(ctx).vendor_side() as side, side.database.transaction() as session:
        found = store.customer_by_slug(session, slug)
        registry.pause(session, found, reason, at=side.clock.now(), actor=actor())
    console().print(f"Paused {slug}. Take it up again: pushcert customer resume {slug}")


@customer.command()
def resume(ctx: typer.Context, slug: Slug) -> None:
    """Takes a paused customer up again.

    Example: pushcert customer resume acme
    """
    from lifecycle.vendor import registry, store

    with invocation(ctx).vendor_side() as side, side.database.transaction() as session:
        found = store.customer_by_slug(session, slug)
        registry.resume(session, found, at=side.clock.now(), actor=actor())
    console().print(f"Resumed {slug}. What is owed is done at the next tick.")


@customer.command()
def offboard(ctx: typer.Context, slug: Slug) -> None:
    """Ends the care for a customer who has left; records stay.

    Example: pushcert customer offboard acme
    """
    from lifecycle.vendor import registry, store

    with invocation(ctx).vendor_side() as side, side.database.transaction() as session:
        found = store.customer_by_slug(session, slug)
        registry.offboard(session, found, at=side.clock.now(), actor=actor())
    console().print(f"Off-boarded {slug}.")


@customer.command("import")
def import_customers(
    ctx: typer.Context,
    file: Annotated[
        Path, typer.Argument(help="CSV: slug,name,email,apple_account,certificate (a path).")
    ],
    keep_going: Annotated[
        bool, typer.Option("--keep-going", help="Import the good rows though others are bad.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Adds many customers at once; nothing is imported when any row is bad.

    Exit code 3 when rows are bad; with --keep-going 4, and the good rows are in.

    Example: pushcert customer import customers.csv
    """
    from rich.progress import track

    from lifecycle.vendor import bulk

    with invocation(ctx).vendor_side() as side:
        rows = bulk.read_csv(read_file(file))
        watched = track(rows, description="Importing", console=console(stderr=True), transient=True)
        outcome = bulk.import_customers(
            side.database,
            watched,
            read_certificate=lambda path: read_file(file.parent / path),
            keep_going=keep_going,
            at=side.clock.now(),
            actor=actor(),
        )
    if as_json:
        print_json(
            {
                "added": outcome.added,
                "unchanged": outcome.unchanged,
                "bad": [
                    {"line": b.line, "code": f.code, "message": f.message, "remedy": f.remedy}
                    for b in outcome.bad
                    for f in b.findings
                ],
            }
        )
    else:
        console().print(f"Added {outcome.added}, unchanged {outcome.unchanged}.")
    if outcome.bad:
        raise AttentionNeeded(
            f"{len(outcome.bad)} rows were left out: "
            + "; ".join(f"line {b.line}: {f.message}" for b in outcome.bad for f in b.findings)
        )


def _document(side: VendorSide, slug: str, now: datetime) -> dict[str, Any]:
    from lifecycle.vendor import store

    with side.database.reading() as session:
        record = store.load(session, store.customer_by_slug(session, slug))
        return _facts(record, side, now)


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
