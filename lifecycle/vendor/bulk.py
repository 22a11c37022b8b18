"""Bulk import of customers from a CSV file: every bad row is named, all or nothing."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

from sqlmodel import Session, select

from lifecycle.errors import Finding, Refused, refuse
from lifecycle.pki.push_certificate import PushCertificate
from lifecycle.pki.upload import read_upload
from lifecycle.vendor import registry
from lifecycle.vendor.database import Database
from lifecycle.vendor.models import Customer

COLUMNS = ("slug", "name", "email", "apple_account", "certificate")
REQUIRED = COLUMNS[:3]
MAX_ROWS = 2_000_000


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the file. ``certificate`` is a path as written there, or empty."""

    line: int
    slug: str
    name: str
    email: str
    apple_account: str
    certificate: str


@dataclass(frozen=True, slots=True)
class BadRow:
    """A line that cannot be imported, with everything that is wrong with it."""

    line: int
    findings: tuple[Finding, ...]


@dataclass(slots=True)
class ImportOutcome:
    """How many customers were added or were there already, and the lines left out."""

    added: int = 0
    unchanged: int = 0
    bad: list[BadRow] = field(default_factory=list)


def read_csv(data: bytes) -> list[Row]:
    """The rows of a CSV file (UTF-8, with or without a BOM) with a header line.

    Raises:
        Refused: it is not such a file, or a required column is missing.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise refuse(
            "csv_not_utf8", "The file is not UTF-8 text.", "Save it as CSV (UTF-8)."
        ) from None
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    try:
        header = [name.strip() for name in reader.fieldnames or ()]
        missing = [name for name in REQUIRED if name not in header]
        unknown = [name for name in header if name not in COLUMNS]
        if missing or unknown:
            wrong = f"lacks {', '.join(missing)}" if missing else f"has unknown {unknown[0]!r}"
            raise refuse(
                "csv_columns_wrong",
                f"The header line {wrong}.",
                f"Use the columns {','.join(COLUMNS)} (the last two may be left out).",
            )
        reader.fieldnames = header
        return [_row(reader.line_num, values) for values in reader]
    except csv.Error as error:
        raise refuse(
            "csv_malformed",
            f"Line {reader.line_num} is not CSV ({error}).",
            "Mend the quotes on that line.",
        ) from None


def _row(line: int, values: dict[str, str | None]) -> Row:
    cells = {name: (values.get(name) or "").strip() for name in COLUMNS}
    return Row(line, **cells)


def import_customers(
    database: Database,
    rows: Iterable[Row],
    *,
    read_certificate: Callable[[Path], bytes],
    keep_going: bool,
    at: datetime,
    actor: str,
) -> ImportOutcome:
    """Adds the customers of all rows in one transaction.

    Args:
        read_certificate: gives the bytes of a row's certificate file; raises ``Refused``.
        keep_going: import the good rows even though others are bad.
        at, actor: for the audit log.

    Raises:
        Refused: rows are bad and ``keep_going`` is off; nothing was imported. Every finding
            names its line.
    """
    outcome = ImportOutcome()
    with database.transaction() as session:
        for row in rows:
            try:
                with session.begin_nested():
                    is_new = _import_row(session, row, read_certificate, at, actor)
            except Refused as refused:
                outcome.bad.append(BadRow(row.line, refused.findings))
            else:
                outcome.added += is_new
                outcome.unchanged += not is_new
        if outcome.bad and not keep_going:
            raise Refused(
                replace(finding, message=f"Line {bad.line}: {finding.message}")
                for bad in outcome.bad
                for finding in bad.findings
            )
    return outcome


def _import_row(
    session: Session,
    row: Row,
    read_certificate: Callable[[Path], bytes],
    at: datetime,
    actor: str,
) -> bool:
    """True if the row added a customer; False if it was there already."""
    certificate: PushCertificate | None = None
    if row.certificate:
        certificate = read_upload(read_certificate(Path(row.certificate))).certificate
    new = registry.NewCustomer(row.slug, row.name, row.email, row.apple_account or None)
    known = session.exec(select(Customer).where(Customer.slug == row.slug)).first()
    is_new = known is None or not _same(known, new)
    if known is None or is_new:
        known = registry.add(session, new, at=at, actor=actor)
    if certificate is not None:
        registry.adopt(session, known, certificate, at=at, actor=actor)
    return is_new


def _same(known: Customer, new: registry.NewCustomer) -> bool:
    return (known.name, known.email, known.apple_account) == (
        new.name.strip(),
        new.email,
        new.apple_account,
    )
