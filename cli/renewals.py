"""``renew``, ``request``, ``upload``, ``verify``, ``remind``, ``tick``, ``run``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.invocation import (
    AsJson,
    actor,
    console,
    invocation,
    print_json,
    read_file,
    say_notes,
    write_file,
)
from lifecycle.errors import AttentionNeeded, InternalFault, refuse

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lifecycle.embedded import Embedded, Tick, Verification
    from lifecycle.wire.messages import SignedRequest

PORTAL = "https://identity.apple.com/pushcert"
Slug = Annotated[str, typer.Argument(help="The customer's slug.")]


def register(app: typer.Typer) -> None:
    """Adds these commands to the command line."""
    for command in (renew, request, upload, verify, remind, tick, run):
        app.command()(command)


def renew(
    ctx: typer.Context,
    slug: Slug,
    reason: Annotated[str, typer.Option("--reason", help="Why; goes to the audit log.")] = "manual",
    cancel: Annotated[bool, typer.Option("--cancel", help="Cancel the open renewal.")] = False,
    as_json: AsJson = False,
) -> None:
    """Renews one customer's certificate as far as it goes now, and says the next step.

    Running it again goes on where it stood.

    Example: pushcert renew acme
    """
    from lifecycle.vendor import registry, store
    from lifecycle.vendor.facts import RenewalReason

    try:
        why = RenewalReason(reason)
    except ValueError:
        raise typer.BadParameter(
            f"--reason is one of {', '.join(RenewalReason)}", param_hint="--reason"
        ) from None
    with invocation(ctx).embedded() as embedded:
        now = embedded.clock.now()
        with embedded.database.transaction() as session:
            customer = store.customer_by_slug(session, slug)
            if cancel:
                open_one = store.open_renewal(session, customer)
                if open_one is not None:
                    registry.cancel_renewal(
                        session, customer, open_one, "by hand", at=now, actor=actor()
                    )
            else:
                if store.active_certificate(session, customer) is None:
                    why = RenewalReason.INITIAL
                registry.request_renewal(session, customer, why, at=now, actor=actor())
        if cancel:
            console().print(f"No renewal of {slug} is open now.")
            return
        summary = embedded.worker.drive(slug)
        embedded.send_mail()
        document = _standing(embedded, slug)
    for fault in summary.faults:
        print(f"note: {fault}", file=sys.stderr)
    if as_json:
        print_json(document)
    else:
        _tell_next_step(document)


def _standing(embedded: Embedded, slug: str) -> dict[str, Any]:
    from lifecycle.vendor import store

    with embedded.database.reading() as session:
        record = store.load(session, store.customer_by_slug(session, slug))
    renewal, active = record.renewal, record.active
    return {
        "slug": slug,
        "renewal": None if renewal is None else renewal.id,
        "state": None if renewal is None else renewal.state,
        "blocked_by": None if renewal is None else renewal.blocked_code,
        "blocked_message": None if renewal is None else renewal.blocked_message,
        "apple_account": record.customer.apple_account,
        "renew_common_name": None if active is None else active.common_name,
        "renew_serial": None if active is None else active.serial,
        "not_after": None if active is None else active.not_after.isoformat(),
    }


def _tell_next_step(at: dict[str, Any]) -> None:
    from lifecycle.vendor.messages import request_filename

    out, slug = console(), at["slug"]
    if at["blocked_by"]:
        out.print(f"Held up: {at['blocked_message']}", markup=False)
        return
    match at["state"]:
        case None:
            out.print(f"Nothing is open. {slug} has {at['renew_serial'] or 'no certificate'}.")
        case "delivered":
            account = at["apple_account"] or "the Apple Account that owns the certificate"
            press = (
                f"press Renew beside {at['renew_common_name']}, serial {at['renew_serial']}."
                " Do not press Create a Certificate"
                if at["renew_serial"]
                else "press Create a Certificate"
            )
            out.print(
                f"1. Save the request:  pushcert request {slug} --out {request_filename(slug)}"
            )
            out.print(f"2. At {PORTAL}, sign in as {account}", markup=False)
            out.print(f"   and {press}. Upload the request.", markup=False)
            out.print(f"3. Take the new certificate in:  pushcert upload {slug} MDM_*.pem")
        case state:
            out.print(f"The renewal is {state}. Run the same command again to go on.")


def _work_request(embedded: Embedded, slug: str) -> SignedRequest:
    found = embedded.desk(slug).work().request
    if found is None:
        raise refuse(
            "no_request_outstanding",
            f"Customer '{slug}' has no signed request.",
            f"Start a renewal with `pushcert renew {slug}`.",
        )
    return found


def request(
    ctx: typer.Context,
    slug: Slug,
    out: Annotated[
        Path | None, typer.Option("--out", help="Where the request goes; else stdout.")
    ] = None,
) -> None:
    """Gives the signed request of the open renewal, ready to upload to Apple's portal.

    Example: pushcert request acme --out acme-request.txt
    """
    with invocation(ctx).embedded() as embedded:
        found = _work_request(embedded, slug)
    if out is None:
        print(found.request)
        return
    write_file(out, found.request.encode())
    press = (
        f"Press Renew beside {found.renew_common_name}, serial {found.renew_serial}."
        if found.renew_serial
        else "Press Create a Certificate."
    )
    console(stderr=True).print(f"Wrote {out}. At {PORTAL}: {press}", markup=False)


def upload(
    ctx: typer.Context,
    slug: Slug,
    file: Annotated[Path, typer.Argument(help="The certificate from the portal; - for stdin.")],
    accept_new_topic: Annotated[
        str | None,
        typer.Option(
            "--accept-new-topic",
            help="The new topic, typed out: every enrolled device must enrol again.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Takes in the certificate that the portal issued, checks it, and activates it.

    Refused (exit code 3) with everything that is wrong, and nothing changed, when the file is
    not what this customer's renewal needs.

    Example: pushcert upload acme 'MDM_ Example_Certificate.pem'
    """
    data = read_file(file)
    with invocation(ctx).embedded() as embedded:
        outcome = embedded.upload(slug, data, accept_new_topic)
        embedded.send_mail()
        document = _standing(embedded, slug)
    say_notes(outcome.notes)
    if as_json:
        print_json({**document, "activated": outcome.activated})
    elif outcome.activated:
        console().print(
            f"{document['renew_common_name']} is active until {document['not_after']}.",
            markup=False,
        )
    else:
        console().print(
            "The certificate is accepted. The old one stays active until a test push with the"
            " new one succeeds; that is tried again by itself."
        )


def verify(
    ctx: typer.Context,
    slugs: Annotated[list[str] | None, typer.Argument(help="Customers to check.")] = None,
    everyone: Annotated[bool, typer.Option("--all", help="Check every customer.")] = False,
    as_json: AsJson = False,
) -> None:
    """Proves with test pushes that a customer reaches their own devices and no one else's.

    Exit code 4 on a breach.

    Example: pushcert verify acme
    """
    if bool(slugs) == everyone:
        raise typer.BadParameter("name customers, or give --all")
    with invocation(ctx).embedded() as embedded:
        chosen = slugs or list(_checkable(embedded))
        outcomes = [embedded.verify(slug) for slug in chosen]
        embedded.send_mail()
    _show_verdicts(outcomes, as_json)
    breached = [o.slug for o in outcomes if o.verdict == "breached"]
    if breached:
        raise AttentionNeeded(
            f"Isolation is breached: {', '.join(breached)}.",
            "See `pushcert customer show SLUG` for the probe, and find out who enrolled where.",
        )


def _checkable(embedded: Embedded) -> Iterator[str]:
    from lifecycle.vendor import store

    with embedded.database.reading() as session:
        for record in store.all_records(session):
            if record.active is not None and record.customer.paused_at is None:
                yield record.customer.slug


def _show_verdicts(outcomes: list[Verification], as_json: bool) -> None:
    from rich.table import Table
    from rich.text import Text

    if as_json:
        print_json([{"slug": o.slug, "verdict": o.verdict, "why": o.why} for o in outcomes])
        return
    table = Table("slug", "verdict", "why", box=None)
    colours = {"isolated": "green", "breached": "bold red"}
    for o in outcomes:
        verdict = o.verdict or "not checked"
        table.add_row(o.slug, Text(verdict, style=colours.get(verdict, "yellow")), Text(o.why))
    console().print(table)


def remind(
    ctx: typer.Context,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be sent, and send nothing.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Sends the reminders that are owed now.

    Example: pushcert remind --dry-run
    """
    from lifecycle.vendor.dry_run import explain

    with invocation(ctx).embedded() as embedded:
        if not dry_run:
            _finish(embedded.tick(), as_json)
            return
        lines = list(explain(embedded.database, embedded.policy, embedded.clock.now()))
    if as_json:
        print_json([{"slug": line.slug, "owed": line.owed, "why": line.why} for line in lines])
        return
    out = console()
    for line in lines:
        out.print(f"{line.slug}: {line.owed or 'nothing'} ({line.why})", markup=False)


def tick(ctx: typer.Context, as_json: AsJson = False) -> None:
    """Does everything that is owed now, once; for cron and systemd timers.

    Example: pushcert tick
    """
    from lifecycle.scheduler import exclusively

    with invocation(ctx).embedded() as embedded, exclusively(embedded.config, wait=True):
        _finish(embedded.tick(), as_json)


def _finish(done: Tick, as_json: bool) -> None:
    work, mail = done.work, done.mail
    if as_json:
        print_json(
            {
                "customers": work.customers,
                "actions": work.actions,
                "faults": work.faults,
                "sent": mail.sent,
                "failed": mail.failed,
            }
        )
    else:
        parts = [f"{name} {count}" for name, count in sorted(work.actions.items())]
        out = console()
        out.print(f"{work.customers} customers: {', '.join(parts) or 'nothing owed'}")
        out.print(f"mail: {mail.sent} sent, {mail.failed} failed")
        for fault in work.faults:
            out.print(f"later again: {fault}", markup=False)
    if work.defects:
        raise InternalFault(f"Defects met: {'; '.join(work.defects)}. See the log.")


def run(ctx: typer.Context) -> None:
    """Runs the scheduler until SIGTERM; finishes the action in hand before it stops.

    A second one on the same database refuses politely.

    Example: pushcert run
    """
    from lifecycle.scheduler import run_until_stopped

    with invocation(ctx).embedded() as embedded:
        run_until_stopped(embedded)
