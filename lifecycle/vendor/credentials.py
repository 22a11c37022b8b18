"""Instance credentials: the public keys by which the vendor knows its customers' instances.

A credential speaks for one customer. Its private half is made in the instance and never leaves
it. What is signed with it, and how that is checked: ``lifecycle.wire.signatures``.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from typing import Any

from sqlalchemy import Select, bindparam
from sqlmodel import Session, col, select

from lifecycle.errors import refuse
from lifecycle.pki.fingerprints import fingerprint, short
from lifecycle.vendor import audit, canary_seals, store
from lifecycle.vendor.access_models import InstanceCredential
from lifecycle.vendor.models import Customer
from lifecycle.wire.sealed_tokens import seal

KEY_BYTES = 32
ROTATION_GRACE = timedelta(days=1)
"""How long the credential before is still good, at the least: the instance may not have had the
answer. Until the new one is used it does not have it, be it offline for weeks."""
SEEN_EVERY = timedelta(minutes=5)
"""An instance that asks every minute is noted this often: reading must not mean writing."""


@dataclass(frozen=True, slots=True)
class NewKeys:
    """The public halves of what an instance has made for itself.

    Attributes:
        public_key: Ed25519, raw.
        sealing_key: X25519, raw.
        version: of pushcert in the instance.
    """

    public_key: bytes
    sealing_key: bytes
    version: str | None = None

    def check(self) -> None:
        """Raises ``Refused``: ``instance_key_malformed``, ``sealing_key_malformed``."""
        if len(self.public_key) != KEY_BYTES or len(self.sealing_key) != KEY_BYTES:
            raise refuse(
                "instance_key_malformed",
                "The keys of this instance do not have 32 bytes.",
                "Enrol with `pushcert instance init`, which makes them.",
            )
        # A key that nothing can be sealed to would hold up the canary tenant's instance.
        seal(b"", self.sealing_key, "", "")


@dataclass(frozen=True, slots=True)
class Bearer:
    """Whom a credential speaks for, and what proves it.

    Attributes:
        credential_id, slug, offboarded: of the credential and its customer.
        public_key: Ed25519, raw.
        note_now: ``seen_at`` is old enough to be written anew.
    """

    credential_id: str
    slug: str
    offboarded: bool
    public_key: bytes
    note_now: bool


def install(
    session: Session,
    customer: Customer,
    keys: NewKeys,
    *,
    at: datetime,
    invitation_id: int | None,
) -> InstanceCredential:
    """Writes a new credential of the customer's instance."""
    credential = InstanceCredential(
        id=secrets.token_hex(16),
        customer_id=store.key_of(customer),
        invitation_id=invitation_id,
        public_key=keys.public_key,
        sealing_key=keys.sealing_key,
        created_at=at,
        version=keys.version,
    )
    session.add(credential)
    session.flush()
    return credential


def bearer(session: Session, credential_id: str, now: datetime) -> Bearer:
    """Whom this credential speaks for; one query.

    Raises:
        Refused: ``credential_unknown``, ``credential_revoked``, also for one that was replaced
            longer ago than ``ROTATION_GRACE`` by one that has been used since.
    """
    row = session.execute(_bearer_statement(), {"credential_id": credential_id}).first()
    if row is None:
        raise refuse(
            "credential_unknown",
            "The vendor does not know this instance's credential.",
            "Enrol the instance with a new invitation: `pushcert instance init`.",
        )
    credential, slug, offboarded_at = row
    if credential.revoked_at is not None or _has_had_its_day(session, credential, now):
        raise refuse(
            "credential_revoked",
            "The vendor has revoked this instance's credential.",
            "If that was a mistake, ask your vendor for a new invitation and run"
            " `pushcert instance init` with it.",
        )
    seen = credential.seen_at
    return Bearer(
        credential_id=credential.id,
        slug=slug,
        offboarded=offboarded_at is not None,
        public_key=credential.public_key,
        note_now=seen is None or abs(now - seen) >= SEEN_EVERY,
    )


@cache
def _bearer_statement() -> Select[Any]:
    """Built once: it is asked with every request."""
    found: Select[Any] = (
        select(InstanceCredential)
        .add_columns(col(Customer.slug), col(Customer.offboarded_at))
        .join(Customer, col(Customer.id) == InstanceCredential.customer_id)
        .where(col(InstanceCredential.id) == bindparam("credential_id"))
    )
    return found


def _has_had_its_day(session: Session, credential: InstanceCredential, now: datetime) -> bool:
    replaced = credential.replaced_at
    if replaced is None or now < replaced + ROTATION_GRACE:
        return False
    successor_seen = select(InstanceCredential.id).where(
        InstanceCredential.customer_id == credential.customer_id,
        InstanceCredential.id != credential.id,
        col(InstanceCredential.created_at) >= replaced,
        col(InstanceCredential.seen_at).is_not(None),
    )
    return session.exec(successor_seen.limit(1)).first() is not None


def note_seen(session: Session, credential_id: str, version: str | None, now: datetime) -> None:
    """Notes that the instance has asked, and with which pushcert."""
    credential = session.get_one(InstanceCredential, credential_id)
    credential.seen_at = now
    credential.version = version or credential.version
    session.add(credential)


def rotate(session: Session, credential_id: str, keys: NewKeys, *, at: datetime) -> str:
    """Puts new keys in the place of a credential's; gives the new credential's id.

    The old one is good for another day, and until the new one is used. The same keys again
    change nothing.

    Raises:
        Refused: ``credential_replaced``: others have taken its place already; or what
            ``NewKeys.check`` refuses.
    """
    keys.check()
    old = session.get_one(InstanceCredential, credential_id, with_for_update=True)
    customer = session.get_one(Customer, old.customer_id)
    known = session.exec(
        select(InstanceCredential).where(
            InstanceCredential.customer_id == old.customer_id,
            InstanceCredential.public_key == keys.public_key,
            col(InstanceCredential.revoked_at).is_(None),
        )
    ).first()
    if known is not None:
        return known.id
    if old.replaced_at is not None:
        raise refuse(
            "credential_replaced",
            "Other keys have taken the place of this instance's credential already.",
            "If this is the right instance, ask your vendor for a new invitation.",
        )
    old.replaced_at = at
    session.add(old)
    new = install(session, customer, keys, at=at, invitation_id=old.invitation_id)
    audit.append(
        session,
        at=at,
        actor=f"instance:{customer.slug}",
        action="credential_rotated",
        subject=customer.slug,
        detail={
            "old": old.id,
            "credential": new.id,
            "key": short(fingerprint(keys.public_key)),
        },
    )
    return new.id


def revoke_all(
    session: Session, customer: Customer, *, at: datetime, actor: str, why: str
) -> tuple[str, ...]:
    """Shuts the customer's instance out at once; gives the ids of what was revoked."""
    revoked = []
    for credential in living(session, customer):
        credential.revoked_at = at
        session.add(credential)
        canary_seals.forget(session, credential.id)
        revoked.append(credential.id)
        audit.append(
            session,
            at=at,
            actor=actor,
            action="credential_revoked",
            subject=customer.slug,
            detail={"credential": credential.id, "why": why},
        )
    return tuple(revoked)


def living(session: Session, customer: Customer) -> list[InstanceCredential]:
    """The customer's credentials that are not revoked, newest first."""
    return list(
        session.exec(
            select(InstanceCredential)
            .where(
                InstanceCredential.customer_id == customer.id,
                col(InstanceCredential.revoked_at).is_(None),
            )
            .order_by(col(InstanceCredential.created_at).desc(), col(InstanceCredential.id))
        )
    )
