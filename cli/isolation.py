"""``isolation``: what was proven of whom, and documents about it that an auditor can check."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli import completion
from cli.invocation import AsJson, console, invocation, print_json, read_file

if TYPE_CHECKING:
    from lifecycle.vendor_side import VendorSide

FORMATS = ("table", "json", "csv", "html")
VERDICTS = ("isolated", "breached", "inconclusive", "unchecked")

isolation = typer.Typer(
    no_args_is_help=True,
    help="What isolation checks have proven. Example: pushcert isolation report --since 7d",
)


def register(app: typer.Typer) -> None:
    """Adds these commands to the command line."""
    app.add_typer(isolation, name="isolation")


@isolation.command()
def report(
    ctx: typer.Context,
    form: Annotated[
        str,
        typer.Option(
            "--format",
            help="table, json, csv or html.",
            autocompletion=completion.words(*FORMATS),
        ),
    ] = "table",
    as_json: Annotated[bool, typer.Option("--json", help="The same as --format json.")] = False,
    since: Annotated[
        str | None, typer.Option("--since", help="Only verdicts as new as this: 12h, 7d, a date.")
    ] = None,
    verdict: Annotated[
        list[str] | None,
        typer.Option(
            "--verdict",
            help="Only this verdict, or 'unchecked'; may be repeated.",
            autocompletion=completion.words(*VERDICTS),
        ),
    ] = None,
    run: Annotated[
        str | None,
        typer.Option("--run", help="Only what this run verified.", autocompletion=completion.runs),
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Write to this file.")] = None,
) -> None:
    """Says of every customer when isolation was last verified, and what APNs answered.

    Example: pushcert isolation report --verdict breached --verdict inconclusive
    """
    from lifecycle.since import parse_since
    from lifecycle.vendor import isolation_report, run_document

    form = "json" if as_json else form
    wanted = frozenset(verdict or VERDICTS)
    if form not in FORMATS:
        raise typer.BadParameter(f"--format is one of {', '.join(FORMATS)}")
    if not wanted <= frozenset(VERDICTS):
        raise typer.BadParameter(f"--verdict is one of {', '.join(VERDICTS)}")
    with invocation(ctx).vendor_side() as side, side.database.reading() as session:
        now = side.clock.now()
        start = None if since is None else parse_since(since, now)
        rows = (
            row
            for row in run_document.rows(session, run_id=run, since=start)
            if (row["verdict"] or "unchecked") in wanted
        )
        match form:
            case "json":
                pieces = isolation_report.as_json(rows)
            case "csv":
                pieces = isolation_report.as_csv(rows)
            case "html":
                pieces = isolation_report.as_html(
                    rows, side.config.vendor.name, f"{now:%Y-%m-%d %H:%M} UTC"
                )
            case _:
                pieces = _table(rows)
        if out is None:
            for piece in pieces:
                sys.stdout.write(piece)
        else:
            run_document.write_private(out, (piece.encode() for piece in pieces))


def _table(rows: Iterator[dict[str, Any]]) -> Iterator[str]:
    """Lines of fixed columns: a table that must fit its longest cell would hold everybody."""
    width = max(60, console().width)
    yield f"{'customer':<24} {'verified':<16} {'verdict':<12} why"[:width] + "\n"
    for row in rows:
        at = (row["checked_at"] or "never")[:16].replace("T", " ")
        why = row["why"] or ""
        line = f"{row['slug'][:24]:<24} {at:<16} {row['verdict'] or 'unchecked':<12} {why}"
        yield (line if len(line) <= width else line[: width - 1] + "…") + "\n"


@isolation.command()
def runs(ctx: typer.Context, as_json: AsJson = False) -> None:
    """Lists the runs of `verify --all`, newest first.

    Example: pushcert isolation runs
    """
    from lifecycle.vendor import sweeps

    with invocation(ctx).vendor_side() as side, side.database.reading() as session:
        listed = [
            {
                "run": run.id,
                "started_at": run.started_at.isoformat(),
                "finished_at": None if run.finished_at is None else run.finished_at.isoformat(),
                "verdicts": {str(v): n for v, n in sweeps.verdicts(session, run.id).items()},
                "document": run.document,
            }
            for run in sweeps.newest(session, 100)
        ]
    if as_json:
        print_json(listed)
        return
    out = console()
    for row in listed:
        counts = ", ".join(f"{n} {v}" for v, n in row["verdicts"].items())  # type: ignore[union-attr]
        state = "finished" if row["finished_at"] else "not finished"
        out.print(f"{row['run']}  {state}  {counts}", markup=False, soft_wrap=True)


@isolation.command()
def document(
    ctx: typer.Context,
    run: Annotated[str, typer.Argument(help="Id of the run.", autocompletion=completion.runs)],
) -> None:
    """Writes the signed document of a run; `verify --all` does so by itself.

    Example: pushcert isolation document 20261124T045500Z-3f2a91bc
    """
    with invocation(ctx).vendor_side() as side:
        console().print(str(write_document(side, run)), markup=False, soft_wrap=True)


def write_document(side: VendorSide, run_id: str) -> Path:
    """Writes and signs a run's document, and notes it. Raises ``Refused``."""
    from lifecycle.evidence import write_signed

    return write_signed(side.config, side.database, run_id)


@isolation.command("verify-evidence")
def verify_evidence(
    file: Annotated[Path, typer.Argument(help="The document, isolation-….json.")],
    signature: Annotated[
        Path | None, typer.Option("--signature", help="Default: FILE.sig.")
    ] = None,
    public_key: Annotated[
        Path | None, typer.Option("--public-key", help="Default: signing.pub.pem beside FILE.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Checks a run's document: its signature, and that its verdicts follow from its answers.

    Needs no database and no configuration.

    Example: pushcert isolation verify-evidence evidence/isolation-20261124T045500Z-3f2a91bc.json
    """
    from lifecycle.errors import refuse
    from lifecycle.evidence_key import verify_signature
    from lifecycle.vendor.run_document import contradictions, parse_document

    data = read_document(file)
    signed = read_file(signature or file.with_name(file.name + ".sig"))
    key = read_file(public_key or file.with_name("signing.pub.pem"))
    fingerprint = verify_signature(key, signed, data)
    found = parse_document(data)
    wrong = contradictions(found)
    if wrong:
        raise refuse(
            "verdict_does_not_follow",
            f"The answers in the document do not allow the verdict of {', '.join(wrong[:10])}.",
            "Ask the vendor how this document was made.",
        )
    said = {
        "run": found["run"],
        "vendor": found["vendor"],
        "started_at": found["started_at"],
        "finished_at": found["finished_at"],
        "verdicts": found["verdicts"],
        "customers": len(found["customers"]),
        "signed_by": fingerprint,
    }
    if as_json:
        print_json(said)
        return
    for name, value in said.items():
        console().print(f"{name}: {value}", markup=False, soft_wrap=True)


def read_document(file: Path) -> bytes:
    """A document of any size. Raises ``Refused``: ``file_unreadable``."""
    from lifecycle.errors import refuse

    try:
        return file.read_bytes()
    except OSError as error:
        raise refuse(
            "file_unreadable", f"{file} cannot be read ({error.strerror}).", "Name another file."
        ) from None
