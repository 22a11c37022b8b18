"""The chain of the audit log: how an entry is hashed, and how a change is found. Pure.

Changing, removing or moving an entry breaks the chain at that place; the head, noted beside
the log, shows that the last ones were removed. There is no secret in this: see ``audit``.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from lifecycle.clock import require_utc
from lifecycle.vendor.models import AuditEntry

GENESIS = "0" * 64
"""What the first entry names as its predecessor."""


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


# ``json.dumps`` makes one for each entry.
_canonical = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode


def plain(value: object) -> object:
    """A copy of ``value`` in JSON's own types.

    Raises:
        TypeError: another type is in it. Bytes above all: keys and tokens are bytes.
        ValueError: a PEM block is in it.
    """
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
            return [plain(item) for item in value]
        case Mapping():
            return {_key(key): plain(item) for key, item in value.items()}
        case _:
            raise TypeError(f"{type(value).__name__} has no place in the audit log")


def _key(key: object) -> str:
    if not isinstance(key, str):
        raise TypeError(f"{type(key).__name__} cannot name a detail in the audit log")
    return str(key)
