"""``customer``: the registry."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from cli import completion, customer_changes, customer_files, invitations
from cli.customer_changes import Slug
from cli.customer_documents import add_words, document_of, facts_of, print_list
from cli.invocation import AsJson, actor, console, invocation, print_json
from cli.progress import working

if TYPE_CHECKING:
    pass

customer = typer.Typer(
    no_args_is_help=True, help="The registry of customers. Example: pushcert customer list"
)
NewSlug = Annotated[str, typer.Argument(help="The customer's slug: a short name for commands.")]


def register(app: typer.Typer) -> None:
    """Adds these commands to the command line."""
    customer_changes.add_to(customer)
    customer_files.add_to(customer)
    invitations.add_to(customer)
    app.add_typer(customer, name="customer")


@customer.command()
def add(
    ctx: typer.Context,
    slug: NewSlug,
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
        str | None,
        typer.Option(
            "--language",
            help="Of messages: en, de, fr, es or ja.",
            autocompletion=completion.languages,
        ),
    ] = None,
    tag: Annotated[
        list[str] | None,
        typer.Option(
            "--tag", help="To pick many at once; repeatable.", autocompletion=completion.tags
        ),
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
            print_json(document_of(side, slug, now))
            return
    console().print(f"Added {slug}. Next: pushcert renew {slug}", markup=False)


@customer.command("list")
def list_customers(
    ctx: typer.Context,
    everyone: Annotated[bool, typer.Option("--all", help="Off-boarded customers as well.")] = False,
    tag: Annotated[
        list[str] | None,
        typer.Option(
            "--tag", help="Only with this tag; repeatable.", autocompletion=completion.tags
        ),
    ] = None,
    of_status: Annotated[
        list[str] | None,
        typer.Option(
            "--status", help="Only of this status; repeatable.", autocompletion=completion.statuses
        ),
    ] = None,
    search: Annotated[
        str | None, typer.Option("--search", help="Only whose slug, name or address has this.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Lists the customers with their status.

    Example: pushcert customer list --tag region:emea --json
    """
    from lifecycle.vendor import store
    from lifecycle.vendor.facts import Status
    from lifecycle.vendor.plan import status

    for given in of_status or ():
        if given not in set(Status):
            raise typer.BadParameter(f"a status is one of {', '.join(Status)}")
    with (
        invocation(ctx).vendor_side() as side,
        side.database.reading() as session,
        working("Reading the registry"),
    ):
        now = side.clock.now()
        shown = []
        for record in store.all_records(session, offboarded=everyone, tags=tag or ()):
            row = record.customer
            stands = status(record.facts, side.policy, now)
            if of_status and (row.offboarded_at is not None or stands not in of_status):
                continue
            words = f"{row.slug} {row.name} {row.email} {row.apple_account or ''}".lower()
            if not search or search.lower() in words:
                shown.append(facts_of(record, side, now))
        if as_json:
            add_words(session, shown)
    if as_json:
        print_json(shown)
    else:
        print_list(shown, console())


@customer.command()
def show(ctx: typer.Context, slug: Slug, as_json: AsJson = False) -> None:
    """Shows one customer: certificate, renewal, isolation, and what comes next.

    Example: pushcert customer show acme
    """
    from cli.customer_documents import print_customer

    with invocation(ctx).vendor_side() as side:
        document = document_of(side, slug, side.clock.now())
    if as_json:
        print_json(document)
        return
    print_customer(document, console())
