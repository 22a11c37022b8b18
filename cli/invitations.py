"""``customer invite`` and ``customer revoke``: who may be a customer's instance."""

from __future__ import annotations

from typing import Annotated

import typer

from cli.invocation import AsJson, actor, console, invocation, print_json
from lifecycle.errors import refuse

Slug = Annotated[str, typer.Argument(help="The customer's slug.")]


def add_to(customer: typer.Typer) -> None:
    """Adds these commands to ``customer``."""
    customer.command()(invite)
    customer.command()(revoke)


def invite(
    ctx: typer.Context,
    slug: Slug,
    days: Annotated[
        int | None, typer.Option("--days", min=1, max=365, help="How long the code is good.")
    ] = None,
    withdraw: Annotated[
        bool, typer.Option("--withdraw", help="Take an open invitation back.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Makes a one-time code with which the customer's instance makes itself known.

    The code is shown once and kept nowhere. Hand it over by a way that you trust. An instance
    that the customer had before is shut out when the code is used.

    Example: pushcert customer invite acme
    """
    from lifecycle.vendor import invitations, store

    with invocation(ctx).vendor_side() as side:
        now = side.clock.now()
        with side.database.transaction() as session:
            customer = store.customer_by_slug(session, slug)
            if withdraw:
                _say_withdrawn(
                    slug, invitations.withdraw(session, customer, at=now, actor=actor()), as_json
                )
                return
            good_for = days or side.config.serve.invitation_days
            code = invitations.invite(session, customer, at=now, actor=actor(), days=good_for)
            found = invitations.open_invitation(session, customer, now)
        url = side.config.serve.public_url
    if found is None:
        raise TypeError("an invitation was made and is not there")
    if as_json:
        until = found.expires_at.isoformat()
        print_json({"slug": slug, "code": code, "expires_at": until, "vendor": url})
        return
    out = console()
    out.print(f"Code for {slug}, good until {found.expires_at:%Y-%m-%d %H:%M} UTC:", markup=False)
    out.print(f"  {code}", markup=False)
    out.print("On the instance's machine:", markup=False)
    there = url or "https://ADDRESS-OF-PUSHCERT-SERVE"
    out.print(f"  pushcert instance init --vendor {there} --code -", markup=False)
    if url is None:
        out.print("(Set serve.public_url in config.toml to have the address here.)", markup=False)


def _say_withdrawn(slug: str, was_open: bool, as_json: bool) -> None:
    if as_json:
        print_json({"slug": slug, "withdrawn": was_open})
    elif was_open:
        console().print(f"The invitation of {slug} is withdrawn.", markup=False)
    else:
        console().print(f"{slug} had no open invitation.", markup=False)


def revoke(
    ctx: typer.Context,
    slug: Slug,
    why: Annotated[str, typer.Option("--reason", help="Goes to the audit log.")] = "by an operator",
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Shuts the customer's instance out at once: the vendor no longer answers it.

    Its vault stays as it is, and its devices go on getting pushes. It needs a new invitation to
    come back.

    Example: pushcert customer revoke acme --reason 'laptop stolen'
    """
    import sys

    from lifecycle.vendor import credentials, store

    if not yes and not as_json:
        if not sys.stdin.isatty():
            raise refuse(
                "not_confirmed",
                f"Nothing was changed: shutting out the instance of '{slug}' must be confirmed.",
                "Give --yes.",
            )
        typer.confirm(f"Shut the instance of {slug} out?", abort=True)
    with invocation(ctx).vendor_side() as side, side.database.transaction() as session:
        customer = store.customer_by_slug(session, slug)
        gone = credentials.revoke_all(
            session, customer, at=side.clock.now(), actor=actor(), why=why
        )
    if as_json:
        print_json({"slug": slug, "revoked": list(gone)})
    elif gone:
        console().print(
            f"The instance of {slug} is shut out. Next: pushcert customer invite {slug}"
        )
    else:
        console().print(f"{slug} had no instance that asks over the network.", markup=False)
