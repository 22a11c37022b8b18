"""``feed``: calendars that subscribe to the expiries."""

from __future__ import annotations

from typing import Annotated

import typer

from cli.invocation import AsJson, actor, console, invocation, print_json

feed = typer.Typer(
    no_args_is_help=True,
    help="Calendars that subscribe to the expiries. Example: pushcert feed add 'Ops calendar'",
)


def register(app: typer.Typer) -> None:
    """Adds these commands to the command line."""
    app.add_typer(feed, name="feed")


@feed.command()
def add(
    ctx: typer.Context,
    label: Annotated[str, typer.Argument(help="Whose calendar it is for.")],
    as_json: AsJson = False,
) -> None:
    """Makes an address for a calendar program; it is shown once.

    Whoever has the address reads the customers' names and expiries.

    Example: pushcert feed add 'Ops calendar'
    """
    from lifecycle.vendor import feed_tokens

    with invocation(ctx).vendor_side() as side:
        with side.database.transaction() as session:
            token = feed_tokens.add(session, label, at=side.clock.now(), actor=actor())
        base = side.config.serve.public_url or "https://ADDRESS-OF-PUSHCERT-SERVE"
    url = f"{base}/calendar/{token}/expiries.ics"
    if as_json:
        print_json({"label": label, "url": url})
    else:
        console().print(f"Subscribe to: {url}", markup=False, soft_wrap=True)


@feed.command("list")
def list_feeds(ctx: typer.Context, as_json: AsJson = False) -> None:
    """Lists the feeds: for whom, since when, and when they were read last.

    Example: pushcert feed list
    """
    from rich.table import Table

    from lifecycle.vendor import feed_tokens

    with invocation(ctx).vendor_side() as side, side.database.reading() as session:
        rows = [
            {
                "id": row.id,
                "label": row.label,
                "created_at": row.created_at.isoformat(),
                "created_by": row.created_by,
                "used_at": None if row.used_at is None else row.used_at.isoformat(),
                "revoked_at": None if row.revoked_at is None else row.revoked_at.isoformat(),
            }
            for row in feed_tokens.all_feeds(session)
        ]
    if as_json:
        print_json(rows)
        return
    table = Table("number", "label", "since", "read last", "revoked", box=None)
    for row in rows:
        days = [str(row[name] or "")[:10] for name in ("created_at", "used_at", "revoked_at")]
        table.add_row(str(row["id"]), str(row["label"]), *days)
    console().print(table)


@feed.command()
def revoke(
    ctx: typer.Context,
    number: Annotated[int, typer.Argument(help="From `feed list`.")],
    as_json: AsJson = False,
) -> None:
    """Makes a feed's address good for nothing.

    Example: pushcert feed revoke 1
    """
    from lifecycle.vendor import feed_tokens

    with invocation(ctx).vendor_side() as side, side.database.transaction() as session:
        done = feed_tokens.revoke(session, number, at=side.clock.now(), actor=actor())
    if as_json:
        print_json({"id": number, "revoked": done})
    else:
        said = "is revoked" if done else "was revoked already"
        console().print(f"Feed {number} {said}.", markup=False)
