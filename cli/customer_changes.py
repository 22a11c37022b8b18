"""``customer pause``, ``resume``, ``offboard``, ``edit``, ``adopt``: what is changed by hand."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli import completion
from cli.invocation import AsJson, actor, console, invocation, print_json, read_file
from cli.progress import track

if TYPE_CHECKING:
    from datetime import datetime

    from sqlmodel import Session

    from lifecycle.vendor.models import Customer

Slug = Annotated[str, typer.Argument(help="The customer's slug.", autocompletion=completion.slugs)]
Slugs = Annotated[
    list[str] | None,
    typer.Argument(help="The customers' slugs.", autocompletion=completion.slugs),
]
WithTag = Annotated[
    list[str] | None,
    typer.Option(
        "--with-tag", help="Everybody with this tag; repeatable.", autocompletion=completion.tags
    ),
]


def add_to(customer: typer.Typer) -> None:
    """Adds these commands to the registry's."""
    for command in (pause, resume, offboard, edit, adopt):
        customer.command()(command)


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
            for c in track(chosen, "Pausing")
            if registry.pause(session, c, reason, at=now, actor=actor(), until=end)
        ]
    _say_changed("Paused", changed, chosen, as_json)


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
        changed = [
            c.slug
            for c in track(chosen, "Resuming")
            if registry.resume(session, c, at=now, actor=actor())
        ]
    _say_changed("Resumed", changed, chosen, as_json)


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
        if names and not yes and sys.stdin.isatty() and not as_json:
            typer.confirm(f"End the care for {_some(names)}?", abort=True)
        with side.database.transaction() as session, audit.together(session):
            chosen = choose(session, names, None) if names else []
            now = side.clock.now()
            changed = [
                c.slug
                for c in track(chosen, "Off-boarding")
                if registry.offboard(session, c, at=now, actor=actor())
            ]
    _say_changed("Off-boarded", changed, chosen, as_json)


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
        str | None,
        typer.Option(
            "--language",
            help="en, de, fr, es or ja; '' for the vendor's.",
            autocompletion=completion.languages,
        ),
    ] = None,
    note: Annotated[str | None, typer.Option("--note", help="For ops alone; '' for none.")] = None,
    add_tag: Annotated[
        list[str] | None,
        typer.Option("--add-tag", help="Repeatable.", autocompletion=completion.tags),
    ] = None,
    remove_tag: Annotated[
        list[str] | None,
        typer.Option("--remove-tag", help="Repeatable.", autocompletion=completion.tags),
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
                c.slug
                for c in track(chosen, "Changing")
                if registry.edit(session, c, wanted, at=now, actor=actor())
            ]
    _say_changed("Would change" if dry_run else "Changed", changed, chosen, as_json)


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
    from cli.customer_documents import document_of
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
        document = document_of(side, slug, now)
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
    named = f": {_some(changed)}" if changed else ""
    left = len(chosen) - len(changed)
    so = f"; {left:,} {'was' if left == 1 else 'were'} so already" if left else ""
    console().print(f"{done} {len(changed):,}{named}{so}.", markup=False)


def _some(slugs: list[str]) -> str:
    more = f" and {len(slugs) - 10:,} more" if len(slugs) > 10 else ""
    return ", ".join(slugs[:10]) + more
