"""Which MDM signing certificate is in force, as the database has it.

Apart from ``signers``, which what serves customers may read: here a signer's own record is met.
"""

from __future__ import annotations

from datetime import datetime

from sqlmodel import Session, col, update

from lifecycle.vendor import audit, store
from lifecycle.vendor.database import insert_unique
from lifecycle.vendor.models import Signer
from lifecycle.vendor.signer import SignerRecord


def put_in_force(session: Session, record: SignerRecord, now: datetime) -> None:
    """Records the signer in force, retires the one before, and wakes who waited for it.

    Of several workers that notice it at one instant, one does this: its row is unique, and the
    others wait for that one's commit and find it in force.
    """
    noted = insert_unique(session, Signer).values(
        fingerprint=record.fingerprint,
        common_name=record.common_name,
        not_before=record.not_before,
        not_after=record.not_after,
        expires_first=record.expires_first,
        chain=record.chain_pem,
        imported_at=now,
    )
    retired = col(Signer.retired_at).is_not(None)
    taken_up = noted.on_conflict_do_update(
        index_elements=["fingerprint"],
        set_=dict.fromkeys(
            ("retired_at", "unavailable_since", "unavailable_code", "unavailable_why")
        ),
        where=retired,
    )
    if session.execute(taken_up.returning(col(Signer.id))).first() is None:
        return
    another = col(Signer.fingerprint) != record.fingerprint
    session.exec(update(Signer).where(another, ~retired).values(retired_at=now))
    store.wake_customers_with_open_renewals(session, now)
    audit.append(
        session,
        at=now,
        actor="worker",
        action="signer_in_force",
        subject=record.common_name,
        detail={"fingerprint": record.fingerprint, "not_after": record.not_after.isoformat()},
    )
