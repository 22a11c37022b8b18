"""PASS or FAIL: what must be true after the year, each with what is wrong when it is not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from sqlmodel import col, func, select

from lifecycle.rehearsal import deployment
from lifecycle.rehearsal.stage import Stage
from lifecycle.rehearsal.year import Admin, Year
from lifecycle.vendor.audit import verify_log
from lifecycle.vendor.facts import RenewalState, Status, Verdict
from lifecycle.vendor.ladder import expiry_ladder
from lifecycle.vendor.models import OutboxMessage, Renewal
from lifecycle.vendor.plan import status


@dataclass(frozen=True, slots=True)
class Totals:
    """The year in numbers."""

    renewals: int
    pushes: int
    reminders: int
    refusals: int


def totals(year: Year) -> Totals:
    """Counts what was done; pushes as APNs counted them, mails as the mail server did."""
    with year.stage.plane.database.reading() as session:
        renewals = session.exec(
            select(func.count()).select_from(Renewal).where(Renewal.state == RenewalState.FULFILLED)
        ).one()
        reminders = session.exec(
            select(func.count())
            .select_from(OutboxMessage)
            .where(col(OutboxMessage.rung).is_not(None), col(OutboxMessage.sent_at).is_not(None))
        ).one()
    return Totals(
        renewals,
        sum(year.stage.gateway.counts.values()),
        reminders,
        sum(year.seen.refusals.values()),
    )


def failures(year: Year) -> Iterator[str]:
    """What is not as it must be; nothing when the year has passed."""
    yield from (f"staged and not caught: {act}" for act in sorted(_uncaught(year)))
    for admin in year.admins.values():
        yield from _customer(year, admin)
    yield from _mails(year)
    yield from _log(year.stage)
    yield from year.more_failures()
    yield from disclosures(year.stage)


def _uncaught(year: Year) -> set[str]:
    return {str(act) for act in year.seen.staged - year.seen.caught}


def _customer(year: Year, admin: Admin) -> Iterator[str]:
    slug, stage = admin.player.slug, year.stage
    record, now = stage.record(slug), stage.clock.now()
    if record.active is None:
        yield f"{slug} has no certificate"
        return
    stands = status(record.facts, stage.plane.policy, now)
    if record.active.topic != admin.first_topic:
        yield f"the topic of {slug} has changed"
    if stage.deployment.held(slug) != record.active.fingerprint:
        yield f"{slug}'s instance uses another certificate than the registry says"
    if admin.player.silent:
        yield from _ladder(year, admin)
        return
    if stands not in (Status.OK, Status.DUE, Status.URGENT):
        yield f"{slug} is {stands}"
    if record.latest is None or record.latest.verdict != Verdict.ISOLATED:
        yield f"the isolation of {slug} is not proven"


def _ladder(year: Year, admin: Admin) -> Iterator[str]:
    """Everybody who never reacts has climbed the whole ladder, one message for each rung."""
    stage = year.stage
    active = stage.record(admin.player.slug).active
    if active is None:
        return
    now = stage.clock.now()
    rungs = expiry_ladder(active.not_after, stage.plane.policy.ladder)
    due = [rung.key for rung in rungs if rung.due_at <= now]
    with stage.plane.database.reading() as session:
        told = session.exec(
            select(OutboxMessage.rung)
            .where(OutboxMessage.ladder == f"certificate:{active.id}")
            .order_by(col(OutboxMessage.id))
        ).all()
    if list(told) != due:
        yield f"{admin.player.slug} was told the rungs {list(told)}, not {due}"


def _mails(year: Year) -> Iterator[str]:
    ids = Counter(str(message["Message-ID"]) for message in year.seen.mails)
    yield from (f"the mail {name} came {count} times" for name, count in ids.items() if count > 1)
    with year.stage.plane.database.reading() as session:
        sent = session.exec(
            select(func.count())
            .select_from(OutboxMessage)
            .where(col(OutboxMessage.sent_at).is_not(None))
        ).one()
    if sent != len(year.seen.mails):
        yield f"{sent} mails were sent and {len(year.seen.mails)} came"


def _log(stage: Stage) -> Iterator[str]:
    with stage.plane.database.reading() as session:
        problem = verify_log(session).problem
    if problem is not None:
        yield f"the audit log is not whole: {problem}"


def disclosures(stage: Stage) -> Iterator[str]:
    """Keys and tokens that got across: of instances to the vendor's side, and the other way."""
    for found in deployment.disclosures(stage.deployment.boundary):
        yield f"{found.secret} is in {found.where} ({found.form})"
