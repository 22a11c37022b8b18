"""``lab``: Apple, locally; and a vendor's year played through the real code."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.invocation import AsJson, console, print_json, read_file, write_file
from lifecycle.errors import refuse

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from rich.console import Console

    from lifecycle.rehearsal.play import Wanted
    from lifecycle.rehearsal.stage import Stage
    from lifecycle.rehearsal.timeline import Line
    from lifecycle.rehearsal.year import Year

lab = typer.Typer(
    no_args_is_help=True,
    help="A local stand-in for Apple: portal and APNs gateway. Example: pushcert lab run",
)
portal = typer.Typer(
    no_args_is_help=True,
    help="The portal of a running `pushcert lab up`. Example: pushcert lab portal list --url URL",
)
MOST_INSTANCES = 64
Url = Annotated[str, typer.Option("--url", help="The portal_url that `lab up` printed.")]
Account = Annotated[str, typer.Option("--apple-account", help="Who is signed in.")]
RequestFile = Annotated[Path, typer.Argument(help="The push certificate request.")]
Out = Annotated[Path | None, typer.Option("--out", help="Where the certificate goes; else stdout.")]


def register(app: typer.Typer) -> None:
    """Adds these commands to the command line."""
    lab.add_typer(portal, name="portal")
    app.add_typer(lab, name="lab")


def _require_extra(*, server: bool = False) -> None:
    from importlib.util import find_spec

    needed = ("aiosmtpd", "h2", "OpenSSL", *(("fastapi", "uvicorn") if server else ()))
    if any(find_spec(name) is None for name in needed):
        raise refuse(
            "lab_not_installed",
            "The lab's packages are not installed.",
            f"Run `pip install 'pushcert[{'lab,server' if server else 'lab'}]'`.",
        )


@lab.command()
def run(
    customers: Annotated[int, typer.Option("--customers", min=1, help="How many.")] = 6,
    days: Annotated[int, typer.Option("--days", min=1, max=2000, help="How many.")] = 400,
    seed: Annotated[int, typer.Option("--seed", help="Fixes what happens and when.")] = 1,
    quiet_year: Annotated[
        bool, typer.Option("--quiet-year", help="Nothing goes wrong: no staged mishaps.")
    ] = False,
    distributed: Annotated[
        bool,
        typer.Option(
            "--distributed", help="A process for each instance, two for the vendor, TLS between."
        ),
    ] = False,
    directory: Annotated[
        Path | None, typer.Option("--dir", help="Keep the deployment here, to look at it later.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Plays a vendor's year through the real code, on a clock that is moved.

    Real keys, SQLite, SMTP, HTTP/2 and TLS with client certificates, on this machine alone;
    only the clock, the portal and the gateway are the lab's. Things go wrong on purpose, and
    the timeline shows how they are caught. Ends with PASS, or FAIL and exit code 1.

    With --distributed the planes are apart: `serve`, `run` and every `instance run` are processes
    of their own that talk over TLS, and every byte between them is searched for secrets.

    Example: pushcert lab run --customers 6 --days 400
    """
    if distributed and customers > MOST_INSTANCES:
        raise typer.BadParameter(
            f"at most {MOST_INSTANCES} with --distributed: each is a process of its own",
            param_hint="--customers",
        )
    _require_extra(server=distributed)
    import tempfile

    from lifecycle.rehearsal.play import Wanted, distributed_year, embedded_year

    play = distributed_year if distributed else embedded_year
    wanted = Wanted(customers, days, seed, quiet_year)
    if directory is not None:
        if directory.exists() and any(directory.iterdir()):
            raise refuse(
                "directory_not_empty",
                f"{directory} is not empty.",
                "Name a new folder with --dir, or leave it out.",
            )
        code = _play(play, directory, wanted, as_json)
    else:
        with tempfile.TemporaryDirectory(prefix="pushcert-lab-") as folder:
            code = _play(play, Path(folder) / "vendor", wanted, as_json)
    raise typer.Exit(code)


def _play(
    play: Callable[[Path, Wanted], AbstractContextManager[Year]],
    directory: Path,
    wanted: Wanted,
    as_json: bool,
) -> int:
    import logging
    from dataclasses import replace

    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    from lifecycle.log_lines import configure
    from lifecycle.rehearsal.verdict import failures, totals

    configure(least=logging.ERROR)
    out, err = console(), console(stderr=True)
    columns = (TextColumn("day {task.completed}/{task.total}"), BarColumn(), TimeRemainingColumn())
    bar = Progress(*columns, console=err, transient=True, disable=not err.is_terminal)
    task = bar.add_task("year", total=wanted.days)
    told = replace(
        wanted,
        tell=lambda line: None if as_json else _tell(out, line),
        progress=lambda done: bar.update(task, completed=done),
    )
    with play(directory, told) as year, bar:
        year.play()
        bar.stop()
        wrong, sums = list(failures(year)), totals(year)
        if as_json:
            _print_outcome_json(year.timeline.lines, sums, wrong)
        else:
            _print_report(out, year.stage)
            if (unseen := year.stage.deployment.boundary.unseen) is not None:
                out.print(f"Not searched for secrets: {unseen}", markup=False)
            out.print(
                f"renewals {sums.renewals}, pushes {sums.pushes}, reminders {sums.reminders},"
                f" refusals {sums.refusals}"
            )
            out.print(f"FAIL: {'; '.join(wrong)}" if wrong else "PASS", markup=False)
    return 1 if wrong else 0


def _tell(out: Console, line: Line) -> None:
    from rich.text import Text

    styles = {"trouble": "yellow", "caught": "bold cyan", "mail": "dim", "news": ""}
    mark = {"trouble": "!", "caught": "✓", "mail": "✉", "news": "·"}[line.tone]
    out.print(Text(f"day {line.day:>3}  {mark} {line.who}: {line.text}", style=styles[line.tone]))


def _print_report(out: Console, stage: Stage) -> None:
    from cli.report_table import print_report
    from lifecycle.vendor import reporting

    plane = stage.plane
    print_report(reporting.build(plane.database, plane.policy, plane.clock.now()), out, None)


def _print_outcome_json(lines: list[Line], sums: object, wrong: list[str]) -> None:
    from dataclasses import asdict

    from lifecycle.rehearsal.verdict import Totals

    if not isinstance(sums, Totals):
        raise TypeError("totals are needed")
    print_json(
        {
            "timeline": [asdict(line) for line in lines],
            "totals": asdict(sums),
            "passed": not wrong,
            "failures": wrong,
        }
    )


@lab.command()
def up(
    directory: Annotated[
        Path, typer.Option("--dir", help="Where the lab keeps its CAs and what it issued.")
    ] = Path("lab"),
    apns_port: Annotated[int, typer.Option("--apns-port", help="0 takes a free one.")] = 0,
    portal_port: Annotated[int, typer.Option("--portal-port", help="0 takes a free one.")] = 0,
) -> None:
    """Serves the portal and the APNs gateway on loopback until SIGTERM.

    Prints one JSON line when it is ready: ports, CA files, and a signing certificate to use.

    Example: pushcert lab up --dir lab --apns-port 2197
    """
    _require_extra()
    import json
    import signal
    import threading

    from lifecycle.lab.serve import Lab

    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    with Lab(directory, apns_port=apns_port, portal_port=portal_port) as running:
        print(json.dumps(running.describe()), flush=True)
        stop.wait()


@portal.command()
def create(url: Url, apple_account: Account, request: RequestFile, out: Out = None) -> None:
    """Presses *Create a Certificate*: a certificate with a new topic.

    Example: pushcert lab portal create --url URL --apple-account it@acme.example request.b64
    """
    from lifecycle.lab.portal_client import PortalClient

    _give(PortalClient(url).create(apple_account, read_file(request)), out)


@portal.command()
def renew(
    url: Url,
    apple_account: Account,
    request: RequestFile,
    serial: Annotated[str, typer.Option("--serial", help="The row to press *Renew* beside.")],
    out: Out = None,
) -> None:
    """Presses *Renew* beside a row: a certificate with the same topic.

    Example: pushcert lab portal renew --url URL --apple-account A --serial 0A1B request.b64
    """
    from lifecycle.lab.portal_client import PortalClient

    _give(PortalClient(url).renew(apple_account, read_file(request), serial), out)


@portal.command("list")
def list_rows(url: Url, apple_account: Account) -> None:
    """Shows the rows that an Apple Account sees, as JSON.

    Example: pushcert lab portal list --url URL --apple-account it@acme.example
    """
    from lifecycle.lab.portal_client import PortalClient

    print_json(PortalClient(url).certificates(apple_account))


@portal.command()
def revoke(
    url: Url,
    apple_account: Account,
    serial: Annotated[str, typer.Option("--serial", help="The row to revoke.")],
) -> None:
    """Presses *Revoke* beside a row.

    Example: pushcert lab portal revoke --url URL --apple-account A --serial 0A1B
    """
    from lifecycle.lab.portal_client import PortalClient

    PortalClient(url).revoke(apple_account, serial)


def _give(certificate: bytes, out: Path | None) -> None:
    if out is None:
        sys.stdout.buffer.write(certificate)
    else:
        write_file(out, certificate)
