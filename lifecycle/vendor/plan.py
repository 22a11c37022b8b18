"""What is owed to one customer now: a pure function from facts, policy and the clock.

Level-triggered: the same facts give the same answer however they came about, so a worker
that was killed anywhere goes on by planning again. Every rule about renewals is here; the
worker only carries out. See docs/operations.md for the same rules in prose.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from lifecycle.vendor.facts import (
    CertificateFacts,
    CustomerFacts,
    CustomerKind,
    Policy,
    RenewalFacts,
    RenewalReason,
    RenewalState,
    Status,
    Verdict,
)
from lifecycle.vendor.four_eyes import SIGNING_UNAPPROVED, is_approved, who_must_act
from lifecycle.vendor.ladder import (
    Rung,
    delivery_ladder,
    expiry_ladder,
    next_rung_at,
    owed_rung,
)

SIGNER_MISSING = "signer_missing"
SIGNER_EXPIRED = "signer_expired"
SIGNER_NOT_YET_VALID = "signer_not_yet_valid"
SIGNER_UNAVAILABLE = "signer_unavailable"
INSTANCE_NOT_ENROLLED = "instance_not_enrolled"
INSTANCE_SILENT = "instance_silent"


@dataclass(frozen=True, slots=True)
class OpenRenewal:
    """Open a renewal; there is none."""

    reason: RenewalReason


@dataclass(frozen=True, slots=True)
class CancelRenewal:
    """Close the open renewal; nothing is owed to this customer any more."""

    why: str


@dataclass(frozen=True, slots=True)
class Resume:
    """Take the customer up again; the pause was for a time that is over."""


@dataclass(frozen=True, slots=True)
class AskForCsr:
    """The instance owes a CSR."""


@dataclass(frozen=True, slots=True)
class AskForActivation:
    """The instance owes the activation of a certificate that the vendor has accepted."""


@dataclass(frozen=True, slots=True)
class AskForProbes:
    """The instance owes the probes of an isolation check (ordered first, if need be)."""

    order: bool


@dataclass(frozen=True, slots=True)
class SignRequest:
    """Sign the CSR; ``again`` when an earlier request died with its signer."""

    again: bool = False


@dataclass(frozen=True, slots=True)
class Deliver:
    """Hand the request to the customer. ``rung`` is the rung that this message stands for."""

    rung: Rung | None


@dataclass(frozen=True, slots=True)
class Remind:
    """Send the reminder of this rung.

    ``customer_can_act`` is False while there is no request to upload: then the message goes
    to vendor ops alone, because only they can do something about it.
    """

    rung: Rung
    customer_can_act: bool


@dataclass(frozen=True, slots=True)
class CheckRevocation:
    """Ask the issuer's OCSP responder about the active certificate."""


@dataclass(frozen=True, slots=True)
class Block:
    """The renewal cannot go on; say why."""

    code: str
    message: str


Action = (
    OpenRenewal
    | CancelRenewal
    | Resume
    | AskForCsr
    | AskForActivation
    | AskForProbes
    | SignRequest
    | Deliver
    | Remind
    | CheckRevocation
    | Block
)


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do now, in order, and when to look again (None: not before something happens).

    ``wake_at`` says when *more* can be owed. What is owed now and could not be done (an
    instance that is offline) the worker tries again after ``Policy.retry``.
    """

    actions: tuple[Action, ...]
    wake_at: datetime | None


class Ends(Protocol):
    """A certificate, as facts or as a row."""

    @property
    def not_after(self) -> datetime:
        """When it ends, aware UTC."""
        ...


def opens_at(active: Ends, slug: str, policy: Policy) -> datetime:
    """When the renewal of this certificate opens by itself.

    The window's start plus a share of the spread fixed by the customer's slug, so that
    customers who started on one day do not all fall due on one day, and so that the answer
    is the same on every machine and after every restart.
    """
    share = int.from_bytes(hashlib.sha256(slug.encode()).digest()[:8], "big") / 2**64
    # Whole seconds: sub-second instants would survive a database round trip only by luck.
    offset = timedelta(seconds=int(share * policy.spread.total_seconds()))
    return active.not_after - policy.window + offset


def status(facts: CustomerFacts, policy: Policy, now: datetime) -> Status:
    """Where the customer stands at ``now``."""
    if facts.paused and not pause_is_over(facts, now):
        return Status.PAUSED
    if facts.active is None:
        return Status.NO_CERTIFICATE
    if facts.active.revoked_at is not None and facts.active.revoked_at <= now:
        return Status.REVOKED
    if facts.active.not_after <= now:
        return Status.EXPIRED
    if facts.active.not_after - now <= policy.urgent:
        return Status.URGENT
    if opens_at(facts.active, facts.slug, policy) <= now:
        return Status.DUE
    return Status.OK


def pause_is_over(facts: CustomerFacts, now: datetime) -> bool:
    """Whether a pause was for a time that has passed."""
    return facts.paused and facts.paused_until is not None and facts.paused_until <= now


def ladder(facts: CustomerFacts, policy: Policy) -> tuple[Rung, ...]:
    """The ladder this customer is on: by the active certificate's end, or by the hand-over
    of the first request when there is no certificate yet."""
    if facts.active is not None:
        return expiry_ladder(facts.active.not_after, policy.ladder)
    if facts.renewal is not None and facts.renewal.delivered_at is not None:
        return delivery_ladder(facts.renewal.delivered_at, policy.ladder)
    return ()


def plan(facts: CustomerFacts, policy: Policy, now: datetime) -> Plan:
    """Everything that is owed to one customer at ``now``.

    Args:
        facts: the customer as stored.
        policy: the vendor's choices.
        now: aware UTC.

    Returns:
        The actions in the order to carry them out, and the instant of the next look. An
        action that changes the facts is followed by planning again, so a plan holds at most
        one step of a renewal.
    """
    if facts.offboarded:
        cancel = facts.renewal is not None
        return Plan((CancelRenewal("customer off-boarded"),) if cancel else (), None)
    if facts.paused:
        if pause_is_over(facts, now):
            return Plan((Resume(),), None)
        return Plan((), facts.paused_until)
    actions = (*_renewal_step(facts, policy, now), *_upkeep(facts, policy, now))
    return Plan(actions, _wake_at(facts, policy, now))


def owes_signature(facts: CustomerFacts, policy: Policy, now: datetime) -> bool:
    """Whether the first thing that ``plan`` says about the renewal is to sign its CSR.

    Looks at the renewal and the signer alone, so that much of the other facts may be left out.
    """
    if facts.offboarded or facts.paused or facts.renewal is None:
        return False
    return isinstance(next(_renewal_step(facts, policy, now), None), SignRequest)


def _renewal_step(facts: CustomerFacts, policy: Policy, now: datetime) -> Iterator[Action]:
    renewal = facts.renewal
    if renewal is None:
        reason = _reason_to_open(facts, policy, now)
        if reason is not None:
            yield OpenRenewal(reason)
        return
    if renewal.received:
        yield AskForActivation()
        yield from _instance_trouble(facts, policy, now)
        return
    match renewal.state:
        case RenewalState.REQUESTED:
            yield AskForCsr()
            yield from _instance_trouble(facts, policy, now)
            yield from _reminder(facts, policy, now, customer_can_act=False)
        case RenewalState.CSR_RECEIVED:
            yield from _sign(facts, policy, now, again=False)
        case RenewalState.SIGNED:
            if _request_is_dead(renewal, now):
                yield from _sign(facts, policy, now, again=True)
            else:
                yield Deliver(owed_rung(ladder(facts, policy), facts.told, now))
        case RenewalState.DELIVERED:
            if _request_is_dead(renewal, now):
                yield from _sign(facts, policy, now, again=True)
            else:
                yield from _reminder(facts, policy, now, customer_can_act=True)


def _reason_to_open(facts: CustomerFacts, policy: Policy, now: datetime) -> RenewalReason | None:
    match status(facts, policy, now):
        case Status.NO_CERTIFICATE:
            return RenewalReason.INITIAL
        case Status.REVOKED:
            return RenewalReason.REVOKED
        case Status.OK | Status.PAUSED:
            return None
        case Status.DUE | Status.URGENT | Status.EXPIRED:
            return RenewalReason.EXPIRY


def _sign(facts: CustomerFacts, policy: Policy, now: datetime, *, again: bool) -> Iterator[Action]:
    obstacle = signer_obstacle(facts, now) or approval_obstacle(facts, policy)
    if obstacle is None:
        yield SignRequest(again)
        return
    if facts.renewal is None or facts.renewal.blocked_code != obstacle.code:
        yield obstacle
    yield from _reminder(facts, policy, now, customer_can_act=False)


def signer_obstacle(facts: CustomerFacts, now: datetime) -> Block | None:
    """Why nothing can be signed at ``now``, as a block of the renewal; None if it can be."""
    signer = facts.signer
    if signer is None:
        return Block(
            SIGNER_MISSING,
            "There is no MDM signing certificate. Import one with `pushcert signer import`.",
        )
    if signer.not_after <= now:
        return Block(
            SIGNER_EXPIRED,
            f"The MDM signing certificate or its chain expired on {signer.not_after:%Y-%m-%d}."
            " Get a new one from the developer portal and run `pushcert signer import`.",
        )
    if signer.not_before > now:
        return Block(
            SIGNER_NOT_YET_VALID,
            f"The MDM signing certificate is not valid before {signer.not_before:%Y-%m-%d}."
            " Wait until then or import the one that is in force.",
        )
    if signer.unavailable_since is not None:
        return Block(
            SIGNER_UNAVAILABLE,
            f"The MDM signing key cannot be used since {signer.unavailable_since:%Y-%m-%d %H:%M}"
            f" UTC. {signer.unavailable_why or ''}".rstrip(),
        )
    return None


def approval_obstacle(facts: CustomerFacts, policy: Policy) -> Block | None:
    """Who must approve the signature first, as a block of the renewal; None: nobody must."""
    renewal = facts.renewal
    if not policy.four_eyes or renewal is None:
        return None
    if is_approved(renewal.opened_by, renewal.approved_by):
        return None
    waits_for = who_must_act(renewal.id, renewal.opened_by, renewal.approved_by)
    return Block(SIGNING_UNAPPROVED, waits_for)


def _instance_trouble(facts: CustomerFacts, policy: Policy, now: datetime) -> Iterator[Action]:
    obstacle = instance_obstacle(facts, policy, now)
    if obstacle is None or facts.renewal is None:
        return
    # What the instance itself has said about the renewal is worth more than its silence since.
    if facts.renewal.blocked_code in (None, INSTANCE_NOT_ENROLLED, INSTANCE_SILENT) and (
        facts.renewal.blocked_code != obstacle.code
    ):
        yield obstacle


def instance_obstacle(facts: CustomerFacts, policy: Policy, now: datetime) -> Block | None:
    """Why the instance cannot do its part at ``now``, as far as the vendor can tell."""
    if facts.instance is None:
        if not (policy.distributed or facts.remote):
            return None
        return Block(
            INSTANCE_NOT_ENROLLED,
            f"No instance of this customer is known, so nobody makes the CSR. Run"
            f" `pushcert customer invite {facts.slug}` and hand the code over.",
        )
    heard_at = facts.instance.heard_at
    if heard_at + policy.instance_silent > now:
        return None
    return Block(
        INSTANCE_SILENT,
        f"The instance was last heard of on {heard_at:%Y-%m-%d %H:%M} UTC. See that"
        " `pushcert instance run` runs there and reaches this server.",
    )


def _request_is_dead(renewal: RenewalFacts, now: datetime) -> bool:
    return renewal.request_dies_at is not None and renewal.request_dies_at <= now


def _reminder(
    facts: CustomerFacts, policy: Policy, now: datetime, *, customer_can_act: bool
) -> Iterator[Action]:
    rung = owed_rung(ladder(facts, policy), facts.told, now)
    if rung is not None:
        yield Remind(rung, customer_can_act)


def _upkeep(facts: CustomerFacts, policy: Policy, now: datetime) -> Iterator[Action]:
    if facts.active is None or status(facts, policy, now) in (Status.EXPIRED, Status.REVOKED):
        return
    if _revocation_due_at(facts.active, policy) <= now and facts.active.names_responder:
        yield CheckRevocation()
    if facts.kind is CustomerKind.CANARY:
        return
    if _isolation_due_at(facts, facts.active, policy) <= now:
        yield AskForProbes(order=not facts.isolation.ordered)


def _revocation_due_at(active: CertificateFacts, policy: Policy) -> datetime:
    checked = active.revocation_checked_at
    return active.activated_at if checked is None else checked + policy.revocation_every


def _isolation_due_at(facts: CustomerFacts, active: CertificateFacts, policy: Policy) -> datetime:
    checked = facts.isolation.concluded_at
    if facts.isolation.ordered or checked is None:
        return active.activated_at
    sure = facts.isolation.verdict is Verdict.ISOLATED
    return checked + (policy.isolation_every if sure else policy.isolation_retry)


def _wake_at(facts: CustomerFacts, policy: Policy, now: datetime) -> datetime | None:
    """The first instant after ``now`` at which ``plan`` can answer differently by itself."""
    return min((at for at in _turning_points(facts, policy, now) if at > now), default=None)


def _turning_points(facts: CustomerFacts, policy: Policy, now: datetime) -> Iterator[datetime]:
    renewal, active, signer = facts.renewal, facts.active, facts.signer
    rung_at = next_rung_at(ladder(facts, policy), now)
    if renewal is not None:
        if rung_at is not None:
            yield rung_at
        if renewal.request_dies_at is not None:
            yield renewal.request_dies_at
    if renewal is not None and facts.instance is not None:
        yield facts.instance.heard_at + policy.instance_silent
    if renewal is not None and renewal.blocked_code == SIGNING_UNAPPROVED:
        yield now + policy.retry  # the rule may have been lifted in the configuration
    if signer is not None:
        # A renewal that waits for the signature learns here that the signer came into force.
        yield signer.not_before
    if active is None:
        return
    if renewal is None:
        yield opens_at(active, facts.slug, policy)
        yield active.not_after
    if active.not_after > now and active.revoked_at is None:
        if active.names_responder:
            yield _revocation_due_at(active, policy)
        if facts.kind is not CustomerKind.CANARY:
            yield _isolation_due_at(facts, active, policy)
