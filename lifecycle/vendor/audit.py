"""The audit log: a chain of entries in which each one carries the hash of the one before.

Changing, removing or moving an entry breaks the chain at that place; ``AuditHead`` names the
newest entry, so that removing the last ones shows, too. There is no secret in this: somebody
who can rewrite the whole database can rewrite the chain. Against that, note the newest hash
elsewhere from time to time and hand it to ``verify_log`` (``audit verify --expect HASH``).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import text
from sqlmodel import Session, col, func, select

from lifecycle.clock import require_utc
from lifecycle.vendor.models import AuditEntry, AuditHead

GENESIS = "0" * 64
"""What the first entry names as its predecessor."""

BATCH = 500


@dataclass(frozen=True, slots=True)
class Head:
    """The newest entry, as noted beside the log."""

    seq: int
    hash: str


@dataclass(frozen=True, slots=True)
class AuditProblem:
    """The first place at which the log is not what was written.

    Attributes:
        code: ``changed``, ``removed``, ``moved``, ``head_changed`` or ``not_expected``.
        seq: number of the first entry concerned.
        message: a sentence that names it.
    """

    code: str
    seq: int
    message: str

    def __str__(self) -> str:
        return self.message


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


def entry_hash(
    *,
    seq: int,
    at: datetime,
    actor: str,
    action: str,
    subject: str,
    detail: Mapping[str, object],
    previous: str,
) -> str:
    """SHA-256 (lower-case hex) of one entry, over its canonical JSON.

    Canonical: keys sorted, no spaces, ASCII, the time in UTC with microseconds.
    """
    document = {
        "seq": seq,
        "at": require_utc(at).isoformat(timespec="microseconds"),
        "actor": actor,
        "action": action,
        "subject": subject,
        "detail": detail,
        "previous": previous,
    }
    return hashlib.sha256(_canonical(document).encode("ascii")).hexdigest()


def append(
    session: Session,
    *,
    at: datetime,
    actor: str,
    action: str,
    subject: str,
    detail: Mapping[str, object],
) -> AuditEntry:
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
    plain = {str(key): _plain(value) for key, value in detail.items()}
    head = _locked_head(session)
    entry = AuditEntry(
        seq=head.seq + 1,
        at=require_utc(at),
        actor=actor,
        action=action,
        subject=subject,
        detail=plain,
        previous=head.hash,
        hash=entry_hash(
            seq=head.seq + 1,
            at=at,
            actor=actor,
            action=action,
            subject=subject,
            detail=plain,
            previous=head.hash,
        ),
    )
    head.seq, head.hash = entry.seq, entry.hash
    session.add_all([entry, head])
    session.flush()
    return entry


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


def verify(entries: Iterable[AuditEntry], head: Head | None) -> AuditProblem | None:
    """The first entry that was changed, removed or moved, or None when the log is whole.

    Args:
        entries: all of them, in the order of the log.
        head: the newest entry as noted beside the log; None means that nothing is noted,
            which is right for an empty log only.
    """
    last: AuditEntry | None = None
    for entry in entries:
        problem = _check_entry(entry, last)
        if problem is not None:
            return problem
        last = entry
    return _check_head(last, head)


def _check_entry(entry: AuditEntry, last: AuditEntry | None) -> AuditProblem | None:
    due, before = (1, GENESIS) if last is None else (last.seq + 1, last.hash)
    if entry.seq > due:
        return AuditProblem(
            "removed", due, f"Entry {due} is missing; entry {entry.seq} stands in its place."
        )
    if entry.seq < due:
        return AuditProblem("moved", entry.seq, f"Entry {entry.seq} stands in a wrong place.")
    if not _is_as_written(entry):
        return AuditProblem(
            "changed", due, f"Entry {due} was changed, or moved here from another place."
        )
    if entry.previous == before:
        return None
    if last is None:
        return AuditProblem("changed", 1, "Entry 1 was changed: the log began before it.")
    # This entry is as it was written, so the one before is not what it was written after.
    return AuditProblem(
        "changed", last.seq, f"Entry {last.seq} was changed: entry {due} was written after another."
    )


def _check_head(last: AuditEntry | None, head: Head | None) -> AuditProblem | None:
    seq = 0 if last is None else last.seq
    noted = 0 if head is None else head.seq
    if noted > seq:
        return AuditProblem(
            "removed", seq + 1, f"Entry {seq + 1} and all after it, up to {noted}, are missing."
        )
    if noted < seq:
        return AuditProblem(
            "head_changed",
            noted + 1,
            f"Entry {noted + 1} is newer than the newest that was noted, or the note was changed.",
        )
    if last is not None and head is not None and head.hash != last.hash:
        return AuditProblem("changed", seq, f"Entry {seq}, the newest, was changed.")
    return None


def _is_as_written(entry: AuditEntry) -> bool:
    try:
        return entry.hash == entry_hash(
            seq=entry.seq,
            at=entry.at,
            actor=entry.actor,
            action=entry.action,
            subject=entry.subject,
            detail=entry.detail,
            previous=entry.previous,
        )
    except (TypeError, ValueError):
        return False  # a value of a type that was never written here


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


def _canonical(document: Mapping[str, object]) -> str:
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=True)


def _plain(value: object) -> object:
    """A copy of ``value`` in JSON's own types. Raises ``TypeError``, ``ValueError``."""
    match value:
        case None | bool():
            return value
        case int():
            return int(value)
        case str():
            if "-----BEGIN" in value:
                raise ValueError("a PEM block has no place in the audit log; name its fingerprint")
            return str(value)
        case list() | tuple():
            return [_plain(item) for item in value]
        case Mapping():
            return {_key(key): _plain(item) for key, item in value.items()}
        case _:
            raise TypeError(f"{type(value).__name__} has no place in the audit log")


def _key(key: object) -> str:
    if not isinstance(key, str):
        raise TypeError(f"{type(key).__name__} cannot name a detail in the audit log")
    return str(key)
