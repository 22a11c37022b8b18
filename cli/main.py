"""``pushcert``: the one place where commands are put together.

Nothing heavy is imported here: a command's module is loaded when the command is called, and
imports what it needs when it runs, so that ``--help`` and the commands without a database
start at once. Help is plain text for the same reason.
"""

from __future__ import annotations

import atexit
import gc
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer
import typer.main
from typer.core import TyperGroup

from cli.invocation import Invocation
from lifecycle.errors import PushcertError, Refused, Unavailable

COMMANDS: dict[str, dict[str, tuple[str, str]]] = {
    "Every day": {
        "report": ("cli.reports", "Says whose push certificate ends when, and what is stuck."),
        "renew": ("cli.renewals", "Renews one customer's certificate, step by step."),
        "request": ("cli.renewals", "Gives the signed request of the open renewal."),
        "upload": ("cli.renewals", "Takes in the certificate that the portal issued."),
        "remind": ("cli.work", "Sends the reminders that are owed now, or says why none is."),
    },
    "Registry and records": {
        "customer": ("cli.customers", "The registry of customers."),
        "audit": ("cli.audit", "The hash-chained audit log."),
        "feed": ("cli.feeds", "Calendars that subscribe to the expiries."),
        "vendor": ("cli.vendor_books", "The whole of the books as one document, to take along."),
    },
    "Isolation": {
        "verify": ("cli.work", "Proves that customers reach their own devices and no others."),
        "isolation": ("cli.isolation", "What has been proven, and the signed evidence of it."),
    },
    "Setting up and keeping up": {
        "init": ("cli.upkeep", "Makes config.toml, the database and the directories."),
        "doctor": ("cli.upkeep", "Checks the deployment; one line each, with the remedy."),
        "backup": ("cli.backups", "Writes an encrypted backup of the registry, and verifies it."),
        "restore": ("cli.backups", "Restores a backup into an empty place."),
        "signer": ("cli.signers", "The MDM signing certificate."),
        "user": ("cli.users", "Who may sign in to the dashboard with a password."),
        "notify": ("cli.channels", "Mail and chat channels, and a test of each."),
        "tick": ("cli.work", "Does everything that is owed now, once; for cron."),
        "run": ("cli.work", "Runs the scheduler until SIGTERM."),
        "serve": ("cli.serving", "Serves instances, ops and monitoring over HTTP."),
    },
    "Files, without a database": {
        "sign": ("cli.signers", "Signs one CSR: makes the push certificate request."),
        "inspect": ("cli.signers", "Says what any file is, and what is wrong with it."),
    },
    "Beyond the vendor": {
        "instance": ("cli.instances", "A customer's instance: key, devices, pushes."),
        "lab": ("cli.lab", "A local stand-in for Apple; `lab run` plays a whole year."),
    },
}
"""Every command by heading: the module that has it, and what the overview says of it."""


LONG_RUNNING = frozenset({"instance", "lab", "run", "serve", "verify"})
"""Commands that may run for hours; their garbage is collected as usual."""


@cache
def _commands_of(module: str) -> dict[str, Any]:
    # Once in a process: registering adds to groups that the module keeps, and one that is called
    # many times in a process (a test, a library's user) would carry every command many times.
    part = typer.Typer(rich_markup_mode=None)
    import_module(module).register(part)
    return dict(typer.main.get_group(part).commands)


class LazyCommands(Mapping[str, Any]):
    """The commands by name; a command's module is imported when the command is asked for."""

    def __init__(self) -> None:
        self._module = {
            name: module for group in COMMANDS.values() for name, (module, _) in group.items()
        }

    def __getitem__(self, name: str) -> Any:
        """The command. Raises ``KeyError``."""
        return _commands_of(self._module[name])[name]

    def __iter__(self) -> Iterator[str]:
        """The names, as the overview has them."""
        return iter(self._module)

    def __len__(self) -> int:
        """How many there are."""
        return len(self._module)


USAGE_ERRORS: tuple[type[Exception], ...] = (
    typer.Exit,
    typer.Abort,
    next(kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException"),
)
"""What typer handles itself: exits, Ctrl-C at a prompt, and every ``ClickException``, whether
click is a package of its own or, as in newer releases, a part of typer."""


class Commands(TyperGroup):
    """Loads commands late; turns errors into a sentence on stderr and scripts' exit codes."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands = LazyCommands()  # type: ignore[assignment]

    def format_commands(self, _ctx: Any, formatter: Any) -> None:
        """The overview, without loading anything."""
        for heading, group in COMMANDS.items():
            with formatter.section(heading):
                formatter.write_dl([(name, said) for name, (_, said) in group.items()])

    def invoke(self, ctx: Any) -> Any:
        """Runs the command. Exit codes: DESIGN.md, section 6; no traceback without --debug."""
        try:
            return super().invoke(ctx)
        except PushcertError as error:
            if _debugging(ctx):
                raise
            _say(error)
            raise typer.Exit(error.exit_status) from None
        except USAGE_ERRORS:
            raise
        except KeyboardInterrupt:
            raise typer.Exit(130) from None
        except Exception as error:
            if _debugging(ctx):
                raise
            # The text of an unforeseen error may quote what it was given; its type cannot.
            print(
                f"pushcert: internal fault ({type(error).__name__})."
                " Run the command again with --debug and report what it prints.",
                file=sys.stderr,
            )
            raise typer.Exit(1) from None


def _debugging(ctx: Any) -> bool:
    return bool(ctx.params.get("debug"))


def _say(error: PushcertError) -> None:
    if isinstance(error, Refused):
        for finding in error.findings:
            if finding.refuses:
                print(f"pushcert: {finding} [{finding.code}]", file=sys.stderr)
        return
    again = " Try again later." if isinstance(error, Unavailable) and not error.remedy else ""
    print(f"pushcert: {error}{again} [{error.code}]", file=sys.stderr)


app = typer.Typer(
    name="pushcert",
    cls=Commands,
    rich_markup_mode=None,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Keeps every customer's MDM push certificate alive: renewed in time, never created"
    " by mistake, proven isolated.",
    epilog="Try it without Apple: pushcert lab run",
)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(f"pushcert {version('pushcert')}")
        raise typer.Exit


@app.callback()
def main(
    ctx: typer.Context,
    config: Annotated[
        Path | None,
        typer.Option("--config", help="Configuration file; else $PUSHCERT_CONFIG, ./config.toml."),
    ] = None,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
    version: Annotated[  # noqa: ARG001  (handled by its callback)
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Say the version.")
    ] = False,
) -> None:
    """Options that every command shares."""
    ctx.obj = Invocation(config, debug)
    if ctx.invoked_subcommand not in LONG_RUNNING:
        # What a short command loads lives until its end: looking it through for garbage again
        # and again, and once more at the exit, is a quarter of its time.
        gc.set_threshold(200_000, 20, 20)
        atexit.register(gc.freeze)
