"""``renew``, ``request``, ``upload``: one customer's renewal by hand."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli import completion
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
Slug = Annotated[str, typer.Argument(help="The customer's slug.", autocompletion=completion.slugs)]


def register(app: typer.Typer) -> None:
    """Adds these commands to the command line."""
    for command in (renew, request, upload):
        app.command()(command)


def renew(
    ctx: typer.Context,
    slug: Slug,
    reason: Annotated[
        str,
        typer.Option(
            "--reason", help="Why; goes to the audit log.", autocompletion=completion.reasons
        ),
    ] = "manual",
    apple_account: Annotated[
        str | None,
        typer.Option("--apple-account", help="With the reason apple_account_changed: the new one."),
    ] = None,
    certificate: Annotated[
        Path | None,
        typer.Option("--certificate", help="The certificate from the portal, to finish with."),
    ] = None,
    accept_new_topic: Annotated[
        str | None,
        typer.Option(
            "--accept-new-topic",
            help="The new topic, typed out: every enrolled device must enrol again.",
        ),
    ] = None,
    request_out: Annotated[
        Path | None, typer.Option("--request-out", help="Where the request is saved.")
    ] = None,
    watch: Annotated[
        list[Path] | None,
        typer.Option(
            "--watch",
            help="Folder in which the certificate will arrive; else this one and ~/Downloads.",
        ),
    ] = None,
    no_input: Annotated[
        bool, typer.Option("--no-input", help="Ask nothing: do what can be done, say what is next.")
    ] = False,
    cancel: Annotated[bool, typer.Option("--cancel", help="Cancel the open renewal.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="With --cancel: do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Renews one customer's certificate, step by step; running it again goes on where it stood.

    On a terminal it is a dialogue; with --no-input or --json it does what it can and says the
    next step.

    Example: pushcert renew acme
    """
    from cli.renewal_dialogue import Wishes, ask_to_cancel, carry_on, converse
    from lifecycle import renewing
    from lifecycle.vendor.facts import RenewalReason

    try:
        why = RenewalReason(reason)
    except ValueError:
        raise typer.BadParameter(
            f"--reason is one of {', '.join(RenewalReason)}", param_hint="--reason"
        ) from None
    talks = not no_input and not as_json and sys.stdin.isatty() and sys.stdout.isatty()
    wishes = Wishes(certificate, accept_new_topic, request_out, tuple(watch or ()))
    with invocation(ctx).embedded() as embedded:
        if cancel:
            if talks and not yes:
                ask_to_cancel(slug)
            number = renewing.cancel(embedded, slug, actor=actor())
            if as_json:
                print_json({"slug": slug, "cancelled": number})
            elif number is None:
                console().print(f"No renewal of {slug} was open.", markup=False)
            else:
                console().print(f"Renewal {number} of {slug} is cancelled.", markup=False)
                after = renewing.standing(embedded, slug)
                if after.acts != "nobody":
                    console().print(
                        f"Next: {after.next_step}; `pushcert customer pause {slug}` keeps it from"
                        " that.",
                        markup=False,
                    )
            return
        notes = renewing.start(embedded, slug, why, actor=actor(), apple_account=apple_account)
        for note in notes:
            print(f"note: {note}", file=sys.stderr)
        if talks and certificate is None:
            converse(embedded, slug, wishes)
        else:
            carry_on(embedded, slug, wishes, as_json=as_json)


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
    from cli.renewal_words import document_of
    from lifecycle import renewing

    data = read_file(file)
    with invocation(ctx).embedded() as embedded:
        outcome = renewing.take_certificate(
            embedded, slug, data, accept_new_topic=accept_new_topic, actor=actor()
        )
        document = document_of(renewing.standing(embedded, slug))
    say_notes(outcome.notes)
    if as_json:
        print_json({**document, "activated": outcome.activated})
    elif outcome.activated:
        console().print(
            f"{outcome.certificate.common_name} is active until"
            f" {outcome.certificate.not_after:%Y-%m-%d %H:%M} UTC.",
            markup=False,
        )
    else:
        console().print(
            "The certificate is accepted. The old one stays active until a test push with the"
            " new one succeeds; that is tried again by itself."
        )
