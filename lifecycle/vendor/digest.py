"""The digest: one message a day to vendor ops with everything that has changed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta, tzinfo

from sqlmodel import Session, col, select

from lifecycle.vendor import store
from lifecycle.vendor.database import Database
from lifecycle.vendor.facts import OPEN_STATES, Policy, Verdict
from lifecycle.vendor.kinds import MAIL, Kind
from lifecycle.vendor.messages import DigestLine, DigestSection, DigestTopic
from lifecycle.vendor.models import (
    AuditEntry,
    Bounce,
    Certificate,
    Customer,
    IsolationCheck,
    OutboxMessage,
    Renewal,
)
from lifecycle.vendor.notices import Notices, digest_key
from lifecycle.vendor.undelivered import failing

FIRST_LOOKS_BACK = timedelta(days=1)
SETTLED = timedelta(minutes=5)
"""What is newer than this is told in the next digest: another worker may be about to commit
something that it began before this instant, and it must be in one digest or the other."""
SKEW = timedelta(days=1)
"""How far the clocks of those who write the log may be apart."""

_AUDITED = {
    "certificate_activated": DigestTopic.RENEWED,
    "certificate_adopted": DigestTopic.RENEWED,
    "request_delivered": DigestTopic.REQUESTS_SENT,
    "renewal_opened": DigestTopic.OPENED,
    "renewal_cancelled": DigestTopic.CANCELLED,
    "signer_in_force": DigestTopic.SIGNER,
}
"""Which entries of the audit log the digest tells, and under which heading."""


@dataclass(frozen=True, slots=True)
class DigestSchedule:
    """When the digest is due: each day at ``at`` on the clock of ``zone``."""

    at: time
    zone: tzinfo

    def due(self, now: datetime) -> str | None:
        """The day (``2026-11-24``) whose digest is due at ``now``; None before its hour."""
        local = now.astimezone(self.zone)
        return local.date().isoformat() if local.time() >= self.at else None


def write_digest(
    database: Database, policy: Policy, notices: Notices, schedule: DigestSchedule, now: datetime
) -> bool:
    """Writes the digest that is due, if any, into the outbox; True if it wrote one.

    It tells what has changed since the one before; after an outage there is one for the whole
    time. A day on which nothing changed has none.
    """
    day = schedule.due(now)
    if day is None:
        return False
    with database.reading() as session:
        if _is_told(session, day):
            return False  # as nearly always: nobody has to wait for a lock
    return database.carry_out(lambda session: tell_digest(session, policy, notices, schedule, now))


def tell_digest(
    session: Session, policy: Policy, notices: Notices, schedule: DigestSchedule, now: datetime
) -> bool:
    """The same in a transaction that is open."""
    day = schedule.due(now)
    if day is None or _is_told(session, day):
        return False
    before = session.exec(
        select(OutboxMessage.created_at)
        .where(OutboxMessage.kind == Kind.DIGEST, OutboxMessage.channel == MAIL)
        .order_by(col(OutboxMessage.id).desc())
        .limit(1)
    ).first()
    until = now - SETTLED
    since = until - FIRST_LOOKS_BACK if before is None else before - SETTLED
    sections = changes(session, policy, since, until)
    notices.digest(session, day, sections, now)
    return bool(sections)


def _is_told(session: Session, day: str) -> bool:
    key = OutboxMessage.dedupe_key == digest_key(day)
    return session.exec(select(OutboxMessage.id).where(key)).first() is not None


def changes(
    session: Session, policy: Policy, since: datetime, now: datetime
) -> tuple[DigestSection, ...]:
    """What has changed after ``since`` and up to ``now`` (aware UTC), what needs somebody first."""
    told: dict[DigestTopic, list[DigestLine]] = {topic: [] for topic in DigestTopic}
    told[DigestTopic.BREACHED] += _breached(session, since, now)
    told[DigestTopic.EXPIRED] += _ended_between(session, since, now)
    told[DigestTopic.URGENT] += _ended_between(session, since + policy.urgent, now + policy.urgent)
    told[DigestTopic.HELD_UP] += _held_up(session, since, now)
    told[DigestTopic.REMINDERS_SENT] += _reminded(session, since, now)
    told[DigestTopic.BOUNCED] += [
        DigestLine(None, None, f"{row.address}: {row.why}")
        for row in session.exec(
            select(Bounce).where(Bounce.at > since, Bounce.at <= now).order_by(Bounce.address)
        )
    ]
    told[DigestTopic.UNDELIVERED] += [
        DigestLine(None, None, f"{', '.join(row.recipients)}: {row.subject} ({row.last_error})")
        for row in failing(session)
    ]
    entries = list(_entries_between(session, since, now))
    names = _names(session, [entry.subject for entry in entries])
    for entry in entries:
        topic = _AUDITED[entry.action]
        if topic is DigestTopic.SIGNER:
            told[topic].append(DigestLine(None, None, entry.subject))
        elif entry.subject in names:
            told[topic].append(DigestLine(entry.subject, names[entry.subject], None))
    return tuple(DigestSection(topic, tuple(lines)) for topic, lines in told.items() if lines)


def _entries_between(session: Session, since: datetime, until: datetime) -> Iterator[AuditEntry]:
    """From the newest back: the log has no index of its times, and needs none."""
    found: list[AuditEntry] = []
    newest = select(AuditEntry).order_by(col(AuditEntry.seq).desc())
    for entry in session.exec(newest.execution_options(yield_per=200)):
        if entry.at <= since - SKEW:
            break
        if since < entry.at <= until and entry.action in _AUDITED:
            found.append(entry)
    return reversed(found)


def _names(session: Session, slugs: Sequence[str]) -> dict[str, str]:
    names: dict[str, str] = {}
    wanted = sorted(set(slugs))
    for start in range(0, len(wanted), 500):
        part = wanted[start : start + 500]
        found = select(Customer.slug, Customer.name).where(col(Customer.slug).in_(part))
        names |= {slug: name for slug, name in session.exec(found)}  # noqa: C416 - rows, no tuples
    return names


def _breached(session: Session, since: datetime, until: datetime) -> Iterator[DigestLine]:
    found = session.exec(
        select(Customer, IsolationCheck.why)
        .join(IsolationCheck)
        .where(
            IsolationCheck.verdict == Verdict.BREACHED,
            col(IsolationCheck.concluded_at) > since,
            col(IsolationCheck.concluded_at) <= until,
        )
        .order_by(Customer.slug)
        .distinct()
    )
    for customer, why in found:
        yield DigestLine(customer.slug, customer.name, why)


def _ended_between(session: Session, after: datetime, until: datetime) -> Iterator[DigestLine]:
    found = session.exec(
        select(Customer, Certificate.not_after)
        .join(Certificate)
        .where(
            Certificate.state == store.ACTIVE,
            Certificate.not_after > after,
            Certificate.not_after <= until,
            col(Customer.paused_at).is_(None),
            col(Customer.offboarded_at).is_(None),
        )
        .order_by(col(Certificate.not_after), Customer.slug)
    )
    for customer, not_after in found:
        yield DigestLine(customer.slug, customer.name, f"{not_after.astimezone(UTC):%Y-%m-%d}")


def _held_up(session: Session, since: datetime, until: datetime) -> Iterator[DigestLine]:
    found = session.exec(
        select(Customer, Renewal.blocked_message)
        .join(Renewal)
        .where(
            col(Renewal.state).in_(OPEN_STATES),
            col(Renewal.blocked_at) > since,
            col(Renewal.blocked_at) <= until,
            col(Customer.paused_at).is_(None),
        )
        .order_by(Customer.slug)
    )
    for customer, why in found:
        yield DigestLine(customer.slug, customer.name, why)


def _reminded(session: Session, since: datetime, until: datetime) -> Iterator[DigestLine]:
    found = session.exec(
        select(Customer, OutboxMessage.subject)
        .join(OutboxMessage)
        .where(
            OutboxMessage.kind == Kind.REMINDER,
            col(OutboxMessage.sent_at) > since,
            col(OutboxMessage.sent_at) <= until,
        )
        .order_by(Customer.slug)
    )
    for customer, subject in found:
        yield DigestLine(customer.slug, customer.name, subject)
