"""What happened to one customer, newest first: the audit log and the outbox in one."""

from __future__ import annotations

from dataclasses import dataclass

from sqlmodel import Session, col, select

from lifecycle.serve.dashboard.story import Moment, of_entry, of_message
from lifecycle.vendor.models import AuditEntry, Customer, OutboxMessage

PAGE = 40


@dataclass(frozen=True, slots=True)
class Before:
    """Where to go on: older than this entry, and older than this message. None: from the top."""

    entry: int | None = None
    message: int | None = None


@dataclass(frozen=True, slots=True)
class Timeline:
    """A stretch of it; ``older`` leads on, or is None at the end."""

    moments: tuple[Moment, ...]
    older: Before | None


def timeline(session: Session, customer: Customer, before: Before) -> Timeline:
    """The newest moments before a place. Both halves are read by an index, never as a whole."""
    entries = select(AuditEntry).where(AuditEntry.subject == customer.slug)
    if before.entry is not None:
        entries = entries.where(AuditEntry.seq < before.entry)
    messages = select(OutboxMessage).where(OutboxMessage.customer_id == customer.id)
    if before.message is not None:
        messages = messages.where(col(OutboxMessage.id) < before.message)
    shown, left = _merged(
        [
            of_entry(row)
            for row in session.exec(entries.order_by(col(AuditEntry.seq).desc()).limit(PAGE + 1))
        ],
        [
            of_message(row)
            for row in session.exec(messages.order_by(col(OutboxMessage.id).desc()).limit(PAGE + 1))
        ],
    )
    older = Before(_last(shown, "audit", before.entry), _last(shown, "message", before.message))
    return Timeline(tuple(shown), older if left else None)


def _merged(entries: list[Moment], messages: list[Moment]) -> tuple[list[Moment], bool]:
    """The newest of both, and whether any are left.

    Each half stays in its own order, even where a clock was put back: so what is shown is the
    beginning of each, and the next page misses nothing.
    """
    shown: list[Moment] = []
    first, second = 0, 0
    while len(shown) < PAGE and (first < len(entries) or second < len(messages)):
        # A message is written with the entry that it follows from, and comes after it.
        if first == len(entries) or (
            second < len(messages) and messages[second].at >= entries[first].at
        ):
            shown.append(messages[second])
            second += 1
        else:
            shown.append(entries[first])
            first += 1
    return shown, first < len(entries) or second < len(messages)


def _last(shown: list[Moment], kind: str, otherwise: int | None) -> int | None:
    return min((one.number for one in shown if one.kind == kind), default=otherwise)
