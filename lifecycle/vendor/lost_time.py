"""What a restored registry does not know: the time between its backup and the loss.

The deployment that was lost went on sending after the backup was taken, and nobody can ask it
what. A reminder that is repeated tells a customer that something is wrong when nothing is; one
that is left out costs some days of a ladder whose next rung comes by itself. So whatever fell due
in the lost time is taken as sent, and named, so that a person can send it all the same
(``remind --now``).

Alerts about a breach or a revocation are sent again. So is a request that the registry has no
memory of: the key of an earlier one may be lost as well, so the customer must hear which of the
two counts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import and_
from sqlmodel import Session, col, delete, or_, select

from lifecycle.vendor import store
from lifecycle.vendor.access_models import UserSession
from lifecycle.vendor.digest import DigestSchedule
from lifecycle.vendor.facts import OPEN_STATES, Policy
from lifecycle.vendor.kinds import MAIL, Kind
from lifecycle.vendor.ladder import DAY, Rung, current_rung, expiry_ladder, next_rung_at
from lifecycle.vendor.models import Certificate, Customer, OutboxMessage, Renewal
from lifecycle.vendor.notices import digest_key, signer_ladder
from lifecycle.vendor.plan import ladder
from lifecycle.vendor.restores import LostTime, remember
from lifecycle.vendor.undelivered import TAKEN_AS_SENT

SENT_AGAIN = frozenset({Kind.BREACH, Kind.REVOKED})
"""What is better said twice than never."""
BATCH = 500


@dataclass(frozen=True, slots=True)
class TakenAsSent:
    """A message that the lost deployment may have sent, and that is not sent again.

    Attributes:
        slug: of the customer; None for what goes to vendor ops alone.
        kind: of the message.
        rung: of its ladder; None for a message that is no reminder.
        due_at: since when it was due.
        next_at: when the next rung comes by itself; None: none will.
    """

    slug: str | None
    kind: str
    rung: str | None
    due_at: datetime
    next_at: datetime | None


def pass_over(
    session: Session,
    policy: Policy,
    schedule: DigestSchedule | None,
    lost: LostTime,
    *,
    at: datetime,
    actor: str,
) -> list[TakenAsSent]:
    """Takes as sent what fell due in the lost time, and writes down that there was a restore.

    Browsers that were signed in must sign in again: one that was signed out since would be in.

    Args:
        session: on the restored registry, before anything works on it.
        policy, schedule: the vendor's choices.
        lost: the time that is not in the backup.
        at: now, aware UTC.
        actor: who restores, for the audit log.

    Returns:
        What is not sent because of it, by customer.
    """
    taken: list[TakenAsSent] = []
    if not lost.is_empty:
        taken += _waiting(session, policy, lost, at)
        taken += _rungs(session, policy, lost, at)
        taken += _of_signer(session, policy, lost, at)
        taken += _digest(session, schedule, lost, at)
    session.exec(delete(UserSession))
    remember(session, lost, taken=len(taken), at=at, actor=actor)
    return sorted(taken, key=lambda one: (one.slug or "", one.due_at))


def _waiting(
    session: Session, policy: Policy, lost: LostTime, at: datetime
) -> Iterator[TakenAsSent]:
    """What was in the outbox, and would have been tried before the loss."""
    rows = session.exec(
        select(OutboxMessage)
        .where(
            col(OutboxMessage.next_attempt_at) <= lost.until,
            col(OutboxMessage.kind).not_in(SENT_AGAIN),
        )
        .order_by(col(OutboxMessage.id))
    ).all()
    for row in rows:
        row.next_attempt_at, row.given_up_at, row.last_error = None, at, TAKEN_AS_SENT
        session.add(row)
        if row.channel != MAIL:
            continue
        slug, next_at = None, None
        if row.customer_id is not None:
            customer = session.get_one(Customer, row.customer_id)
            slug = customer.slug
            next_at = next_rung_at(ladder(store.load(session, customer).facts, policy), at)
        yield TakenAsSent(slug, row.kind, row.rung, row.created_at, next_at)
    session.flush()


def _rungs(session: Session, policy: Policy, lost: LostTime, at: datetime) -> Iterator[TakenAsSent]:
    """The rung that each customer stood on at the loss, where the backup does not have it."""
    for customers in _batches(session, policy, lost):
        for record in store.load_many(session, customers):
            steps = ladder(record.facts, policy)
            rung = current_rung(steps, lost.until)
            if rung is None or rung.key in record.facts.told:
                continue
            name = store.ladder_name(record.active, record.renewal)
            if name is None:
                continue
            session.add(
                _booked(
                    Kind.REMINDER,
                    name,
                    rung,
                    at,
                    customer_id=store.key_of(record.customer),
                    renewal_id=None if record.renewal is None else record.renewal.id,
                )
            )
            yield TakenAsSent(
                record.customer.slug,
                Kind.REMINDER,
                rung.key,
                rung.due_at,
                next_rung_at(steps, at),
            )
        session.flush()


def _batches(session: Session, policy: Policy, lost: LostTime) -> Iterator[Sequence[Customer]]:
    """Customers whom somebody may have been told about: on a ladder, in care, and not paused."""
    horizon = lost.until + max(policy.ladder.before_expiry, default=0) * DAY
    on_ladder = select(Certificate.customer_id).where(
        Certificate.state == store.ACTIVE, Certificate.not_after <= horizon
    )
    waiting = select(Renewal.customer_id).where(col(Renewal.state).in_(OPEN_STATES))
    last = 0
    while rows := session.exec(
        select(Customer)
        .where(
            col(Customer.id) > last,
            or_(col(Customer.id).in_(on_ladder), col(Customer.id).in_(waiting)),
            col(Customer.offboarded_at).is_(None),
            or_(
                col(Customer.paused_at).is_(None),
                and_(
                    col(Customer.paused_until).is_not(None),
                    col(Customer.paused_until) <= lost.until,
                ),
            ),
        )
        .order_by(col(Customer.id))
        .limit(BATCH)
    ).all():
        yield rows
        last = store.key_of(rows[-1])


def _of_signer(
    session: Session, policy: Policy, lost: LostTime, at: datetime
) -> Iterator[TakenAsSent]:
    signer = store.current_signer(session)
    if signer is None:
        return
    steps = expiry_ladder(signer.not_after, policy.ladder)
    rung = current_rung(steps, lost.until)
    name = signer_ladder(signer)
    if rung is None or _is_booked(session, f"{name}:{rung.key}"):
        return
    session.add(_booked(Kind.SIGNER_EXPIRY, name, rung, at))
    yield TakenAsSent(None, Kind.SIGNER_EXPIRY, rung.key, rung.due_at, next_rung_at(steps, at))


def _digest(
    session: Session, schedule: DigestSchedule | None, lost: LostTime, at: datetime
) -> Iterator[TakenAsSent]:
    day = None if schedule is None else schedule.due(lost.until)
    if day is None or _is_booked(session, digest_key(day)):
        return
    session.add(_row(Kind.DIGEST, digest_key(day), f"The digest of {day}", at))
    yield TakenAsSent(None, Kind.DIGEST, None, lost.until, None)


def _is_booked(session: Session, key: str) -> bool:
    found = select(OutboxMessage.id).where(OutboxMessage.dedupe_key == key)
    return session.exec(found).first() is not None


def _booked(
    kind: Kind,
    name: str,
    rung: Rung,
    at: datetime,
    *,
    customer_id: int | None = None,
    renewal_id: int | None = None,
) -> OutboxMessage:
    row = _row(kind, f"{name}:{rung.key}", f"Reminder {rung.key}", at)
    row.ladder, row.rung = name, rung.key
    row.customer_id, row.renewal_id = customer_id, renewal_id
    return row


def _row(kind: Kind, key: str, subject: str, at: datetime) -> OutboxMessage:
    """A message that is booked and not sent: nobody knows any more what it said, and to whom."""
    return OutboxMessage(
        dedupe_key=key,
        kind=kind,
        channel=MAIL,
        recipients=[],
        subject=subject,
        body=TAKEN_AS_SENT,
        created_at=at,
        given_up_at=at,
        last_error=TAKEN_AS_SENT,
    )
