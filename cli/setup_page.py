"""``instance serve``: the customer's setup page."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from cli.instance_setup import Customer, one_instance
from cli.invocation import configure_log, invocation
from lifecycle.errors import refuse


def serve(
    ctx: typer.Context,
    customer: Customer = None,
    host: Annotated[str | None, typer.Option("--host", help="Instead of instance.host.")] = None,
    port: Annotated[
        int | None, typer.Option("--port", help="Instead of instance.port; 0 takes a free one.")
    ] = None,
) -> None:
    """Serves the customer's setup page until SIGTERM: request, portal, upload, in three steps.

    Prints one line of JSON when it is ready. The page has no sign-in of its own: it is for this
    machine, or to be put behind the MDM's login (docs/setup-page.md).

    Example: pushcert instance serve --customer acme
    """
    section = invocation(ctx).config().instance
    configure_log()
    try:
        from lifecycle.serve.listen import Listening, announce, listen
        from lifecycle.setup_page.app import setup_page
        from lifecycle.setup_page.guard import LOOPBACK
    except ModuleNotFoundError as missing:
        raise refuse(
            "extra_missing",
            f"Serving needs {missing.name}, which is not installed.",
            "Install pushcert[server].",
        ) from None
    where = Listening(host or section.host, section.port if port is None else port)
    with one_instance(ctx, customer) as one:
        with one.vault():
            pass  # what is wrong with it is said here and now, and not to a browser later
        if where.host not in LOOPBACK:
            print(
                f"pushcert: whoever reaches {where.host} can use this page. Let nobody reach it but"
                " the proxy that does the sign-in.",
                file=sys.stderr,
            )
        with setup_page(
            one,
            public_url=section.public_url,
            trusted_proxies=section.trusted_proxies,
        ) as app:
            listen(app, where, ready=announce)
