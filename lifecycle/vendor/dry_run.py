"""What ``remind`` would send now, and why one customer gets a message or none. Writes nothing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from sqlmodel import Session, col, select

from lifecycle.vendor import store
from lifecycle.vendor.database import Database
from lifecycle.vendor.digest import DigestSchedule, tell_digest
from lifecycle.vendor.facts import CustomerFacts, Policy
from lifecycle.vendor.ladder import current_rung, next_rung_at
from lifecycle.vendor.models import Bounce, Customer, OutboxMessage
from lifecycle.vendor.notices import Notices
from lifecycle.vendor.outbox import out_of_date, quiet_until
from lifecycle.vendor.plan import Deliver, Remind, ladder, opens_at, plan
from lifecycle.vendor.quiet_hours import QuietHours
from lifecycle.vendor.signers import tell_of_signer
from lifecycle.vendor.telling import tell
from lifecycle.vendor.undelivered import CUSTOMER_PAUSED
from lifecycle.wording import counted


@dataclass(frozen=True, slots=True)
class Upcoming:
    """One message that would be sent now.

    Attributes:
        slug: whom it is about; None for what is about nobody alone.
        kind, rung, subject: of the message; ``rung`` None where it stands for none.
        channel: ``mail``, or a chat channel of vendor ops.
        to, copies: addresses.
        failed: how often it was tried in vain.
        held_until: the end of the quiet that it waits for; None where it goes out now.
    """

    slug: str | None
    kind: str
    rung: str | None
    subject: str
    channel: str
    to: tuple[str, ...]
    copies: tuple[str, ...]
    failed: int
    held_until: datetime | None


def preview(
    database: Database,
    policy: Policy,
    notices: Notices,
    now: datetime,
    *,
    quiet: QuietHours | None,
    digest: DigestSchedule | None,
) -> list[Upcoming]:
    """Every message that ``remind`` would send at ``now`` (aware UTC), in its order.

    It is what ``remind`` does, in a transaction that is thrown away.

    Args:
        notices: writes the messages.
        quiet: when customers are left alone.
        digest: when the digest is due; None: there is none.
    """
    with database.reading() as session:
        for record in store.all_records(session):
            for action in plan(record.facts, policy, now).actions:
                if isinstance(action, Remind | Deliver):
                    tell(session, notices, record, action, now, policy=policy, actor="nobody")
        tell_of_signer(session, policy.ladder, notices, now)
        if digest is not None:
            tell_digest(session, policy, notices, digest, now)
        due = session.exec(
            select(OutboxMessage)
            .where(col(OutboxMessage.next_attempt_at) <= now)
            .order_by(col(OutboxMessage.id))
        ).all()
        return [
            _upcoming(session, row, quiet, now) for row in due if out_of_date(session, row) is None
        ]


def _upcoming(
    session: Session, row: OutboxMessage, quiet: QuietHours | None, now: datetime
) -> Upcoming:
    customer = None if row.customer_id is None else session.get_one(Customer, row.customer_id)
    return Upcoming(
        None if customer is None else customer.slug,
        row.kind,
        row.rung,
        row.subject,
        row.channel,
        tuple(row.recipients),
        tuple(row.copies),
        row.attempts,
        quiet_until(session, row, quiet, now),
    )


@dataclass(frozen=True, slots=True)
class Explanation:
    """One customer: the rung owed (or None), and why."""

    slug: str
    owed: str | None
    why: str


@dataclass(frozen=True, slots=True)
class Story:
    """Why one customer gets a message now or gets none, in sentences.

    Attributes:
        owed: the rung owed now, or None.
        why: one sentence about now.
        to: every address that gets the customer's messages.
        obstacles: what keeps messages from arriving, each a sentence.
        told: the messages so far, newest first, each a sentence.
    """

    slug: str
    owed: str | None
    why: str
    to: tuple[str, ...]
    obstacles: tuple[str, ...]
    told: tuple[str, ...]


STORY_LENGTH = 20
"""How many past messages a story tells."""


def tell_story(
    database: Database,
    policy: Policy,
    slug: str,
    now: datetime,
    *,
    mail: bool,
    quiet: QuietHours | None,
) -> Story:
    """The story of one customer's messages at ``now`` (aware UTC).

    Args:
        mail: whether a mail server is configured.
        quiet: when customers are left alone.

    Raises:
        Refused: ``customer_unknown``.
    """
    with database.reading() as session:
        record = store.load(session, store.customer_by_slug(session, slug))
        customer_id = store.key_of(record.customer)
        to = store.addresses_of(session, record.customer)
        rows = session.exec(
            select(OutboxMessage)
            .where(OutboxMessage.customer_id == customer_id)
            .order_by(col(OutboxMessage.id).desc())
            .limit(STORY_LENGTH)
        ).all()
        now_owed = explain_one(record.facts, policy, now)
        return Story(
            slug,
            now_owed.owed,
            now_owed.why,
            to,
            tuple(_obstacles(session, to, now, mail=mail, quiet=quiet)),
            tuple(_told(row) for row in rows),
        )


def _obstacles(
    session: Session, to: tuple[str, ...], now: datetime, *, mail: bool, quiet: QuietHours | None
) -> Iterator[str]:
    if not mail:
        yield "No mail server is configured (smtp.host), so messages wait in the outbox."
    until = None if quiet is None else quiet.until(now)
    if until is not None:
        yield f"It is quiet until {until:%Y-%m-%d %H:%M} UTC (reminders.quiet_hours, quiet_days)."
    for bounce in session.exec(select(Bounce).where(col(Bounce.address).in_(to))):
        yield f"{bounce.address} has been refused since {bounce.at:%Y-%m-%d}: {bounce.why}"


def _told(row: OutboxMessage) -> str:
    what = f"{row.created_at:%Y-%m-%d %H:%M} {row.kind}"
    rung = f" ({row.rung})" if row.rung else ""
    to = ", ".join([*row.recipients, *row.copies]) or "nobody"
    return f"{what}{rung} to {to}: {fate(row)}"


def fate(row: OutboxMessage) -> str:
    """What has become of a message, or will."""
    if row.sent_at is not None:
        return f"sent {row.sent_at:%Y-%m-%d %H:%M}"
    if row.given_up_at is not None:
        return f"not sent: {row.last_error}"
    if row.last_error == CUSTOMER_PAUSED:
        return "waits for the end of the pause"
    if row.next_attempt_at is not None and row.attempts:
        again = f"again {row.next_attempt_at:%Y-%m-%d %H:%M}"
        tried = f"tried {counted(row.attempts, 'time')}, {again}"
        return f"{tried}: {row.last_error}"
    return "waits to be sent"


def explain(database: Database, policy: Policy, now: datetime) -> Iterator[Explanation]:
    """An explanation for every customer in care; sends and writes nothing."""
    with database.reading() as session:
        for record in store.all_records(session):
            yield explain_one(record.facts, policy, now)


def explain_one(facts: CustomerFacts, policy: Policy, now: datetime) -> Explanation:
    """Why this customer gets a message now, or gets none."""
    for action in plan(facts, policy, now).actions:
        if isinstance(action, Remind):
            who = "the customer" if action.customer_can_act else "vendor ops alone"
            return Explanation(facts.slug, action.rung.key, f"to {who}")
        if isinstance(action, Deliver):
            return Explanation(facts.slug, "delivery", "the request is ready to be handed over")
    return Explanation(facts.slug, None, _why_nothing(facts, policy, now))


def _why_nothing(facts: CustomerFacts, policy: Policy, now: datetime) -> str:
    if facts.paused:
        until = "" if facts.paused_until is None else f" until {facts.paused_until:%Y-%m-%d}"
        return f"paused{until}"
    if facts.renewal is None:
        if facts.active is None:
            return "the first renewal opens at the next tick"
        opens = opens_at(facts.active, facts.slug, policy)
        if opens <= now or facts.active.revoked_at is not None:
            return "a renewal opens at the next tick; the request goes out as soon as it is signed"
        return f"no renewal is open; it opens on {opens:%Y-%m-%d}"
    if facts.renewal.received:
        return "the certificate has come and is being activated"
    rungs = ladder(facts, policy)
    rung = current_rung(rungs, now)
    coming = next_rung_at(rungs, now)
    said = f"rung {rung.key} was told; " if rung is not None else ""
    return said + (f"the next falls due on {coming:%Y-%m-%d}" if coming else "no rung is left")
