"""The MDM signing certificate: which one is in force, and the same ladder for its end."""

from __future__ import annotations

from datetime import datetime

from sqlmodel import Session, col, select, update

from lifecycle.vendor import audit, store
from lifecycle.vendor.database import Database, insert_unique
from lifecycle.vendor.ladder import LadderPolicy, Rung, expiry_ladder, owed_rung
from lifecycle.vendor.models import OutboxMessage, Signer
from lifecycle.vendor.notices import Notices, signer_ladder
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
        index_elements=["fingerprint"], set_={"retired_at": None}, where=retired
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


def remind_of_signer(
    database: Database, policy: LadderPolicy, notices: Notices, now: datetime
) -> Rung | None:
    """Writes the reminder that is owed about the signer in force, if any; gives its rung.

    The ladder hangs from the end of whatever in the signer's chain ends first, so it covers
    the intermediates as well.
    """
    with database.reading() as session:
        if _owed(session, policy, now) is None:
            return None  # as nearly always: nobody has to wait for a lock
    return database.carry_out(lambda session: tell_of_signer(session, policy, notices, now))


def tell_of_signer(
    session: Session, policy: LadderPolicy, notices: Notices, now: datetime
) -> Rung | None:
    """The same in a transaction that is open."""
    owed = _owed(session, policy, now)
    if owed is None:
        return None
    signer, rung = owed
    notices.signer_expiry(session, signer, rung, now)
    return rung


def _owed(session: Session, policy: LadderPolicy, now: datetime) -> tuple[Signer, Rung] | None:
    signer = store.current_signer(session)
    if signer is None:
        return None
    told = session.exec(
        select(OutboxMessage.rung).where(OutboxMessage.ladder == signer_ladder(signer))
    ).all()
    rung = owed_rung(
        expiry_ladder(signer.not_after, policy), frozenset(t for t in told if t is not None), now
    )
    return None if rung is None else (signer, rung)
