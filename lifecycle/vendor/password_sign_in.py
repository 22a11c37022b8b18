"""Signing in to the ops dashboard, and out of it, with what the audit log says of it."""

from __future__ import annotations

import hmac
from datetime import datetime

from sqlmodel import Session

from lifecycle.vendor import audit, sessions
from lifecycle.vendor.access_models import UserAccount
from lifecycle.vendor.database import Database
from lifecycle.vendor.failed_sign_ins import Attempt, Closed, book, failed, site_of, succeeded
from lifecycle.vendor.sessions import SignedIn
from lifecycle.vendor.users import Passwords, Role, actor_of


def sign_in(
    database: Database,
    passwords: Passwords,
    name: str,
    password: str,
    address: str,
    *,
    now: datetime,
    hours: int,
) -> SignedIn | Closed | None:
    """Signs a local user in.

    A name that there is not, one that is disabled and a wrong password give the same answer
    and take the same time.

    Args:
        address: the client's; counts for the limits and is noted in the audit log.
        hours: how long the session lasts.

    Returns:
        The new session; when the next try is possible; or None: name or password is wrong.
    """
    name = name.strip().lower()
    with database.transaction() as session:
        attempt = book(session, name, address, now)
    if isinstance(attempt, Closed):
        return attempt
    with database.reading() as session:
        account = session.get(UserAccount, attempt.name)
        kept = None if account is None or account.disabled_at is not None else account.password_hash
    if not passwords.fits(password, kept):
        with database.transaction() as session:
            failed(session, attempt, at=now)
        return None
    fresh = passwords.hash(password) if kept and passwords.is_outdated(kept) else None
    with database.transaction() as session:
        return _begin(session, attempt, kept, fresh, address, now, hours)


def _begin(
    session: Session,
    attempt: Attempt,
    kept: str | None,
    fresh: str | None,
    address: str,
    now: datetime,
    hours: int,
) -> SignedIn | None:
    account = session.get(UserAccount, attempt.name, with_for_update=True)
    if account is None or account.disabled_at is not None or kept is None:
        return None
    if not hmac.compare_digest(account.password_hash, kept):
        return None  # changed while the password was looked at
    if fresh is not None:
        account.password_hash = fresh
        session.add(account)
    succeeded(session, attempt)
    signed_in = sessions.begin(
        session, account.name, Role(account.role), local=True, at=now, hours=hours
    )
    note_sign_in(session, signed_in, address, now, {"with": "password"})
    return signed_in


def note_sign_in(
    session: Session,
    signed_in: SignedIn,
    address: str,
    at: datetime,
    how: dict[str, object],
) -> None:
    """The entry of the audit log for a sign-in of any kind."""
    audit.append(
        session,
        at=at,
        actor=signed_in.actor,
        action="signed_in",
        subject=signed_in.actor,
        detail={"role": str(signed_in.role), "address": site_of(address), **how},
    )


def sign_out(session: Session, signed_in: SignedIn, *, at: datetime) -> None:
    """Ends the session; a second time changes nothing."""
    if sessions.end(session, signed_in.token):
        actor = actor_of(signed_in.user)
        audit.append(session, at=at, actor=actor, action="signed_out", subject=actor, detail={})
