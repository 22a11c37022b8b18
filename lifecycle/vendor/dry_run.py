"""What ``remind`` would send now, and for everybody else why nothing is owed. Writes nothing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from sqlmodel import Session, col, select

from lifecycle.vendor import store
from lifecycle.vendor.database import Database
from lifecycle.vendor.facts import CustomerFacts, Policy
from lifecycle.vendor.ladder import current_rung, next_rung_at
from lifecycle.vendor.models import Bounce, OutboxMessage
from lifecycle.vendor.plan import Deliver, Remind, ladder, opens_at, plan
from lifecycle.vendor.quiet_hours import QuietHours
from lifecycle.vendor.undelivered import CUSTOMER_PAUSED


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
    if row.sent_at is not None:
        became = f"sent {row.sent_at:%Y-%m-%d %H:%M}"
    elif row.given_up_at is not None:
        became = f"not sent: {row.last_error}"
    elif row.last_error == CUSTOMER_PAUSED:
        became = "waits for the end of the pause"
    elif row.next_attempt_at is not None and row.attempts:
        became = f"tried {row.attempts} times, again {row.next_attempt_at:%Y-%m-%d %H:%M}"
        became += f": {row.last_error}"
    else:
        became = "waits to be sent"
    return f"{what}{rung} to {to}: {became}"


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
        return "paused"
    if facts.renewal is None:
        if facts.active is None:
            return "the first renewal opens at the next tick"
        return (
            f"no renewal is open; it opens on {opens_at(facts.active, facts.slug, policy):%Y-%m-%d}"
        )
    if facts.renewal.received:
        return "the certificate has come and is being activated"
    rungs = ladder(facts, policy)
    rung = current_rung(rungs, now)
    coming = next_rung_at(rungs, now)
    said = f"rung {rung.key} was told; " if rung is not None else ""
    return said + (f"the next falls due on {coming:%Y-%m-%d}" if coming else "no rung is left")
