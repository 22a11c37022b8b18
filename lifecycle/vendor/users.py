"""The people who may sign in to the ops dashboard with a password of their own.

A password is kept as its Argon2id hash. What hashing costs is paid outside of transactions, and
a few at a time: it is meant to take memory, and nobody may make this process take all of it.
"""

from __future__ import annotations

import re
import secrets
from datetime import datetime
from enum import StrEnum
from functools import cached_property
from threading import BoundedSemaphore
from typing import TYPE_CHECKING

from sqlmodel import Session, col, delete, select

from lifecycle.errors import Finding, Refused, refuse
from lifecycle.vendor import audit
from lifecycle.vendor.access_models import FailedSignIn, UserAccount, UserSession

if TYPE_CHECKING:
    from argon2 import PasswordHasher

_NAME = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,62}[a-z0-9])?")
SHORTEST_PASSWORD = 12
"""Characters; length is what counts (NIST SP 800-63B, 5.1.1.2), so nothing else is asked for."""
LONGEST_PASSWORD = 1024
"""Bytes; a longer one would only make hashing slow."""
HASHED_AT_ONCE = 2


class Role(StrEnum):
    """What somebody may do."""

    VIEWER = "viewer"
    """See everything, change nothing."""
    OPERATOR = "operator"
    """Carry out the dashboard's few actions as well."""


class Passwords:
    """Hashes passwords and compares them. One for a process.

    Raises:
        Refused: from every call: ``server_support_missing``.
    """

    def __init__(self) -> None:
        self._turn = BoundedSemaphore(HASHED_AT_ONCE)

    @cached_property
    def _hasher(self) -> PasswordHasher:
        try:
            from argon2 import PasswordHasher, Type
        except ImportError:
            raise refuse(
                "server_support_missing",
                "Users need argon2-cffi, which is not installed.",
                "Run `pip install 'pushcert[server]'`.",
            ) from None
        # OWASP's Password Storage Cheat Sheet: Argon2id, 46 MiB, one pass, one lane.
        return PasswordHasher(time_cost=1, memory_cost=47_104, parallelism=1, type=Type.ID)

    @cached_property
    def _of_nobody(self) -> str:
        return self.hash(secrets.token_urlsafe(16))

    def hash(self, password: str) -> str:
        """The password's hash in Argon2's own encoded form."""
        hasher = self._hasher
        with self._turn:
            return hasher.hash(password)

    def fits(self, password: str, kept: str | None) -> bool:
        """Whether the password is the one whose hash is kept.

        With no hash as much is computed as with one, so that the time tells nobody which names
        there are.
        """
        from argon2.exceptions import InvalidHashError, VerificationError

        known = kept or self._of_nobody
        hasher = self._hasher
        with self._turn:
            try:
                right = len(password.encode()) <= LONGEST_PASSWORD and hasher.verify(
                    known, password
                )
            except (VerificationError, InvalidHashError):
                right = False
        return right and kept is not None

    def is_outdated(self, kept: str) -> bool:
        """Whether the hash was made with other costs than today's."""
        return self._hasher.check_needs_rehash(kept)


def check_password(password: str, name: str) -> None:
    """Raises ``Refused``: ``password_too_short``, ``password_too_long``, ``password_is_name``."""
    if len(password) < SHORTEST_PASSWORD:
        raise refuse(
            "password_too_short",
            f"The password has {len(password)} characters.",
            f"Choose one of {SHORTEST_PASSWORD} or more; a few words in a row will do.",
        )
    if len(password.encode()) > LONGEST_PASSWORD:
        raise refuse(
            "password_too_long",
            f"The password is longer than {LONGEST_PASSWORD} bytes.",
            "Choose a shorter one.",
        )
    if len(set(password)) < 4 or password.casefold() in (name, name * 2, name * 3):
        raise refuse(
            "password_guessable",
            "The password is the name, or hardly more than one letter over and over.",
            "Choose one that nobody guesses; a few words in a row will do.",
        )


def actor_of(name: str) -> str:
    """How the audit log calls a user of the dashboard: ``user:anna``."""
    return f"user:{name}"


def user_by_name(session: Session, name: str) -> UserAccount:
    """The user with this name.

    Raises:
        Refused: ``user_unknown``.
    """
    account = session.get(UserAccount, name)
    if account is None:
        raise refuse(
            "user_unknown",
            f"There is no user '{name[:64]}'.",
            "See `pushcert user list`, or add it with `pushcert user add`.",
        )
    return account


def all_users(session: Session) -> list[UserAccount]:
    """Every user, by name."""
    return list(session.exec(select(UserAccount).order_by(col(UserAccount.name))))


def check_new(session: Session, name: str) -> None:
    """Raises ``Refused``: ``user_name_malformed``, ``user_taken``."""
    findings = []
    if not _NAME.fullmatch(name):
        findings.append(
            Finding(
                "user_name_malformed",
                f"'{name[:64]}' cannot be a user's name.",
                "Use 1 to 64 lower-case letters, digits and . _ -, such as 'anna'.",
            )
        )
    elif session.get(UserAccount, name) is not None:
        findings.append(
            Finding(
                "user_taken",
                f"There is a user '{name}' already.",
                "Choose another name, or set this one's password with `pushcert user password`.",
            )
        )
    if findings:
        raise Refused(findings)


def add(
    session: Session, name: str, role: Role, password_hash: str, *, at: datetime, actor: str
) -> UserAccount:
    """Adds a user. Raises as ``check_new``."""
    check_new(session, name)
    account = UserAccount(name=name, role=role, password_hash=password_hash, created_at=at)
    session.add(account)
    session.flush()
    _audit(session, account, "user_added", at, actor, {"role": str(role)})
    return account


def set_password(
    session: Session, account: UserAccount, password_hash: str, *, at: datetime, actor: str
) -> None:
    """Gives a user another password; whoever is signed in under the name is signed out.

    Sign-ins that failed are forgotten: the way in is open again.
    """
    account.password_hash = password_hash
    session.add(account)
    session.exec(delete(FailedSignIn).where(col(FailedSignIn.name) == account.name))
    ended = sign_out_everywhere(session, account.name)
    _audit(session, account, "user_password_set", at, actor, {"sessions_ended": ended})


def set_role(
    session: Session, account: UserAccount, role: Role, *, at: datetime, actor: str
) -> bool:
    """Lets a user do more or less, at once; True if that was not so already."""
    if account.role == role:
        return False
    old, account.role = account.role, role
    session.add(account)
    _audit(session, account, "user_role_set", at, actor, {"role": [old, str(role)]})
    return True


def disable(session: Session, account: UserAccount, *, at: datetime, actor: str) -> bool:
    """Shuts a user out and signs them out; True if they were let in until now."""
    if account.disabled_at is not None:
        return False
    account.disabled_at = at
    session.add(account)
    ended = sign_out_everywhere(session, account.name)
    _audit(session, account, "user_disabled", at, actor, {"sessions_ended": ended})
    return True


def enable(session: Session, account: UserAccount, *, at: datetime, actor: str) -> bool:
    """Lets a disabled user in again, with the password they had; True if they were shut out."""
    if account.disabled_at is None:
        return False
    account.disabled_at = None
    session.add(account)
    _audit(session, account, "user_enabled", at, actor, {})
    return True


def sign_out_everywhere(session: Session, name: str) -> int:
    """Ends all sessions of a local user; gives how many there were."""
    ended = session.exec(
        delete(UserSession).where(col(UserSession.user) == name, col(UserSession.local).is_(True))
    )
    return int(ended.rowcount)


def _audit(
    session: Session,
    account: UserAccount,
    action: str,
    at: datetime,
    actor: str,
    detail: dict[str, object],
) -> None:
    audit.append(
        session, at=at, actor=actor, action=action, subject=actor_of(account.name), detail=detail
    )
