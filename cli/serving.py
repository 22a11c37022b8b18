"""``serve``: the vendor's plane over HTTP."""

from __future__ import annotations

from typing import Annotated

import typer

from cli.invocation import configure_log, invocation
from lifecycle.errors import refuse


def register(app: typer.Typer) -> None:
    """Adds this command to the command line."""
    app.command()(serve)


def serve(
    ctx: typer.Context,
    host: Annotated[str | None, typer.Option("--host", help="Instead of serve.host.")] = None,
    port: Annotated[
        int | None, typer.Option("--port", help="Instead of serve.port; 0 takes a free one.")
    ] = None,
) -> None:
    """Serves instances, ops and monitoring over HTTP until SIGTERM.

    Prints one line of JSON when it is ready. The MDM signing key is not loaded here: CSRs are
    queued, and signed by `pushcert run`.

    Example: pushcert serve --port 8443
    """
    from dataclasses import replace

    from lifecycle.clock import SystemClock
    from lifecycle.vendor.migrations import require_current

    config = invocation(ctx).config()
    configure_log()
    try:
        from lifecycle.serve.app import build_app
        from lifecycle.serve.listen import announce, listen
        from lifecycle.serve.served import Served, listening
    except ModuleNotFoundError as missing:
        raise refuse(
            "extra_missing",
            f"Serving needs {missing.name}, which is not installed.",
            "Install pushcert[server].",
        ) from None
    with Served(config, SystemClock()) as served:
        require_current(served.database.engine)
        where = listening(config)
        if host is not None:
            where = replace(where, host=host)
        if port is not None:
            where = replace(where, port=port)
        listen(build_app(served), where, ready=announce)
