"""Whether the signing key can be used, as the worker last found it: kept with the signer's row.

While it cannot, nothing is signed and no renewal tries: they wait, held up with the reason, and
one look at the key in each tick tells when they go on. A PIN that the token refused is not tried
again by a worker, however often it is started, because the token would lock itself; a person does
that with ``pushcert signer check``.
"""

from __future__ import annotations

from datetime import datetime

from sqlmodel import Session

from lifecycle.errors import PushcertError, Refused
from lifecycle.vendor import audit, store
from lifecycle.vendor.models import Signer

FOR_A_PERSON = frozenset({"token_pin_wrong", "token_pin_locked", "token_pin_last_try"})
"""Faults after which a worker leaves the key alone."""


def code_of(fault: PushcertError) -> str:
    """The code by which the fault is known: of its first finding, where it has some."""
    return fault.codes[0] if isinstance(fault, Refused) else fault.code


def is_worth_a_look(signer: Signer | None) -> bool:
    """Whether the worker should see if a key that could not be used can be now."""
    return (
        signer is not None
        and signer.unavailable_since is not None
        and signer.unavailable_code not in FOR_A_PERSON
    )


def mark_unavailable(session: Session, fault: PushcertError, now: datetime, *, actor: str) -> None:
    """Notes that the key in force cannot be used, and why; once for each cause."""
    signer = store.current_signer(session)
    code = code_of(fault)
    if signer is None or signer.unavailable_code == code:
        return
    signer.unavailable_since = signer.unavailable_since or now
    signer.unavailable_code = code
    signer.unavailable_why = str(fault)[:1000]
    session.add(signer)
    audit.append(
        session,
        at=now,
        actor=actor,
        action="signer_unavailable",
        subject=signer.common_name,
        detail={"fingerprint": signer.fingerprint, "code": code},
    )


def mark_available(session: Session, now: datetime, *, actor: str) -> bool:
    """Notes that the key can be used again, and wakes who waits; True if it could not before."""
    signer = store.current_signer(session)
    if signer is None or signer.unavailable_since is None:
        return False
    since = signer.unavailable_since
    signer.unavailable_since = signer.unavailable_code = signer.unavailable_why = None
    session.add(signer)
    store.wake_customers_with_open_renewals(session, now)
    audit.append(
        session,
        at=now,
        actor=actor,
        action="signer_available",
        subject=signer.common_name,
        detail={"fingerprint": signer.fingerprint, "since": since.isoformat()},
    )
    return True
