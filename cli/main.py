"""``pushcert``: the one place where commands are put together.

Nothing heavy is imported here: each command imports what it needs when it runs, so that
``--help`` and the commands without a database start at once.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from cli import (
    audit,
    customers,
    instances,
    isolation,
    lab,
    renewals,
    reports,
    signers,
    upkeep,
    work,
)
from cli.invocation import Invocation
from lifecycle.errors import PushcertError, Refused, Unavailable

USAGE_ERRORS: tuple[type[Exception], ...] = (
    typer.Exit,
    typer.Abort,
    next(kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException"),
)
"""What typer handles itself: exits, Ctrl-C at a prompt, and every ``ClickException``, whether
click is a package of its own or, as in newer releases, a part of typer."""


class ErrorReporting(TyperGroup):
    """Turns errors into a sentence on stderr and the exit code that scripts rely on."""

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
    cls=ErrorReporting,
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


upkeep.register(app)
signers.register(app)
customers.register(app)
renewals.register(app)
work.register(app)
reports.register(app)
audit.register(app)
isolation.register(app)
instances.register(app)
lab.register(app)
