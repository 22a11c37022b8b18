"""Canary tokens that travel from the canary tenant's instance to the customers' instances.

The foreign probes of an isolation check aim at a device of the vendor's own tenant. Its token
must reach every instance and must not be readable on the way, the vendor's plane included: the
canary's instance seals it to each instance's own key, and here the seals are only kept.
"""

from __future__ import annotations

from base64 import b64encode

from sqlalchemy import delete
from sqlmodel import Session, col, select

from lifecycle.errors import refuse
from lifecycle.vendor import store
from lifecycle.vendor.access_models import InstanceCredential, SealedCanary
from lifecycle.vendor.facts import CustomerKind
from lifecycle.vendor.models import Customer
from lifecycle.wire import messages
from lifecycle.wire.messages import CanarySeals, Sealing, SealOrder

ORDERS_AT_A_TIME = 200
"""Seals that one answer asks for; the rest come with the next."""


def sealed_for(
    session: Session, customer: Customer, credential_id: str
) -> messages.SealedCanary | None:
    """The canary token for this instance, of the first canary tenant in care that has sealed
    one; None for a canary tenant that has no other to aim at.

    Right after a change of keys there is none for the new ones yet; the one for the keys
    before is given, which the instance has kept.
    """
    row = session.exec(
        select(SealedCanary)
        .join(Customer, col(Customer.id) == SealedCanary.canary_id)
        .join(InstanceCredential, col(InstanceCredential.id) == SealedCanary.credential_id)
        .where(
            InstanceCredential.customer_id == customer.id,
            col(InstanceCredential.revoked_at).is_(None),
            SealedCanary.canary_id != customer.id,
            col(Customer.offboarded_at).is_(None),
        )
        .order_by(col(SealedCanary.credential_id) != credential_id, col(Customer.slug))
        .limit(1)
    ).first()
    if row is None:
        return None
    return messages.SealedCanary(
        credential_id=row.credential_id,
        topic=row.topic,
        token_fingerprint=row.token_fingerprint,
        sealed=b64encode(row.sealed),
    )


def sealing_for(session: Session, canary: Customer) -> Sealing | None:
    """What a canary tenant's instance is to seal; None for any other customer."""
    if canary.kind != CustomerKind.CANARY:
        return None
    canary_id = store.key_of(canary)
    sealed = session.exec(
        select(SealedCanary.token_fingerprint).where(SealedCanary.canary_id == canary_id).limit(1)
    ).first()
    has_one = select(SealedCanary.credential_id).where(SealedCanary.canary_id == canary_id)
    waiting = session.exec(
        select(InstanceCredential)
        .where(
            InstanceCredential.customer_id != canary_id,
            col(InstanceCredential.revoked_at).is_(None),
            col(InstanceCredential.replaced_at).is_(None),
            col(InstanceCredential.id).not_in(has_one),
        )
        .order_by(col(InstanceCredential.id))
        .limit(ORDERS_AT_A_TIME)
    )
    return Sealing(
        token_fingerprint=sealed,
        orders=tuple(
            SealOrder(credential_id=row.id, sealing_key=b64encode(row.sealing_key))
            for row in waiting
        ),
    )


def keep(session: Session, canary: Customer, sent: CanarySeals) -> None:
    """Keeps what the canary tenant's instance has sealed; a repetition changes nothing.

    Seals of an earlier token go: they are ordered anew. A seal for a credential that has been
    revoked since is left out.

    Raises:
        Refused: ``not_a_canary``: only the vendor's own tenant shows its tokens to others.
    """
    if canary.kind != CustomerKind.CANARY:
        raise refuse(
            "not_a_canary",
            f"'{canary.slug}' is no canary tenant; its device tokens are shown to nobody.",
            "Take the setting back that made its instance offer one.",
        )
    canary_id = store.key_of(canary)
    session.exec(
        delete(SealedCanary).where(
            col(SealedCanary.canary_id) == canary_id,
            col(SealedCanary.token_fingerprint) != sent.token_fingerprint,
        )
    )
    wanted = {seal.credential_id: bytes(seal.sealed) for seal in sent.seals}
    living = session.exec(
        select(InstanceCredential.id).where(
            col(InstanceCredential.id).in_(wanted), col(InstanceCredential.revoked_at).is_(None)
        )
    )
    for credential_id in living:
        row = session.get(SealedCanary, (canary_id, credential_id))
        session.add(
            row
            or SealedCanary(
                canary_id=canary_id,
                credential_id=credential_id,
                topic=sent.topic,
                token_fingerprint=sent.token_fingerprint,
                sealed=wanted[credential_id],
            )
        )


def forget(session: Session, credential_id: str) -> None:
    """Drops what was sealed for a credential that is gone."""
    session.exec(delete(SealedCanary).where(col(SealedCanary.credential_id) == credential_id))
