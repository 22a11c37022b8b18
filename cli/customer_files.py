"""``customer import`` and ``export``: many customers at once, as CSV or JSON."""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli import completion, customer_sources
from cli.invocation import (
    MAX_LIST,
    AsJson,
    actor,
    console,
    invocation,
    json_list,
    opened_file,
    print_json,
    print_json_ending,
    put_pieces,
    read_file,
    write_file,
    write_pieces,
)
from cli.progress import track, working
from lifecycle.errors import AttentionNeeded, refuse
from lifecycle.wording import counted

if TYPE_CHECKING:
    from lifecycle.spool import Spool
    from lifecycle.vendor.bad_rows import BadRow
    from lifecycle.vendor.bulk import ImportOutcome
    from lifecycle.vendor.customer_file import Row, Rows
    from lifecycle.vendor.found_certificates import Found

SHOWN = 200
"""How many bad rows are named one by one; --bad-rows and --json have them all."""
FORMATS = ("csv", "json")


def add_to(customer: typer.Typer) -> None:
    """Adds these commands to the registry's."""
    customer.command("import")(import_customers)
    customer.command("export")(export)


def import_customers(
    ctx: typer.Context,
    file: Annotated[
        Path | None,
        typer.Argument(
            help="CSV or JSON: slug,name,email and, if wanted, apple_account, certificate"
            " (a path), contacts, language, tags, notes, kind. - for stdin. Or a folder with"
            " MDM_…_Certificate.pem files, or a dump of NanoMDM's database (.sql)."
        ),
    ] = None,
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
        str | None,
        typer.Option(
            "--format",
            help="csv or json; else by the file's ending.",
            autocompletion=completion.words(*FORMATS),
        ),
    ] = None,
    zentral: Annotated[
        str | None, typer.Option("--zentral", help="Take the certificates of this Zentral server.")
    ] = None,
    nanomdm: Annotated[
        str | None,
        typer.Option("--nanomdm", help="Hold this NanoMDM's expiries against the registry."),
    ] = None,
    topic: Annotated[
        list[str] | None, typer.Option("--topic", help="Ask NanoMDM for this one; repeatable.")
    ] = None,
    api_key: Annotated[
        str | None,
        typer.Option("--api-key-from", help="The server's key: env:NAME, file:PATH, command:…"),
    ] = None,
    ca_file: Annotated[
        Path | None, typer.Option("--ca-file", help="Trust this CA for the server.")
    ] = None,
    email: Annotated[
        str, typer.Option("--email", help="The address of customers found by certificate alone.")
    ] = "",
    draft: Annotated[
        Path | None,
        typer.Option("--draft", help="Write those customers to this CSV, to be completed."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Adds many customers at once; nothing is imported when any row is bad.

    From a folder, a dump or a server, customers are known again by the topic of their
    certificate; NanoMDM's API gives no certificates, so its expiries are compared.

    Exit code 3 when rows are bad; with --keep-going 4, and the good rows are in. What is
    recorded as it stands in the file changes nothing, so a file can be imported again.

    Example: pushcert customer import customers.csv
    """
    from lifecycle.vendor.customer_file import read_customers

    server = customer_sources.Server(nanomdm, zentral, api_key, ca_file, tuple(topic or ()))
    if (file is None) == (not server.is_given):
        raise typer.BadParameter("give a file, --zentral or --nanomdm")
    if server.nanomdm is not None:
        _compare(ctx, server, as_json)
        return
    found = customer_sources.found_at(server) if file is None else customer_sources.found_in(file)
    how = _How(keep_going, update, dry_run, bad_rows, as_json)
    if found is not None:
        rows, read_certificate = _found_rows(ctx, found, email, draft, as_json)
        if draft is None:
            _import(ctx, rows, read_certificate, how)
    elif file is not None:
        kind = form or ("json" if file.suffix.lower() == ".json" else "csv")
        if kind not in FORMATS:
            raise typer.BadParameter("--format is csv or json")
        folder = file.parent
        with opened_file(file, MAX_LIST) as data:
            _import(ctx, read_customers(data, kind), lambda path: read_file(folder / path), how)


@dataclass(frozen=True, slots=True)
class _How:
    """The options of an import that do not say where the customers come from."""

    keep_going: bool
    update: bool
    dry_run: bool
    bad_rows: Path | None
    as_json: bool


def _import(
    ctx: typer.Context, rows: Rows, read_certificate: Callable[[Path], bytes], how: _How
) -> None:
    from lifecycle.vendor import bulk
    from lifecycle.vendor.bad_rows import BadRows

    with invocation(ctx).vendor_side() as side:
        try:
            outcome = bulk.import_customers(
                side.database,
                track(rows, "Importing"),
                read_certificate=read_certificate,
                keep_going=how.keep_going,
                update=how.update,
                dry_run=how.dry_run,
                at=side.clock.now(),
                actor=actor(),
            )
        except BadRows as bad:
            _write_bad_rows(how.bad_rows, bad.rows)
            if how.as_json:
                _print_outcome(bulk.ImportOutcome(bad=bad.rows))
            _say_bad_rows(bad.rows)
            raise refuse(
                "rows_bad",
                f"{counted(len(bad.rows), 'row is', 'rows are')} bad, and nothing was imported.",
                "Mend them, or import the others with --keep-going."
                + _where(how.bad_rows, more=len(bad.rows) > SHOWN),
            ) from None
    _write_bad_rows(how.bad_rows, outcome.bad)
    if how.as_json:
        _print_outcome(outcome)
    else:
        would = "Would add" if how.dry_run else "Added"
        console().print(
            f"{would} {outcome.added}, changed {outcome.changed}, unchanged {outcome.unchanged}."
        )
    if outcome.bad:
        _say_bad_rows(outcome.bad)
        raise AttentionNeeded(
            f"{counted(len(outcome.bad), 'row was', 'rows were')} left out.",
            "Mend them and import the file again; what is in stays as it is."
            + _where(how.bad_rows, more=len(outcome.bad) > SHOWN),
        )


def _print_outcome(outcome: ImportOutcome) -> None:
    counts = {name: getattr(outcome, name) for name in ("added", "changed", "unchanged")}
    print_json_ending(counts, "bad", _documents(outcome.bad))


def _say_bad_rows(rows: Spool[BadRow]) -> None:
    for bad in islice(rows, SHOWN):
        for finding in bad.findings:
            print(f"pushcert: Line {bad.line}: {finding} [{finding.code}]", file=sys.stderr)
    if len(rows) > SHOWN:
        print(f"pushcert: … and {counted(len(rows) - SHOWN, 'more row')}.", file=sys.stderr)


def _found_rows(
    ctx: typer.Context, found: list[Found], email: str, draft: Path | None, as_json: bool
) -> tuple[list[Row], Callable[[Path], bytes]]:
    """Rows for certificates that were found, or the draft of a list of them."""
    from lifecycle.vendor.found_certificates import (
        active_ends,
        as_rows,
        require_addresses,
        slugs_by_topic,
    )

    with invocation(ctx).vendor_side() as side, side.database.reading() as session:
        made = as_rows(found, slugs_by_topic(session), active_ends(session), email)
    for label in made.older:
        print(f"note: {label} is older than another certificate of its topic.", file=sys.stderr)
    if draft is None:
        require_addresses(made)
    else:
        customer_sources.write_draft(made.new, dict(made.data), draft)
        if as_json:
            print_json({"drafted": len(made.new), "known": len(made.rows) - len(made.new)})
        else:
            console().print(
                f"Wrote {draft} with {len(made.new)} customers;"
                f" {len(made.rows) - len(made.new)} are in the registry already. Fill it in, and"
                " import it.",
                markup=False,
            )
    return list(made.rows), lambda path: made.data[str(path)]


def _compare(ctx: typer.Context, server: customer_sources.Server, as_json: bool) -> None:
    with invocation(ctx).vendor_side() as side, side.database.reading() as session:
        agree, bad = customer_sources.compared_with(server, session)
    if as_json:
        print_json({"added": 0, "changed": 0, "unchanged": agree, "bad": [*_documents(bad)]})
    else:
        console().print(f"{agree} agree, {len(bad)} do not.")
    if bad:
        said = " ".join(str(finding) for row in bad[:SHOWN] for finding in row.findings)
        raise AttentionNeeded(said)


def _where(file: Path | None, *, more: bool) -> str:
    if file is not None:
        return f" All of them are in {file}."
    return " See them all with --json or --bad-rows FILE." if more else ""


def _documents(rows: Iterable[BadRow]) -> Iterator[dict[str, object]]:
    for bad in rows:
        for finding in bad.findings:
            yield {
                "line": bad.line,
                "slug": bad.slug,
                "code": finding.code,
                "message": finding.message,
                "remedy": finding.remedy,
            }


def _write_bad_rows(file: Path | None, rows: Iterable[BadRow]) -> None:
    if file is not None:
        write_pieces(file, _bad_rows_as_csv(rows))


def _bad_rows_as_csv(rows: Iterable[BadRow]) -> Iterator[bytes]:
    from lifecycle.vendor.csv_cells import harmless

    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("line", "slug", "code", "message", "remedy"))
    for document in _documents(rows):
        writer.writerow([harmless(value) for value in document.values()])
        yield text.getvalue().encode()
        text.seek(0)
        text.truncate()
    yield text.getvalue().encode()


def export(
    ctx: typer.Context,
    form: Annotated[
        str,
        typer.Option("--format", help="csv or json.", autocompletion=completion.words(*FORMATS)),
    ] = "csv",
    out: Annotated[Path | None, typer.Option("--out", help="Write to this file.")] = None,
    certificates: Annotated[
        Path | None,
        typer.Option("--certificates", help="Also put the active certificates in this folder."),
    ] = None,
    tag: Annotated[
        list[str] | None,
        typer.Option(
            "--tag", help="Only with this tag; repeatable.", autocompletion=completion.tags
        ),
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
    with invocation(ctx).vendor_side() as side, working("Exporting"):
        rows = bulk.exported(
            side.database, offboarded=everyone, tags=tag or (), save_certificate=save
        )
        lines = chain(json_list(as_documents(rows)), "\n") if kind == "json" else write_csv(rows)
        put_pieces(out, (line.encode() for line in lines))


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
