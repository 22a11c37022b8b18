"""What the registry remembers of the last time that it was restored from a backup."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlmodel import Session, col, select

from lifecycle.vendor import audit
from lifecycle.vendor.facts import Policy
from lifecycle.vendor.models import AuditEntry, Certificate, Customer, Renewal
from lifecycle.vendor.plan import opens_at

ACTION, SUBJECT = "registry_restored", "registry"
"""The entry of the audit log that a restore leaves."""


@dataclass(frozen=True, slots=True)
class LostTime:
    """From the state that the backup holds to the last moment at which the lost deployment worked.

    Empty where ``until`` is not after ``since``: it was stopped before the backup was taken.
    """

    since: datetime
    until: datetime

    @property
    def is_empty(self) -> bool:
        """Nothing can have been sent in it."""
        return self.until <= self.since


@dataclass(frozen=True, slots=True)
class Memory:
    """The last restore, as the registry remembers it."""

    restored_at: datetime
    lost: LostTime


def remember(session: Session, lost: LostTime, *, taken: int, at: datetime, actor: str) -> None:
    """Writes into the audit log that there was a restore.

    Args:
        lost: the time that was not in the backup.
        taken: how many messages count as sent because of it.
        at: now, aware UTC.
        actor: who restored.
    """
    audit.append(
        session,
        at=at,
        actor=actor,
        action=ACTION,
        subject=SUBJECT,
        detail={
            "state_of": lost.since.isoformat(),
            "lost_until": lost.until.isoformat(),
            "taken_as_sent": taken,
        },
    )


def last_restore(session: Session) -> Memory | None:
    """The last restore of this registry, or None."""
    entry = session.exec(
        select(AuditEntry)
        .where(AuditEntry.subject == SUBJECT, AuditEntry.action == ACTION)
        .order_by(col(AuditEntry.seq).desc())
        .limit(1)
    ).first()
    if entry is None:
        return None
    since, until = (
        datetime.fromisoformat(str(entry.detail[name])) for name in ("state_of", "lost_until")
    )
    return Memory(entry.at, LostTime(since, until))


def may_have_been_delivered(
    session: Session,
    customer: Customer,
    active: Certificate | None,
    renewal: Renewal,
    policy: Policy,
) -> bool:
    """Whether the lost deployment may have handed over a request of which nothing is known here.

    Then the customer has a file that may belong to a key that is lost, and must be told which of
    the two counts.
    """
    memory = last_restore(session)
    if memory is None or memory.lost.is_empty:
        return False
    if renewal.opened_at <= memory.lost.since:
        return True
    if active is None or active.recorded_at > memory.lost.since:
        return False
    return opens_at(active, customer.slug, policy) <= memory.lost.until
