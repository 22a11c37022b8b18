"""The MDM signing certificate has an end too: the same ladder, told to vendor ops."""

from __future__ import annotations

from datetime import datetime

from sqlmodel import Session, select

from lifecycle.vendor import store
from lifecycle.vendor.database import Database
from lifecycle.vendor.ladder import LadderPolicy, Rung, expiry_ladder, owed_rung
from lifecycle.vendor.models import OutboxMessage, Signer
from lifecycle.vendor.notices import Notices, signer_ladder


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
