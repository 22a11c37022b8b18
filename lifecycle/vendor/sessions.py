"""Who is signed in to the ops dashboard: sessions that live on the server.

The browser holds a random token in a cookie; the registry holds the token's hash, so that who
reads the database cannot sign in with what is there.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sqlmodel import Session, col, delete

from lifecycle.vendor.access_models import UserAccount, UserSession
from lifecycle.vendor.users import Role, actor_of

_TOKEN_BYTES = 32


@dataclass(frozen=True, slots=True)
class SignedIn:
    """Somebody who is signed in.

    Attributes:
        user: a local user's name, or what the OIDC provider calls the person.
        role: what they may do now.
        local: they signed in with a password of ours.
        expires_at: when they must sign in again.
        token: what the cookie holds.
    """

    user: str
    role: Role
    local: bool
    expires_at: datetime
    token: str = field(repr=False)

    @property
    def actor(self) -> str:
        """Their name in the audit log."""
        return actor_of(self.user)

    @property
    def form_token(self) -> str:
        """What every form of this session carries, and no other site can know."""
        return form_token(self.token)


def new_token() -> str:
    """A token that nobody guesses; 256 random bits, for a cookie."""
    return secrets.token_urlsafe(_TOKEN_BYTES)


def form_token(token: str) -> str:
    """The proof that a form was served to the browser that holds this token.

    Made from the token and kept nowhere; it does not give the token away.
    """
    return hmac.new(token.encode(), b"pushcert form", hashlib.sha256).hexdigest()


def begin(
    session: Session, user: str, role: Role, *, local: bool, at: datetime, hours: int
) -> SignedIn:
    """Signs somebody in under a new token; sessions that have ended are cleared away."""
    session.exec(delete(UserSession).where(col(UserSession.expires_at) <= at))
    token, expires_at = new_token(), at + timedelta(hours=hours)
    session.add(
        UserSession(
            token_hash=_hash(token),
            user=user,
            role=role,
            local=local,
            created_at=at,
            expires_at=expires_at,
        )
    )
    session.flush()
    return SignedIn(user, role, local, expires_at, token)


def find(session: Session, token: str, now: datetime) -> SignedIn | None:
    """Whose session this token is of, or None.

    A local user's role is the one they have now, and a disabled one is not signed in.
    """
    row = session.get(UserSession, _hash(token))
    if row is None or row.expires_at <= now:
        return None
    role = Role(row.role)
    if row.local:
        account = session.get(UserAccount, row.user)
        if account is None or account.disabled_at is not None:
            return None
        role = Role(account.role)
    return SignedIn(row.user, role, row.local, row.expires_at, token)


def end(session: Session, token: str) -> bool:
    """Signs out; True if the token was one of a session."""
    row = session.get(UserSession, _hash(token))
    if row is None:
        return False
    session.delete(row)
    return True


def _hash(token: str) -> str:
    # 256 random bits need no slow hash.
    return hashlib.sha256(token.encode()).hexdigest()
