"""The audit log: a chain of entries in which each one carries the hash of the one before.

Changing, removing or moving an entry breaks the chain at that place; ``AuditHead`` names the
newest entry, so that removing the last ones shows, too. There is no secret in this: somebody
who can rewrite the whole database can rewrite the chain. Against that, note the newest hash
elsewhere from time to time and hand it to ``verify_log`` (``audit verify --expect HASH``).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any

from sqlalchemy import insert, text
from sqlmodel import Session, col, func, select

from lifecycle.clock import require_utc
from lifecycle.spool import Spool
from lifecycle.vendor.audit_chain import GENESIS, AuditProblem, Head, entry_hash, plain, verify
from lifecycle.vendor.models import AuditEntry, AuditHead

BATCH = 500
WRITTEN = 5000
"""Entries in one statement."""
_TOGETHER = "pushcert_audit_together"


@dataclass(frozen=True, slots=True)
class LogOutcome:
    """What ``verify_log`` found.

    Attributes:
        entries: how many entries there are.
        head: hash of the newest; ``GENESIS`` for an empty log. Worth noting elsewhere.
        last_at: the latest instant in the log, or None.
        problem: None when the log is whole.
    """

    entries: int
    head: str
    last_at: datetime | None
    problem: AuditProblem | None


def append(
    session: Session,
    *,
    at: datetime,
    actor: str,
    action: str,
    subject: str,
    detail: Mapping[str, object],
) -> None:
    """Adds an entry in the caller's transaction.

    Appenders wait for each other on the head's row (PostgreSQL) or are alone (SQLite).

    Args:
        at: aware; when it happened.
        actor: who did it, e.g. ``worker``, ``operator:anna``, ``instance:acme``.
        action: what was done, snake_case.
        subject: to what, mostly a customer's slug.
        detail: facts; strings, integers, booleans, None, and lists and mappings of these.

    Raises:
        TypeError: ``detail`` holds another type. Bytes above all: keys and tokens are bytes.
        ValueError: ``detail`` holds a PEM block, or ``at`` is naive.
    """
    append_all(session, [Entry(at, actor, action, subject, detail)])


@dataclass(frozen=True, slots=True)
class Entry:
    """What an entry will say; see ``append`` for each part."""

    at: datetime
    actor: str
    action: str
    subject: str
    detail: Mapping[str, object]


def _packed(said: Entry) -> object:
    return [said.at.isoformat(), said.actor, said.action, said.subject, dict(said.detail)]


def _unpacked(packed: list[Any]) -> Entry:
    at, *others = packed
    return Entry(datetime.fromisoformat(at), *others)


@contextmanager
def together(session: Session) -> Iterator[None]:
    """Entries of the block are written at its end, all at once; of a block that fails, none.

    Who writes many entries, or locks customers between them, would else hold the head, and with
    it everybody else who has something to log, all that time. Blocks may be nested. Of many
    entries few are in memory meanwhile.
    """
    outer: Spool[Entry] | None = session.info.get(_TOGETHER)
    own = Spool(_packed, _unpacked)
    session.info[_TOGETHER] = own
    try:
        yield
    finally:
        session.info[_TOGETHER] = outer
    append_all(session, own)


def append_all(session: Session, entries: Sequence[Entry] | Spool[Entry]) -> None:
    """Adds entries in the caller's transaction, in this order. Raises as ``append``."""
    waiting: Spool[Entry] | None = session.info.get(_TOGETHER)
    if waiting is not None:
        for said in entries:
            plain(said.detail)
            require_utc(said.at)
        waiting.extend(entries)
        return
    if not entries:
        return
    session.flush()
    head = _locked_head(session)
    seq, previous = head.seq, head.hash
    left = iter(entries)
    while batch := list(islice(left, WRITTEN)):
        rows = []
        for said in batch:
            seq += 1
            row = _row(said, seq, previous)
            rows.append(row)
            previous = row["hash"]
        session.execute(insert(AuditEntry.__table__), rows)  # type: ignore[attr-defined]
    head.seq, head.hash = seq, previous
    session.add(head)
    session.flush()


def _row(said: Entry, seq: int, previous: str) -> dict[str, Any]:
    detail = {str(key): plain(value) for key, value in said.detail.items()}
    at = require_utc(said.at)
    told: dict[str, Any] = {
        "seq": seq,
        "at": at,
        "actor": said.actor,
        "action": said.action,
        "subject": said.subject,
        "detail": detail,
        "previous": previous,
    }
    told["hash"] = entry_hash(**told)
    return told


def _locked_head(session: Session) -> AuditHead:
    """The head, with its row locked until the transaction ends; made where it is missing."""
    head = session.get(AuditHead, 1, with_for_update=True, populate_existing=True)
    if head is None:
        # Where the log is not empty, somebody took the head away: the chain starts anew, and
        # ``verify`` goes on finding that place. Two that find no head make one between them.
        session.connection().execute(
            text(
                "INSERT INTO audit_head (id, seq, hash)"
                " SELECT 1, COALESCE(MAX(seq), 0), :genesis FROM audit WHERE true"
                " ON CONFLICT (id) DO NOTHING"
            ),
            {"genesis": GENESIS},
        )
        head = session.get_one(AuditHead, 1, with_for_update=True, populate_existing=True)
    return head


def verify_log(session: Session, *, expect: str | None = None) -> LogOutcome:
    """Checks the whole log of the database.

    Args:
        session: reads only.
        expect: a hash that was noted elsewhere as the newest; it must still be in the log.
    """
    seen = _Seen(expect)
    row = session.get(AuditHead, 1)
    head = None if row is None else Head(row.seq, row.hash)
    try:
        problem = verify(seen.watch(_all(session)), head)
    except (TypeError, ValueError):
        # A value that does not even read as its column's type, and so was never written here.
        bad = _first_unreadable(session)
        problem = AuditProblem("changed", bad, f"Entry {bad} was changed: it cannot be read.")
    if problem is None and expect is not None and not seen.expected:
        problem = AuditProblem(
            "not_expected",
            1,
            f"No entry has the hash {expect[:64]}: the log was rewritten, or that hash is of"
            " another log.",
        )
    entries = session.exec(select(func.count()).select_from(AuditEntry)).one()
    return LogOutcome(entries, seen.hash, seen.last_at, problem)


def latest(session: Session, count: int, subject: str | None = None) -> Sequence[AuditEntry]:
    """The newest ``count`` entries, oldest of them first; of one subject, if given."""
    statement = select(AuditEntry).order_by(col(AuditEntry.seq).desc()).limit(count)
    if subject is not None:
        statement = statement.where(AuditEntry.subject == subject)
    return list(reversed(session.exec(statement).all()))


class _Seen:
    """Remembers about the entries that pass by what the outcome tells."""

    def __init__(self, expect: str | None) -> None:
        self._expect = expect
        self.expected = expect == GENESIS
        self.hash = GENESIS
        self.last_at: datetime | None = None

    def watch(self, entries: Iterable[AuditEntry]) -> Iterator[AuditEntry]:
        for entry in entries:
            self.hash = entry.hash
            self.expected = self.expected or entry.hash == self._expect
            self.last_at = entry.at if self.last_at is None else max(self.last_at, entry.at)
            yield entry


def _all(session: Session) -> Iterator[AuditEntry]:
    statement = select(AuditEntry).order_by(col(AuditEntry.seq))
    yield from session.exec(statement.execution_options(yield_per=BATCH))


def _first_unreadable(session: Session) -> int:
    for seq in session.exec(select(AuditEntry.seq).order_by(col(AuditEntry.seq))).all():
        try:
            session.exec(select(AuditEntry).where(AuditEntry.seq == seq)).one()
        except (TypeError, ValueError):
            return seq
    raise AssertionError("every entry can be read")
