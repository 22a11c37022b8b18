"""What the registry makes of the rows of a customers' file."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import astuple

from lifecycle.vendor.customer_file import Row
from lifecycle.vendor.registry import NewCustomer


def check(rows: Iterable[Row]) -> None:
    """Every row can be written to a database as UTF-8 and judged by the registry."""
    for row in rows:
        str(astuple(row)).encode()
        "".join((row.slug, row.name, row.email, row.notes, *row.tags, *row.contacts)).encode()
        new = NewCustomer(
            row.slug,
            row.name,
            row.email,
            apple_account=row.apple_account or None,
            contacts=row.contacts,
            language=row.language or None,
            tags=row.tags,
            notes=row.notes or None,
        )
        findings = new.findings()
        for finding in findings:
            str(finding).encode()
        if not findings:
            assert "\0" not in str(new).replace("\\x00", "\0"), "PostgreSQL refuses it"
