"""Who must act, and on how many: the customers of a report by what they wait for. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from lifecycle.vendor.facts import Verdict
from lifecycle.vendor.report import Acts, ReportRow, TargetRow

LISTED = 5
"""Of so many customers the slug is said, those who wait longest first."""
BREACH = "vendor finds out why isolation is breached"
HELD = ""
_WHO = (Acts.VENDOR, Acts.INSTANCE, Acts.CUSTOMER)


@dataclass(frozen=True, slots=True)
class Work:
    """One thing that somebody has to do, and for whom.

    Attributes:
        acts: who.
        what: what, in words; for what is held up, what the longest-held renewal says.
        blocked_by: the code, where renewals are held up; None where they merely wait.
        customers: for how many.
        slugs: of the first of them.
        since: since when the longest of them is held up.
        first_end: when the first of their certificates ends.
    """

    acts: str
    what: str
    blocked_by: str | None
    customers: int
    slugs: tuple[str, ...]
    since: datetime | None
    first_end: datetime | None


def work_of(rows: Iterable[ReportRow]) -> tuple[Work, ...]:
    """What is to be done: by the vendor, by instances, by customers; what is held up first.

    A breach of isolation is the vendor's to look into, whatever else is owed, and comes before
    all.
    """
    rows = tuple(rows)
    found: dict[tuple[str, str | None, str], list[ReportRow]] = defaultdict(list)
    for row in rows:
        if row.verdict == Verdict.BREACHED:
            found[Acts.VENDOR, None, BREACH].append(row)
        if row.blocked_by is not None and row.acts != Acts.NOBODY:
            found[row.acts, row.blocked_by, HELD].append(row)
        elif row.acts != Acts.NOBODY and not (row.not_deployed and row.renewal_state is None):
            found[row.acts, None, row.next_step].append(row)
    works = [_work(acts, code, what, of) for (acts, code, what), of in found.items()]
    works += _deploying(rows)
    return tuple(
        sorted(
            works,
            key=lambda work: (
                _WHO.index(Acts(work.acts)),
                work.what != BREACH,
                work.blocked_by is None,
                -work.customers,
                work.what,
            ),
        )
    )


def is_held(row: ReportRow) -> bool:
    """True while the open renewal cannot go on, or the certificate is not where the MDM server
    reads it, and somebody must act; not during a pause."""
    return row.acts != Acts.NOBODY and (row.blocked_by is not None or bool(row.not_deployed))


def _deploying(rows: Iterable[ReportRow]) -> list[Work]:
    """What keeps certificates from the MDM servers, by the fault."""
    found: dict[str, list[tuple[ReportRow, TargetRow]]] = defaultdict(list)
    for row in rows:
        for target in row.not_deployed if row.acts != Acts.NOBODY else ():
            found[target.code or ""].append((row, target))
    works = []
    for code, of in found.items():
        first = sorted(of, key=lambda pair: pair[1].since or pair[1].at)
        row, target = first[0]
        slugs = tuple(dict.fromkeys(row.slug for row, _ in first))
        works.append(
            Work(
                acts=str(Acts.INSTANCE),
                what=f"not deployed to {target.target}: {target.message or code}",
                blocked_by=code,
                customers=len(slugs),
                slugs=slugs[:LISTED],
                since=target.since,
                first_end=min((row.not_after for row, _ in of if row.not_after), default=None),
            )
        )
    return works


def _work(acts: str, code: str | None, what: str, of: list[ReportRow]) -> Work:
    first = sorted(of, key=lambda row: row.blocked_since.timestamp() if row.blocked_since else 0.0)
    return Work(
        acts=str(acts),
        what=what if what != HELD else first[0].next_step,
        blocked_by=code,
        customers=len(of),
        slugs=tuple(row.slug for row in first[:LISTED]),
        since=min((row.blocked_since for row in of if row.blocked_since), default=None)
        if code
        else None,
        first_end=min((row.not_after for row in of if row.not_after), default=None),
    )
