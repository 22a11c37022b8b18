"""``report``: the expiry report that vendor ops read every morning."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli import completion
from cli.invocation import console, invocation, put_pieces
from cli.progress import working
from lifecycle.errors import AttentionNeeded
from lifecycle.wording import counted

if TYPE_CHECKING:
    from lifecycle.vendor.report import Report

FORMATS = ("table", "json", "csv", "html", "ics", "prometheus")
WHO_FORMATS = ("table", "json", "csv")


def register(app: typer.Typer) -> None:
    """Adds this command to the command line."""
    app.command()(report)


def report(
    ctx: typer.Context,
    within: Annotated[
        str | None, typer.Option("--within", help="Only what ends within this time: 60d, 8w, 12h.")
    ] = None,
    status: Annotated[
        list[str] | None,
        typer.Option(
            "--status",
            help="Only this status; may be repeated.",
            autocompletion=completion.statuses,
        ),
    ] = None,
    form: Annotated[
        str,
        typer.Option(
            "--format",
            help="table, json, csv, html, ics or prometheus.",
            autocompletion=completion.words(*FORMATS),
        ),
    ] = "table",
    as_json: Annotated[bool, typer.Option("--json", help="The same as --format json.")] = False,
    out: Annotated[Path | None, typer.Option("--out", help="Write to this file.")] = None,
    at: Annotated[
        str | None,
        typer.Option(
            "--at", help="As it will stand on this date, or at the end of this month: 2027-03."
        ),
    ] = None,
    order: Annotated[
        str,
        typer.Option(
            "--sort",
            help="urgency, expiry, customer, account or status.",
            autocompletion=completion.words("urgency", "expiry", "customer", "account", "status"),
        ),
    ] = "urgency",
    tag: Annotated[
        list[str] | None,
        typer.Option(
            "--tag", help="Only with this tag; repeatable.", autocompletion=completion.tags
        ),
    ] = None,
    by_whom: Annotated[
        bool,
        typer.Option("--who", help="By Apple Account and by contact; table, json or csv."),
    ] = False,
    fail_on: Annotated[
        list[str] | None,
        typer.Option(
            "--fail-on",
            help="Exit code 4 if anybody, or the signer, has this status; repeatable.",
            autocompletion=completion.statuses,
        ),
    ] = None,
) -> None:
    """Says whose push certificate ends when, and what is stuck and why.

    Example: pushcert report --within 60d --fail-on expired
    """
    from lifecycle.vendor import reporting
    from lifecycle.vendor.report import ORDERS

    form = "json" if as_json else form
    if form not in FORMATS:
        raise typer.BadParameter(f"--format is one of {', '.join(FORMATS)}")
    if order not in ORDERS:
        raise typer.BadParameter(f"--sort is one of {', '.join(ORDERS)}")
    if by_whom and form not in WHO_FORMATS:
        raise typer.BadParameter(f"with --who, --format is one of {', '.join(WHO_FORMATS)}")
    span, moment = _span(within), _moment(at)
    wanted, failing = _statuses(status), _statuses(fail_on)
    if form == "csv" and order == "urgency" and not by_whom:
        _stream_csv(ctx, moment, span, wanted, failing, tag or (), out)
        return
    with invocation(ctx).vendor_side() as side, working("Reading the registry"):
        now = side.clock.now()
        found = reporting.build(
            side.database,
            side.policy,
            moment or now,
            tags=tag or (),
            ops=side.config.vendor.ops,
            now=now,
        )
        vendor = side.config.vendor.name
    shown = found.only(within=span, statuses=wanted).sorted_by(order)
    if by_whom:
        from cli.report_table import print_who

        print_who(shown, form, out)
    elif form == "table":
        from cli.report_table import print_report

        print_report(shown, console() if out is None else None, out)
    else:
        with working("Writing the report"):
            pieces = [piece.encode() for piece in _pieces(shown, form, vendor, now)]
        put_pieces(out, pieces)
    _fail(
        failing,
        {row.slug for row in found.rows if row.status in failing},
        [signer.name for signer in found.signers if signer.status in failing],
    )


def _stream_csv(
    ctx: typer.Context,
    moment: datetime | None,
    span: timedelta | None,
    wanted: tuple[str, ...],
    failing: tuple[str, ...],
    tags: Sequence[str],
    out: Path | None,
) -> None:
    """The form that programs read of everybody, in memory that does not grow with them."""
    from lifecycle.sweep.pool import cores
    from lifecycle.vendor import reporting

    hit: set[str] = set()
    with invocation(ctx).vendor_side() as side:
        at = moment or side.clock.now()
        pieces = reporting.stream_csv(
            side.database,
            side.policy,
            at,
            tags=tags,
            within=span,
            statuses=wanted,
            note=hit.add,
            noted=failing,
            processes=cores(),
        )
        put_pieces(out, pieces)
        with side.database.reading() as session:
            signers = reporting.signer_rows(session, side.policy, at)
    _fail(failing, hit, [signer.name for signer in signers if signer.status in failing])


def _fail(failing: tuple[str, ...], hit: set[str], signers: list[str]) -> None:
    """Raises ``AttentionNeeded`` if a customer, or the signer, has one of these statuses."""
    said = []
    if hit:
        are = "is" if len(hit) == 1 else "are"
        slugs = ", ".join(sorted(hit))
        said.append(f"{counted(len(hit), 'customer')} {are} {' or '.join(failing)}: {slugs}.")
    if signers:
        said.append(f"MDM signing: {', '.join(signers)} ({' or '.join(failing)}).")
    if said:
        raise AttentionNeeded(" ".join(said), "See `pushcert report` for what comes next.")


def _pieces(shown: Report, form: str, vendor: str, now: datetime) -> Iterable[str]:
    from lifecycle.vendor.report import as_csv, as_json_text

    match form:
        case "json":
            return (as_json_text(shown),)
        case "csv":
            return (as_csv(shown),)
        case "html":
            from lifecycle.vendor.report_html import as_html

            return as_html(shown, vendor)
        case "ics":
            from lifecycle.vendor.report_calendar import as_calendar

            return (as_calendar(shown, vendor, now).decode(),)
        case _:
            from lifecycle.vendor.report_metrics import as_metrics_text

            return (as_metrics_text(shown),)


def _span(text: str | None) -> timedelta | None:
    if text is None:
        return None
    units = {"h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}
    number, unit = (text[:-1], text[-1:]) if text[-1:] in units else (text, "d")
    if not (number.isascii() and number.isdigit() and len(number) < 6):
        raise typer.BadParameter("--within is a time such as 60d, 8w or 12h")
    return int(number) * units[unit]


def _moment(text: str | None) -> datetime | None:
    """A date, an instant, or a month, which counts as its last second; UTC if it says no zone."""
    if text is None:
        return None
    month = re.fullmatch(r"(\d{4})-(\d{2})", text)
    try:
        if month is not None:
            years, months = divmod(int(month[1]) * 12 + int(month[2]), 12)
            datetime(int(month[1]), int(month[2]), 1, tzinfo=UTC)  # there is such a month
            return datetime(years, months + 1, 1, tzinfo=UTC) - timedelta(seconds=1)
        moment = datetime.fromisoformat(text)
    except (ValueError, OverflowError):
        raise typer.BadParameter("--at is a date such as 2027-03-01, or a month: 2027-03") from None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _statuses(given: list[str] | None) -> tuple[str, ...]:
    from lifecycle.vendor.facts import Status

    for name in given or ():
        if name not in set(Status):
            raise typer.BadParameter(f"a status is one of {', '.join(Status)}")
    return tuple(given or ())
