"""``renew``, ``request``, ``upload``: one customer's renewal by hand."""

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
from lifecycle.errors import refuse

if TYPE_CHECKING:
    from lifecycle.embedded import Embedded
    from lifecycle.wire.messages import SignedRequest

PORTAL = "https://identity.apple.com/pushcert"
Slug = Annotated[str, typer.Argument(help="The customer's slug.")]


def register(app: typer.Typer) -> None:
    """Adds these commands to the command line."""
    for command in (renew, request, upload):
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
