"""``notify``: the ways in which pushcert writes to people, and a test of each."""

from __future__ import annotations

from typing import Annotated

import typer

from cli import completion
from cli.invocation import AsJson, console, invocation, print_json

notify = typer.Typer(
    no_args_is_help=True,
    help="Mail and chat channels. Example: pushcert notify test mail",
)


def register(app: typer.Typer) -> None:
    """Adds these commands to the command line."""
    app.add_typer(notify, name="notify")


@notify.command("test")
def send_a_test(
    ctx: typer.Context,
    channel: Annotated[
        str,
        typer.Argument(
            help="mail, or the name of a channel in config.toml (notify.NAME).",
            autocompletion=completion.channels,
        ),
    ],
    to: Annotated[
        str | None, typer.Option("--to", help="With mail: to this address instead of vendor.ops.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Sends a test message now, past the outbox, and says what became of it.

    Exit code 5 when it could not be delivered just now, 3 when it never can be as configured.

    Example: pushcert notify test mail --to me@vendor.example
    """
    from lifecycle.channel_test import send_test

    with invocation(ctx).vendor_side() as side:
        sent = send_test(side.config, channel, to, side.clock.now())
    if as_json:
        print_json({"channel": channel, "to": list(sent.to), "message_id": sent.message_id})
        return
    console().print(f"Sent through {channel} to {', '.join(sent.to)}.", markup=False)
    if sent.message_id:
        console().print(f"Look for {sent.message_id} if it does not arrive.", markup=False)


@notify.command("list")
def list_channels(ctx: typer.Context, as_json: AsJson = False) -> None:
    """Lists the channels that are configured, and what each gets.

    Example: pushcert notify list
    """
    from lifecycle.vendor.kinds import ALERTS

    config = invocation(ctx).config()
    smtp = config.smtp
    channels = [
        {
            "channel": "mail",
            "configured": smtp.host is not None,
            "gets": ["messages to customers", *(map(str, ALERTS) if config.vendor.ops else ())],
        },
        *(
            {"channel": name, "configured": True, "gets": list(channel.kinds)}
            for name, channel in config.notify.items()
        ),
    ]
    if as_json:
        print_json(channels)
        return
    for row in channels:
        state = "" if row["configured"] else " (not configured: set smtp.host)"
        gets = row["gets"]
        said = ", ".join(gets) if isinstance(gets, list) else ""
        console().print(f"{row['channel']}{state}: {said}", markup=False)
