"""``report``: the expiry report that vendor ops read every morning."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.invocation import console, invocation, write_pieces
from lifecycle.errors import AttentionNeeded

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
        str | None, typer.Option("--within", help="Only what ends within this time, e.g. 60d.")
    ] = None,
    status: Annotated[
        list[str] | None, typer.Option("--status", help="Only this status; may be repeated.")
    ] = None,
    form: Annotated[
        str, typer.Option("--format", help="table, json, csv, html, ics or prometheus.")
    ] = "table",
    as_json: Annotated[bool, typer.Option("--json", help="The same as --format json.")] = False,
    out: Annotated[Path | None, typer.Option("--out", help="Write to this file.")] = None,
    at: Annotated[
        str | None, typer.Option("--at", help="As it will stand on this date, YYYY-MM-DD.")
    ] = None,
    order: Annotated[
        str, typer.Option("--sort", help="urgency, expiry, customer, account or status.")
    ] = "urgency",
    tag: Annotated[
        list[str] | None, typer.Option("--tag", help="Only with this tag; repeatable.")
    ] = None,
    by_whom: Annotated[
        bool,
        typer.Option("--who", help="By Apple Account and by contact; table, json or csv."),
    ] = False,
    fail_on: Annotated[
        list[str] | None,
        typer.Option("--fail-on", help="Exit code 4 if anybody has this status; repeatable."),
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
    with invocation(ctx).vendor_side() as side:
        now = side.clock.now()
        found = reporting.build(side.database, side.policy, moment or now, tags=tag or ())
        vendor = side.config.vendor.name
    shown = found.only(within=span, statuses=wanted).sorted_by(order)
    if by_whom:
        from cli.report_table import print_who

        print_who(shown, form, out)
    elif form == "table":
        from cli.report_table import print_report

        print_report(shown, console() if out is None else None, out)
    else:
        _write(_pieces(shown, form, vendor, now), out)
    _fail_on(failing, {row.slug for row in found.rows if row.status in failing})


def _stream_csv(
    ctx: typer.Context,
    moment: datetime | None,
    span: timedelta | None,
    wanted: tuple[str, ...],
    failing: tuple[str, ...],
    tags: Sequence[str],
    out: Path | None,
) -> None:
    """The form that programs read of everybody: it goes out as it is read."""
    from lifecycle.vendor import reporting

    hit: set[str] = set()

    def note(slug: str, status: str) -> None:
        if status in failing:
            hit.add(slug)

    with invocation(ctx).vendor_side() as side:
        pieces = reporting.stream_csv(
            side.database,
            side.policy,
            moment or side.clock.now(),
            tags=tags,
            within=span,
            statuses=wanted,
            note=note,
        )
        _write(pieces, out)
    _fail_on(failing, hit)


def _fail_on(failing: tuple[str, ...], hit: set[str]) -> None:
    if hit:
        slugs = ", ".join(sorted(hit))
        raise AttentionNeeded(f"{len(hit)} customers are {' or '.join(failing)}: {slugs}.")


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


def _write(pieces: Iterable[str], out: Path | None) -> None:
    if out is None:
        for piece in pieces:
            sys.stdout.write(piece)
    else:
        write_pieces(out, (piece.encode() for piece in pieces))


def _span(text: str | None) -> timedelta | None:
    if text is None:
        return None
    number = text.removesuffix("d")
    if not number.isdigit():
        raise typer.BadParameter("--within is a number of days, such as 60d")
    return timedelta(days=int(number))


def _moment(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter("--at is a date such as 2027-03-01") from None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _statuses(given: list[str] | None) -> tuple[str, ...]:
    from lifecycle.vendor.facts import Status

    for name in given or ():
        if name not in set(Status):
            raise typer.BadParameter(f"a status is one of {', '.join(Status)}")
    return tuple(given or ())
