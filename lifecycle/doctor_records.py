"""What the vendor's records say about the deployment: nothing ticks, mail bounces, nobody knows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

from sqlmodel import col, func, select

from lifecycle.diagnosis import Diagnosis
from lifecycle.vendor import store
from lifecycle.vendor.facts import OPEN_STATES
from lifecycle.vendor.kinds import TO_CUSTOMERS
from lifecycle.vendor.models import Customer, OutboxMessage, Renewal
from lifecycle.vendor.undelivered import count_undelivered, failing
from lifecycle.vendor_side import VendorSide
from lifecycle.wording import counted

OVERDUE = timedelta(days=1)
"""A scheduler that is at work leaves nothing undone for so long."""
STUCK_AFTER = timedelta(days=2)
NAMED = 3
"""Of customers who share an address, the remedy is spelt out for so many."""


def diagnose_records(side: VendorSide, now: datetime) -> Iterator[Diagnosis]:
    """Everything that the database knows and a person should; ``now`` is aware UTC."""
    yield from _outbox(side, now)
    yield from _registry(side, now)
    yield from _contacts(side)


def _outbox(side: VendorSide, now: datetime) -> Iterator[Diagnosis]:
    with side.database.reading() as session:
        stuck = failing(session)
        waiting = count_undelivered(session, now) - len(stuck)
    if not stuck and not waiting:
        yield Diagnosis("outbox", True, "nothing is stuck")
    for row in stuck:
        yield Diagnosis("outbox", False, *_failure(row))
    if waiting:
        yield Diagnosis(
            "outbox",
            False,
            f"{counted(waiting, 'message')} should have been sent an hour ago or earlier.",
            "Try the mail server with `pushcert notify test mail`, and see that `pushcert run` or"
            " a timer with `pushcert tick` is at work.",
        )


def _failure(row: OutboxMessage) -> tuple[str, str]:
    tried = f"'{row.subject}' to {', '.join(row.recipients)} failed"
    if row.next_attempt_at is not None:
        return (
            f"{tried} {counted(row.attempts, 'time')}, last with: {row.last_error}",
            f"It is tried again at {row.next_attempt_at:%Y-%m-%d %H:%M} UTC by itself;"
            f" `pushcert notify test {row.channel}` tries the channel now.",
        )
    if row.kind in TO_CUSTOMERS:
        return (
            f"{tried} for good: {row.last_error}",
            "Once the customer's address is corrected it goes there by itself.",
        )
    return f"{tried} for good: {row.last_error}", "Mend vendor.ops or notify in config.toml."


def _registry(side: VendorSide, now: datetime) -> Iterator[Diagnosis]:
    """What the registry says about the deployment: nothing ticks, mail bounces, nobody knows."""
    with side.database.reading() as session:
        waiting = session.exec(
            select(func.min(Customer.next_action_at)).where(col(Customer.next_action_at) <= now)
        ).one()
        unknown = session.exec(
            select(func.count())
            .select_from(Customer)
            .where(col(Customer.apple_account).is_(None), col(Customer.offboarded_at).is_(None))
        ).one()
        stuck = session.exec(
            select(func.count())
            .select_from(Renewal)
            .where(
                col(Renewal.state).in_(OPEN_STATES),
                col(Renewal.blocked_at) < now - STUCK_AFTER,
            )
        ).one()
    if waiting is not None and waiting < now - OVERDUE:
        yield Diagnosis(
            "scheduler",
            False,
            f"what was due on {waiting:%Y-%m-%d %H:%M} UTC has not been looked at.",
            "Start `pushcert run`, or let a timer call `pushcert tick`.",
        )
    else:
        yield Diagnosis("scheduler", True, "nothing is overdue")
    if stuck:
        yield Diagnosis(
            "renewals",
            False,
            f"{stuck} held up for more than {STUCK_AFTER.days} days.",
            "See `pushcert report` for why, and who must act.",
        )
    if unknown:
        yield Diagnosis(
            "Apple Accounts",
            True,
            f"of {counted(unknown, 'customer')} the Apple Account is not known.",
            "Find them with `pushcert report --who`; without it nobody can renew.",
            notice=True,
        )


def _contacts(side: VendorSide) -> Iterator[Diagnosis]:
    ops = side.config.vendor.ops
    with side.database.reading() as session:
        for bounce in store.bounces_in_use(session, ops):
            customers = store.customers_at(session, bounce.address)
            whose = ", ".join(c.slug for c in customers) or "vendor ops"
            yield Diagnosis(
                "contacts",
                False,
                f"{bounce.address} ({whose}) has been refused since {bounce.at:%Y-%m-%d}:"
                f" {bounce.why}",
                " ".join(_corrections(bounce.address, customers)),
            )


def _corrections(address: str, customers: Sequence[Customer]) -> Iterator[str]:
    for customer in customers[:NAMED]:
        how = "--email ADDRESS" if customer.email == address else f"--remove-contact {address}"
        yield f"Correct it with `pushcert customer edit {customer.slug} {how}`."
    if not customers:
        yield "Correct vendor.ops in config.toml."
