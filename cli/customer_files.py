"""``customer import`` and ``export``: many customers at once, as CSV or JSON."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.invocation import (
    MAX_LIST,
    AsJson,
    actor,
    console,
    invocation,
    print_json,
    read_file,
    write_file,
)
from lifecycle.errors import AttentionNeeded, Finding, Refused

if TYPE_CHECKING:
    from lifecycle.vendor.bulk import BadRow

SHOWN = 20
"""How many bad lines are named one by one on a terminal."""
FORMATS = ("csv", "json")


def add_to(customer: typer.Typer) -> None:
    """Adds these commands to the registry's."""
    customer.command("import")(import_customers)
    customer.command("export")(export)


def import_customers(
    ctx: typer.Context,
    file: Annotated[
        Path,
        typer.Argument(
            help="CSV or JSON: slug,name,email and, if wanted, apple_account, certificate"
            " (a path), contacts, language, tags, notes. - for stdin."
        ),
    ],
    keep_going: Annotated[
        bool, typer.Option("--keep-going", help="Import the good rows though others are bad.")
    ] = False,
    update: Annotated[
        bool, typer.Option("--update", help="Change customers that are recorded otherwise.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be, and write nothing.")
    ] = False,
    bad_rows: Annotated[
        Path | None,
        typer.Option("--bad-rows", help="Write the bad lines with their reasons to this CSV."),
    ] = None,
    form: Annotated[
        str | None, typer.Option("--format", help="csv or json; else by the file's ending.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Adds many customers at once; nothing is imported when any row is bad.

    Exit code 3 when rows are bad; with --keep-going 4, and the good rows are in. What is
    recorded as it stands in the file changes nothing, so a file can be imported again.

    Example: pushcert customer import customers.csv
    """
    from rich.progress import track

    from lifecycle.vendor import bulk
    from lifecycle.vendor.customer_file import read_customers

    kind = form or ("json" if file.suffix.lower() == ".json" else "csv")
    if kind not in FORMATS:
        raise typer.BadParameter("--format is csv or json")
    rows = read_customers(read_file(file, MAX_LIST), kind)
    with invocation(ctx).vendor_side() as side:
        try:
            outcome = bulk.import_customers(
                side.database,
                track(rows, description="Importing", console=console(stderr=True), transient=True),
                read_certificate=lambda path: read_file(file.parent / path),
                keep_going=keep_going,
                update=update,
                dry_run=dry_run,
                at=side.clock.now(),
                actor=actor(),
            )
        except bulk.BadRows as bad:
            _write_bad_rows(bad_rows, bad.rows)
            if as_json:
                print_json({"added": 0, "changed": 0, "unchanged": 0, "bad": _as_json(bad.rows)})
            raise _shortened(bad) from None
    _write_bad_rows(bad_rows, outcome.bad)
    if as_json:
        print_json(
            {
                "added": outcome.added,
                "changed": outcome.changed,
                "unchanged": outcome.unchanged,
                "bad": _as_json(outcome.bad),
            }
        )
    else:
        would = "Would add" if dry_run else "Added"
        console().print(
            f"{would} {outcome.added}, changed {outcome.changed}, unchanged {outcome.unchanged}."
        )
    if outcome.bad:
        lines = [f"line {b.line}: {f.message}" for b in outcome.bad for f in b.findings]
        more = f"; and {len(lines) - SHOWN} more" if len(lines) > SHOWN else ""
        raise AttentionNeeded(
            f"{len(outcome.bad)} rows were left out: {'; '.join(lines[:SHOWN])}{more}.",
            "Mend them and import the file again; what is in stays as it is."
            + _where(bad_rows, more=bool(more)),
        )


def _shortened(bad: Refused) -> Refused:
    if len(bad.findings) <= SHOWN:
        return bad
    return Refused(
        (
            *bad.findings[:SHOWN],
            Finding(
                "more_bad_rows",
                f"{len(bad.findings) - SHOWN} more things are wrong; nothing was imported.",
                "See them all with --json, or in a file with --bad-rows FILE.",
            ),
        )
    )


def _where(file: Path | None, *, more: bool) -> str:
    if file is not None:
        return f" All of them are in {file}."
    return " See them all with --json or --bad-rows FILE." if more else ""


def _as_json(rows: Sequence[BadRow]) -> list[dict[str, object]]:
    return [
        {
            "line": b.line,
            "slug": b.slug,
            "code": f.code,
            "message": f.message,
            "remedy": f.remedy,
        }
        for b in rows
        for f in b.findings
    ]


def _write_bad_rows(file: Path | None, rows: Sequence[BadRow]) -> None:
    from lifecycle.vendor.csv_cells import harmless

    if file is None:
        return
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("line", "slug", "code", "message", "remedy"))
    for row in _as_json(rows):
        writer.writerow([harmless(value) for value in row.values()])
    write_file(file, text.getvalue().encode())


def export(
    ctx: typer.Context,
    form: Annotated[str, typer.Option("--format", help="csv or json.")] = "csv",
    out: Annotated[Path | None, typer.Option("--out", help="Write to this file.")] = None,
    certificates: Annotated[
        Path | None,
        typer.Option("--certificates", help="Also put the active certificates in this folder."),
    ] = None,
    tag: Annotated[
        list[str] | None, typer.Option("--tag", help="Only with this tag; repeatable.")
    ] = None,
    everyone: Annotated[bool, typer.Option("--all", help="Off-boarded customers as well.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="The same as --format json.")] = False,
) -> None:
    """Writes the registry as a file that ``customer import`` reads.

    Example: pushcert customer export --out customers.csv --certificates certificates
    """
    from lifecycle.vendor import bulk
    from lifecycle.vendor.customer_file import as_documents, write_csv

    kind = "json" if as_json else form
    if kind not in FORMATS:
        raise typer.BadParameter("--format is csv or json")
    save = None if certificates is None else _saver(certificates, out)
    with invocation(ctx).vendor_side() as side:
        rows = bulk.exported(
            side.database, offboarded=everyone, tags=tag or (), save_certificate=save
        )
        if kind == "json":
            text = json.dumps(as_documents(rows), indent=2, ensure_ascii=False) + "\n"
        elif out is None:
            for part in write_csv(rows):
                print(part, end="")
            return
        else:
            text = "".join(write_csv(rows))
    if out is None:
        print(text, end="")
    else:
        write_file(out, text.encode())


def _saver(folder: Path, out: Path | None) -> Callable[[str, bytes], str]:
    """Writes a certificate into the folder; gives its path as seen from the list's folder."""
    folder.mkdir(parents=True, exist_ok=True)
    base = Path.cwd() if out is None else out.absolute().parent

    def save(slug: str, der: bytes) -> str:
        from lifecycle.pki.push_certificate import PushCertificate

        path = folder.absolute() / f"MDM_{slug}_Certificate.pem"
        write_file(path, PushCertificate.from_der(der).pem.encode())
        return str(path.relative_to(base) if path.is_relative_to(base) else path)

    return save
