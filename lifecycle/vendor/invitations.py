"""Invitations: one-time codes with which an instance makes itself known to the vendor.

The code is shown once, to whoever invites; the registry keeps its hash. It is good for one
instance and for some days. The same instance may use it again: the vendor's first answer can
have been lost on the way.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlmodel import Session, col, select
from sqlmodel.sql.expression import SelectOfScalar

from lifecycle.errors import refuse
from lifecycle.pki.fingerprints import fingerprint, short
from lifecycle.vendor import audit, store
from lifecycle.vendor.access_models import InstanceCredential, Invitation
from lifecycle.vendor.credentials import NewKeys, install, revoke_all
from lifecycle.vendor.models import Customer

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
"""Crockford's Base32: nothing in it is mistaken for something else when it is typed."""
_GROUPS, _GROUP = 5, 5
DEFAULT_DAYS = 7


@dataclass(frozen=True, slots=True)
class OpenInvitation:
    """An invitation that can still be used; its code is not known any more.

    Attributes:
        created_by: who invited.
    """

    created_at: datetime
    created_by: str
    expires_at: datetime


def invite(
    session: Session, customer: Customer, *, at: datetime, actor: str, days: int = DEFAULT_DAYS
) -> str:
    """Makes an invitation for this customer's instance and gives its code.

    An earlier code that was not used is good no longer.

    Raises:
        Refused: ``customer_not_in_care``: the customer is off-boarded.
    """
    if customer.offboarded_at is not None:
        raise refuse(
            "customer_not_in_care",
            f"'{customer.slug}' is off-boarded, so nothing is done for it.",
            "Add the customer again under a new slug.",
        )
    withdraw(session, customer, at=at, actor=actor)
    code = _new_code()
    invitation = Invitation(
        customer_id=store.key_of(customer),
        code_hash=_hash(code),
        created_at=at,
        expires_at=at + timedelta(days=days),
        created_by=actor,
    )
    session.add(invitation)
    session.flush()
    audit.append(
        session,
        at=at,
        actor=actor,
        action="instance_invited",
        subject=customer.slug,
        detail={"invitation": invitation.id, "expires_at": invitation.expires_at.isoformat()},
    )
    return code


def withdraw(session: Session, customer: Customer, *, at: datetime, actor: str) -> bool:
    """Takes back the customer's open invitation; True if there was one."""
    waiting = session.exec(_open(customer, at)).all()
    for row in waiting:
        row.withdrawn_at = at
        session.add(row)
        audit.append(
            session,
            at=at,
            actor=actor,
            action="invitation_withdrawn",
            subject=customer.slug,
            detail={"invitation": row.id},
        )
    return bool(waiting)


def open_invitation(session: Session, customer: Customer, now: datetime) -> OpenInvitation | None:
    """The customer's invitation that can still be used, or None."""
    row = session.exec(_open(customer, now)).first()
    return None if row is None else OpenInvitation(row.created_at, row.created_by, row.expires_at)


def redeem(session: Session, code: str, keys: NewKeys, *, at: datetime) -> InstanceCredential:
    """Makes the instance that knows the code the instance of that customer.

    Whatever instance the customer had before is shut out. The same keys with the same code
    again change nothing and give the same credential.

    Raises:
        Refused: ``invitation_unknown``, ``invitation_expired``, ``invitation_withdrawn``,
            ``invitation_used``, or what ``NewKeys.check`` refuses.
    """
    keys.check()
    invitation = session.exec(
        select(Invitation).where(Invitation.code_hash == _hash(code)).with_for_update()
    ).first()
    if invitation is None:
        raise refuse(
            "invitation_unknown",
            "There is no invitation with this code.",
            "Check it against what you were given, or ask your vendor for a new one.",
        )
    known = session.exec(
        select(InstanceCredential).where(
            InstanceCredential.invitation_id == invitation.id,
            InstanceCredential.public_key == keys.public_key,
        )
    ).first()
    if known is not None and known.revoked_at is None:
        return known
    _require_usable(invitation, at)
    customer = session.get_one(Customer, invitation.customer_id)
    actor = f"instance:{customer.slug}"
    revoke_all(session, customer, at=at, actor=actor, why="another instance took its place")
    invitation.used_at = at
    customer.remote = True
    customer.next_action_at = at
    credential = install(session, customer, keys, at=at, invitation_id=invitation.id)
    session.add_all([invitation, customer])
    audit.append(
        session,
        at=at,
        actor=actor,
        action="instance_enrolled",
        subject=customer.slug,
        detail={
            "invitation": invitation.id,
            "credential": credential.id,
            "key": short(fingerprint(keys.public_key)),
        },
    )
    return credential


def _require_usable(invitation: Invitation, now: datetime) -> None:
    again = "Ask your vendor for a new invitation."
    if invitation.withdrawn_at is not None:
        raise refuse("invitation_withdrawn", "This invitation was withdrawn.", again)
    if invitation.used_at is not None:
        raise refuse("invitation_used", "This invitation was used by another instance.", again)
    if invitation.expires_at <= now:
        raise refuse(
            "invitation_expired",
            f"This invitation expired on {invitation.expires_at:%Y-%m-%d}.",
            again,
        )


def _open(customer: Customer, now: datetime) -> SelectOfScalar[Invitation]:
    return select(Invitation).where(
        Invitation.customer_id == customer.id,
        col(Invitation.used_at).is_(None),
        col(Invitation.withdrawn_at).is_(None),
        col(Invitation.expires_at) > now,
    )


def _new_code() -> str:
    groups = ("".join(secrets.choice(_ALPHABET) for _ in range(_GROUP)) for _ in range(_GROUPS))
    return "-".join(groups)


def _hash(code: str) -> str:
    """Of the code as it is meant: a person may type small letters, O for 0, leave hyphens out.

    125 random bits need no slow hash.
    """
    meant = code.upper().replace("O", "0").replace("I", "1").replace("L", "1")
    return hashlib.sha256("".join(c for c in meant if c.isalnum()).encode()).hexdigest()
