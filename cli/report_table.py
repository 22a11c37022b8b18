"""The expiry report as a table for people; fits 80 columns, colours by urgency."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from cli.invocation import console, write_file
from lifecycle.vendor.csv_cells import harmless
from lifecycle.wording import counted

if TYPE_CHECKING:
    from lifecycle.vendor.report import Report, ReportRow
    from lifecycle.vendor.report_who import Account, ContactOf, Who

STYLES = {
    "expired": "bold red",
    "revoked": "bold red",
    "urgent": "red",
    "due": "yellow",
    "no_certificate": "magenta",
    "paused": "dim",
    "ok": "green",
}


WIDE = 132
"""From this width on the table has room for names and Apple Accounts."""
WIDEST = 220
"""From this width on for topics as well."""
FEW = 40
"""Up to so many Apple Accounts and contacts, the table by whom lists all of them."""


def print_who(report: Report, form: str, file: Path | None) -> None:
    """Prints, or writes, the report by Apple Account and by contact."""
    from lifecycle.vendor.report_who import who

    found = who(report.rows, report.bounces)
    if form == "table":
        recorder = Console(record=True, width=100, file=io.StringIO()) if file else console()
        _print_who(found, recorder)
        if file is not None:
            write_file(file, recorder.export_text().encode())
        return
    rows = [
        *({"kind": "account", "who": a.apple_account, **_shared(a)} for a in found.accounts),
        *({"kind": "contact", "who": c.address, **_shared(c)} for c in found.contacts),
    ]
    if form == "json":
        text = json.dumps(rows, indent=2, ensure_ascii=False) + "\n"
    else:
        buffer = io.StringIO()
        columns = (
            *("kind", "who", "customers", "next_expiry", "many"),
            *("bounced", "bounced_at", "bounced_why"),
        )
        writer = csv.DictWriter(buffer, columns, restval="", lineterminator="\n")
        writer.writeheader()
        for row in rows:
            slugs = " ".join(row["customers"])
            writer.writerow({k: harmless(v) for k, v in {**row, "customers": slugs}.items()})
        text = buffer.getvalue()
    if file is None:
        print(text, end="")
    else:
        write_file(file, text.encode())


def _shared(one: Account | ContactOf) -> dict[str, Any]:
    values = asdict(one)
    values.pop("apple_account", None)
    values.pop("address", None)
    return {k: v.isoformat() if isinstance(v, datetime) else v for k, v in values.items()}


def _print_who(found: Who, out: Console) -> None:
    accounts = Table(box=None, pad_edge=False)
    for title in ("Apple Account", "certificates", "next expiry", "customers"):
        accounts.add_column(title, overflow="fold")
    # Thousands who own one each would hide what this is for; --json and --format csv have all.
    few = max(len(found.accounts), len(found.contacts)) <= FEW
    shown = [a for a in found.accounts if few or a.apple_account is None or len(a.customers) > 1]
    for account in shown:
        tone = "red" if account.apple_account is None else "yellow" if account.many else ""
        ends = "" if account.next_expiry is None else f"{account.next_expiry:%Y-%m-%d}"
        accounts.add_row(
            Text(account.apple_account or "unknown", style=tone),
            f"{len(account.customers)}",
            ends,
            Text(_some(account.customers)),
        )
    if shown:
        out.print(accounts)
    rest = len(found.accounts) - len(shown)
    _print_rest(out, rest, "certificate", "Apple Account owns", "Apple Accounts own")
    contacts = Table(box=None, pad_edge=False)
    for title in ("contact", "mail", "customers"):
        contacts.add_column(title, overflow="fold")
    several = [c for c in found.contacts if few or c.bounced or len(c.customers) > 1]
    for contact in several:
        since = f" {contact.bounced_at:%Y-%m-%d}" if contact.bounced_at else ""
        why = f": {contact.bounced_why}" if contact.bounced_why else ""
        mail = Text(f"bounced{since}{why}", style="red") if contact.bounced else Text("")
        contacts.add_row(Text(contact.address), mail, Text(_some(contact.customers)))
    if several:
        out.print()
        out.print(contacts)
    rest = len(found.contacts) - len(several)
    _print_rest(out, rest, "customer", "contact hears for", "contacts hear for")


def _print_rest(out: Console, count: int, what: str, one: str, many: str) -> None:
    if count:
        each = "" if count == 1 else " each"
        out.print(Text(f"{count} {one if count == 1 else many} one {what}{each}.", style="dim"))


def _some(slugs: tuple[str, ...]) -> str:
    more = f" and {len(slugs) - 5} more" if len(slugs) > 5 else ""
    return ", ".join(slugs[:5]) + more


def print_report(report: Report, out: Console | None, file: Path | None) -> None:
    """Prints the report, or writes it to a file as plain text of 100 columns."""
    if file is not None:
        recorder = Console(record=True, width=100, file=io.StringIO())
        _print(report, recorder)
        write_file(file, recorder.export_text().encode())
    elif out is not None:
        _print(report, out)


def _print(report: Report, out: Console) -> None:
    wide = out.width >= WIDE
    table = Table(box=None, pad_edge=False)
    table.add_column("customer", max_width=20)
    if wide:
        table.add_column("name", max_width=30)
    table.add_column("status")
    table.add_column("expires")
    table.add_column("left", justify="right")
    if wide:
        table.add_column("Apple Account", max_width=32, overflow="fold")
    if out.width >= WIDEST:
        table.add_column("topic", no_wrap=True)
    table.add_column("next")
    for row in report.rows:
        cells: list[Text | str] = [
            Text(row.status, style=STYLES.get(row.status, "")),
            "" if row.not_after is None else f"{row.not_after:%Y-%m-%d}",
            "" if row.days_left is None else f"{row.days_left} d",
        ]
        if wide:
            cells = [Text(row.name), *cells, Text(row.apple_account or "unknown")]
        if out.width >= WIDEST:
            cells.append(Text(row.topic or ""))
        table.add_row(Text(row.slug, overflow="fold"), *cells, _next(row))
    out.print(table)
    for signer in report.signers:
        until = f", until {signer.not_after:%Y-%m-%d} ({signer.days_left} d)"
        name = Text(f"signer: {signer.name}")
        name.truncate(max(20, out.width - len(until)), overflow="ellipsis")
        style = "" if signer.status == "ok" else STYLES[signer.status]
        out.print(name + Text(until), style=style, soft_wrap=False)
        if signer.unavailable_since is not None:
            out.print(
                Text(
                    f"signing key: cannot be used since {signer.unavailable_since:%Y-%m-%d %H:%M}"
                    f" UTC: {signer.unavailable_why}"
                ),
                style="red",
            )
    if report.undelivered:
        out.print(
            Text(
                f"{counted(report.undelivered, 'message')} could not be delivered:"
                " see pushcert doctor"
            ),
            style="red",
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
    for target in row.not_deployed:
        since = "" if target.since is None else f" since {target.since:%Y-%m-%d}"
        why = (target.message or target.code or "").split(". ")[0].rstrip(".")
        text.append(f"not deployed to {target.target}{since}: {why}\n", style="yellow")
    # The first sentence says what is wrong; `customer show` and --json have the rest.
    return text.append(row.next_step.split(". ")[0].rstrip("."))
