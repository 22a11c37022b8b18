"""What an offer of an action is made of, and what the offers have in common. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from lifecycle.errors import Finding
from lifecycle.vendor.invitations import OpenInvitation
from lifecycle.vendor.models import OutboxMessage
from lifecycle.vendor.store import CustomerRecord

NOTED = "Whatever this changes is in the audit log, under your name."


class Action(StrEnum):
    """The few things that can be done here."""

    RENEW = "renew"
    REMIND = "remind"
    CHECK = "check"
    PAUSE = "pause"
    RESUME = "resume"
    INVITE = "invite"
    WITHDRAW = "withdraw"
    REVOKE = "revoke"


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What the offers depend on.

    Attributes:
        to: who gets the customer's messages.
        credentials: how many of the instance's are good; 0: none asks over the network.
        invitation: that can still be used, or None.
        last_message: the newest to this customer, or None.
        by_hand: a reminder by hand that is too new for another, or None.
        owed: what is owed now, in words; for the end of a pause.
        quiet_until: until when messages to customers wait; None: they go out.
        mail: whether there is a mail server.
        invitation_days: how long a code is good.
        poll_seconds: how often an instance over the network asks.
        distributed: no instance runs on the vendor's own machines.
    """

    record: CustomerRecord
    now: datetime
    to: tuple[str, ...]
    credentials: int
    invitation: OpenInvitation | None
    last_message: OutboxMessage | None
    by_hand: OutboxMessage | None
    owed: str
    quiet_until: datetime | None
    mail: bool
    invitation_days: int
    poll_seconds: int
    distributed: bool


@dataclass(frozen=True, slots=True)
class Choice:
    """One reason among which one chooses, and what it means here."""

    value: str
    label: str
    means: str


@dataclass(frozen=True, slots=True)
class Offer:
    """One action, here and now.

    Attributes:
        title: of the page; ``button``: of the form.
        happens: what will happen, a sentence each.
        untouched: what will not, a sentence each.
        obstacle: why it cannot be done now; None: it can.
        choices: of a renewal's reasons.
        grave: cannot be taken back, or cuts somebody off.
    """

    action: Action
    title: str
    button: str
    happens: tuple[str, ...]
    untouched: tuple[str, ...]
    obstacle: Finding | None = None
    choices: tuple[Choice, ...] = ()
    grave: bool = False


def gone(given: Circumstances) -> Finding | None:
    """That the customer has left; None: they have not."""
    customer = given.record.customer
    if customer.offboarded_at is None:
        return None
    return Finding(
        "customer_not_in_care",
        f"{customer.name} was off-boarded on {customer.offboarded_at:%Y-%m-%d}.",
        "Add the customer again under a new slug.",
    )


def not_in_care(given: Circumstances) -> Finding | None:
    """That the customer has left or is paused; None: they are in care."""
    if given.record.customer.paused_at is None:
        return gone(given)
    return gone(given) or Finding(
        "customer_not_in_care",
        f"{given.record.customer.name} is paused.",
        "Take the customer up again first.",
    )


def when_the_instance_acts(given: Circumstances, what: str) -> str:
    """When the instance does what it is asked for."""
    if given.credentials:
        return (
            f"The customer's instance {what} when it asks next: within {given.poll_seconds} seconds"
            " if it is on the network."
        )
    if given.distributed:
        return (
            f"The customer's instance {what} as soon as there is one: none is enrolled yet, so this"
            " waits until you invite one."
        )
    return f"The customer's instance {what} at the next tick of `pushcert run`."


def people(to: tuple[str, ...]) -> str:
    """Addresses, for a sentence."""
    return ", ".join(to)
