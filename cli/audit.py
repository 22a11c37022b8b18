"""``audit``: who did what, when, in a log that shows when it was changed."""

from __future__ import annotations

from typing import Annotated

import typer

from cli import completion
from cli.invocation import AsJson, console, invocation, print_json
from cli.progress import working
from lifecycle.errors import AttentionNeeded

audit = typer.Typer(
    no_args_is_help=True, help="The hash-chained audit log. Example: pushcert audit verify"
)


def register(app: typer.Typer) -> None:
    """Adds these commands to the command line."""
    app.add_typer(audit, name="audit")


@audit.command("list")
def list_entries(
    ctx: typer.Context,
    customer: Annotated[
        str | None,
        typer.Option("--customer", help="Only this slug.", autocompletion=completion.slugs),
    ] = None,
    last: Annotated[int, typer.Option("--last", min=1, help="How many entries.")] = 50,
    as_json: AsJson = False,
) -> None:
    """Shows the newest entries, oldest of them first.

    Example: pushcert audit list --customer acme
    """
    from lifecycle.vendor.audit import latest

    with invocation(ctx).vendor_side() as side, side.database.reading() as session:
        entries = latest(session, last, customer)
    if as_json:
        print_json(
            [
                {
                    "seq": e.seq,
                    "at": e.at.isoformat(),
                    "actor": e.actor,
                    "action": e.action,
                    "subject": e.subject,
                    "detail": e.detail,
                    "hash": e.hash,
                }
                for e in entries
            ]
        )
        return
    out = console()
    for e in entries:
        detail = " ".join(f"{key}={value}" for key, value in e.detail.items() if value is not None)
        out.print(
            f"{e.seq:>6}  {e.at:%Y-%m-%d %H:%M:%S}  {e.actor}  {e.action}  {e.subject}  {detail}",
            markup=False,
        )


@audit.command("verify")
def verify(
    ctx: typer.Context,
    expect: Annotated[
        str | None,
        typer.Option("--expect", help="The newest hash as noted elsewhere; must be in the log."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Checks the whole log; names the first entry that was changed, removed or moved.

    Exit code 4 when the log was tampered with.

    Example: pushcert audit verify
    """
    from lifecycle.vendor.audit import verify_log

    opened = invocation(ctx).vendor_side()
    with opened as side, side.database.reading() as session, working("Checking the log"):
        outcome = verify_log(session, expect=expect)
    if as_json:
        print_json(
            {
                "entries": outcome.entries,
                "head": outcome.head,
                "problem": None if outcome.problem is None else str(outcome.problem),
            }
        )
    elif outcome.problem is None:
        console().print(f"{outcome.entries} entries, whole. Newest hash: {outcome.head}")
    if outcome.problem is not None:
        raise AttentionNeeded(f"The audit log is not whole: {outcome.problem}")
