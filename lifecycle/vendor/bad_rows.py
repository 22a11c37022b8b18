"""Rows of a customers' file that cannot be imported: any number of them, each with its line."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

from lifecycle.errors import Finding, Refused, Severity
from lifecycle.spool import Spool

SAID = 200
"""Bad rows of which a refusal carries the findings; ``BadRows.rows`` has them all."""


@dataclass(frozen=True, slots=True)
class BadRow:
    """A line that cannot be imported, with everything that is wrong with it."""

    line: int
    slug: str
    findings: tuple[Finding, ...]


def _packed(bad: BadRow) -> object:
    findings = [(f.code, f.message, f.remedy, f.severity) for f in bad.findings]
    return [bad.line, bad.slug, findings]


def _unpacked(packed: list[Any]) -> BadRow:
    line, slug, findings = packed
    return BadRow(line, slug, tuple(_finding(*parts) for parts in findings))


def _finding(code: str, message: str, remedy: str, severity: str) -> Finding:
    return Finding(code, message, remedy, Severity(severity))


def no_bad_rows() -> Spool[BadRow]:
    """A place for any number of them; few are in memory."""
    return Spool(_packed, _unpacked)


class BadRows(Refused):
    """Rows are bad, and nothing was imported. Every finding names its line."""

    def __init__(self, rows: Spool[BadRow]) -> None:
        self.rows = rows
        super().__init__(
            replace(finding, message=f"Line {bad.line}: {finding.message}")
            for bad in islice(rows, SAID)
            for finding in bad.findings
        )
