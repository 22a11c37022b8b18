"""The reminder ladder: which rung is owed at any instant, from facts alone.

The table in docs/operations.md ("The reminder ladder") is this module in words; a property
test holds the two together.
"""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

DAY = timedelta(days=1)


class Anchor(StrEnum):
    """What a ladder hangs from."""

    EXPIRY = "expiry"
    """The end of the active certificate; rungs count days before it."""
    DELIVERY = "delivery"
    """The hand-over of a first request; rungs count days after it (nothing expires yet)."""


@dataclass(frozen=True, slots=True)
class LadderPolicy:
    """The shape of the ladders, in days.

    Attributes:
        before_expiry: rungs before (or at, 0) expiry, in any order.
        grace_days: how long after expiry reminders go on.
        grace_every_days: how often within the grace period.
        copy_ops_from: vendor ops are copied on rungs at this many days before expiry or later.
        after_delivery: rungs after the hand-over of a first request.
    """

    before_expiry: tuple[int, ...] = (30, 14, 7, 3, 1, 0)
    grace_days: int = 30
    grace_every_days: int = 7
    copy_ops_from: int = 7
    after_delivery: tuple[int, ...] = (7, 14, 21, 28)


@dataclass(frozen=True, slots=True)
class Rung:
    """One step of a ladder.

    Attributes:
        anchor: what the ladder hangs from.
        days: days before expiry (negative: after it), or days after delivery.
        due_at: the instant from which the rung is owed, UTC.
        copy_ops: whether vendor ops get a copy.
    """

    anchor: Anchor
    days: int
    due_at: datetime
    copy_ops: bool

    @property
    def key(self) -> str:
        """Stable name of the rung within its ladder, e.g. ``expiry:7`` or ``expiry:-14``."""
        return f"{self.anchor}:{self.days}"


def expiry_ladder(not_after: datetime, policy: LadderPolicy) -> tuple[Rung, ...]:
    """All rungs for a certificate that ends at ``not_after``, in the order they fall due."""
    grace = range(policy.grace_every_days, policy.grace_days + 1, policy.grace_every_days)
    days = sorted({*policy.before_expiry, *(-after for after in grace)}, reverse=True)
    return tuple(
        Rung(Anchor.EXPIRY, d, not_after - d * DAY, copy_ops=d <= policy.copy_ops_from)
        for d in days
    )


def delivery_ladder(delivered_at: datetime, policy: LadderPolicy) -> tuple[Rung, ...]:
    """All rungs for a first request handed over at ``delivered_at``, in order."""
    return tuple(
        Rung(Anchor.DELIVERY, d, delivered_at + d * DAY, copy_ops=True)
        for d in sorted(set(policy.after_delivery))
    )


def current_rung(ladder: tuple[Rung, ...], now: datetime) -> Rung | None:
    """The latest rung that has fallen due: of those missed, the most urgent one."""
    due = [rung for rung in ladder if rung.due_at <= now]
    return due[-1] if due else None


def owed_rung(ladder: tuple[Rung, ...], told: Set[str], now: datetime) -> Rung | None:
    """The one rung that is owed at ``now``, or None.

    Only the current rung can be owed: earlier ones that were missed are never made up for,
    so that the return from an outage is one message and not a burst.
    """
    rung = current_rung(ladder, now)
    return rung if rung is not None and rung.key not in told else None


def next_rung_at(ladder: tuple[Rung, ...], now: datetime) -> datetime | None:
    """When the next rung falls due after ``now``; None past the last."""
    return min((rung.due_at for rung in ladder if rung.due_at > now), default=None)
