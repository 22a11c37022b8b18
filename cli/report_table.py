"""The expiry report as a table for people; fits 80 columns, colours by urgency."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from cli.invocation import write_file

if TYPE_CHECKING:
    from lifecycle.vendor.report import Report, ReportRow

STYLES = {
    "expired": "bold red",
    "revoked": "bold red",
    "urgent": "red",
    "due": "yellow",
    "no_certificate": "magenta",
    "paused": "dim",
    "ok": "green",
}


def print_report(report: Report, out: Console | None, file: Path | None) -> None:
    """Prints the report, or writes it to a file as plain text of 100 columns."""
    if file is not None:
        recorder = Console(record=True, width=100, file=io.StringIO())
        _print(report, recorder)
        write_file(file, recorder.export_text().encode())
    elif out is not None:
        _print(report, out)


def _print(report: Report, out: Console) -> None:
    table = Table(box=None, pad_edge=False)
    table.add_column("customer", max_width=20)
    table.add_column("status")
    table.add_column("expires")
    table.add_column("left", justify="right")
    table.add_column("next")
    for row in report.rows:
        table.add_row(
            Text(row.slug, overflow="fold"),
            Text(row.status, style=STYLES.get(row.status, "")),
            "" if row.not_after is None else f"{row.not_after:%Y-%m-%d}",
            "" if row.days_left is None else f"{row.days_left} d",
            _next(row),
        )
    out.print(table)
    for signer in report.signers:
        line = f"signer: {signer.name}, until {signer.not_after:%Y-%m-%d} ({signer.days_left} d)"
        out.print(
            Text(line, style="" if signer.status == "ok" else STYLES[signer.status]),
            soft_wrap=False,
        )
    counts = ", ".join(f"{count} {status}" for status, count in report.counts.items())
    out.print(Text(f"{report.at:%Y-%m-%d %H:%M} UTC: {counts or 'no customers'}"))


def _next(row: ReportRow) -> Text:
    text = Text(overflow="fold")
    if row.verdict == "breached":
        text.append("ISOLATION BREACHED\n", style="bold red")
    if row.blocked_by is not None:
        since = "" if row.blocked_since is None else f" since {row.blocked_since:%Y-%m-%d}"
        text.append(f"held up{since}, {row.acts} must act: ", style="yellow")
    # The first sentence says what is wrong; `customer show` and --json have the rest.
    return text.append(row.next_step.split(". ")[0].rstrip("."))
