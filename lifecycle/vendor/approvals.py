"""The CSRs that wait for a second pair of eyes, and how an operator approves one.

An approval names the CSR by its fingerprint, so that it is good for nothing else. The signer is not
needed here, and whoever approves need not be able to reach it: the worker signs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlmodel import Session, col, select

from lifecycle.errors import Refused, refuse
from lifecycle.pki.csr import Csr, parse_csr
from lifecycle.pki.fingerprints import fingerprint
from lifecycle.vendor import audit, store
from lifecycle.vendor.facts import RenewalState
from lifecycle.vendor.four_eyes import (
    SIGNING_UNAPPROVED,
    is_approved,
    obstacle_to_approving,
    who_must_act,
)
from lifecycle.vendor.models import Customer, Renewal
from lifecycle.vendor.store import approvers


@dataclass(frozen=True, slots=True)
class Pending:
    """A CSR that is not signed before somebody approves it.

    Attributes:
        renewal_id: what ``sign --approve`` takes.
        slug, name: whose it is.
        reason, opened_at, opened_by: of the renewal.
        received_at: when the CSR came.
        csr: what is in it.
        approved_by: who has approved it so far.
        waits_for: who must act.
    """

    renewal_id: int
    slug: str
    name: str
    reason: str
    opened_at: datetime
    opened_by: str | None
    received_at: datetime | None
    csr: Csr
    approved_by: tuple[str, ...]
    waits_for: str


@dataclass(frozen=True, slots=True)
class Approved:
    """What an approval came to.

    Attributes:
        complete: the worker may sign now.
        waits_for: who must act, where it may not.
    """

    renewal_id: int
    slug: str
    complete: bool
    waits_for: str


def pending(session: Session) -> list[Pending]:
    """Everything that waits for an approval, oldest first."""
    found = session.exec(
        select(Renewal, Customer)
        .where(
            Customer.id == Renewal.customer_id,
            Renewal.state == RenewalState.CSR_RECEIVED,
            col(Renewal.csr).is_not(None),
            col(Customer.offboarded_at).is_(None),
        )
        .order_by(col(Renewal.csr_received_at), col(Renewal.id))
    )
    return [
        _pending(renewal, customer)
        for renewal, customer in found
        if not is_approved(renewal.opened_by, approvers(renewal))
    ]


def _pending(renewal: Renewal, customer: Customer) -> Pending:
    renewal_id, given = store.key_of(renewal), approvers(renewal)
    return Pending(
        renewal_id=renewal_id,
        slug=customer.slug,
        name=customer.name,
        reason=renewal.reason,
        opened_at=renewal.opened_at,
        opened_by=renewal.opened_by,
        received_at=renewal.csr_received_at,
        csr=parse_csr(renewal.csr or b""),
        approved_by=given,
        waits_for=who_must_act(renewal_id, renewal.opened_by, given),
    )


def approve(session: Session, renewal_id: int, *, actor: str, at: datetime) -> Approved:
    """Records that a person approves the signature of this renewal's CSR.

    Raises:
        Refused: ``approval_unknown`` (nothing with this number waits for one),
            ``approval_same_person``, ``approval_by_nobody``.
    """
    renewal = session.get(Renewal, renewal_id, with_for_update=True, populate_existing=True)
    if (
        renewal is None
        or renewal.csr is None
        or renewal.state != RenewalState.CSR_RECEIVED
        or is_approved(renewal.opened_by, approvers(renewal))
    ):
        raise refuse(
            "approval_unknown",
            f"No CSR of a renewal {renewal_id} waits for an approval.",
            "See `pushcert sign --pending` for those that do.",
        )
    obstacle = obstacle_to_approving(actor, renewal.opened_by, approvers(renewal))
    if obstacle is not None:
        raise Refused(obstacle)
    customer = session.get_one(Customer, renewal.customer_id)
    csr = parse_csr(renewal.csr)
    renewal.approvals = [
        *renewal.approvals,
        {"by": actor, "at": at.isoformat(), "csr": fingerprint(renewal.csr)},
    ]
    given = approvers(renewal)
    complete = is_approved(renewal.opened_by, given)
    waits_for = "" if complete else who_must_act(renewal_id, renewal.opened_by, given)
    if renewal.blocked_code == SIGNING_UNAPPROVED and not complete:
        renewal.blocked_message = waits_for
    customer.next_action_at = at
    session.add_all([renewal, customer])
    _note(session, customer.slug, renewal_id, csr, actor, at, given)
    return Approved(renewal_id, customer.slug, complete, waits_for)


def _note(
    session: Session,
    slug: str,
    renewal_id: int,
    csr: Csr,
    actor: str,
    at: datetime,
    given: Sequence[str],
) -> None:
    audit.append(
        session,
        at=at,
        actor=actor,
        action="signing_approved",
        subject=slug,
        detail={"renewal": renewal_id, "csr": csr.fingerprint, "approvals": len(given)},
    )
