"""The tables of who may reach the vendor over the network: instances, calendars, people.

Beside the registry's own tables, because mapping them costs every command that only reads a
report a tenth of its start. No secret is in them: what must be recognised is kept as a hash.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar

from sqlalchemy import Column, Index, LargeBinary
from sqlmodel import Field

from lifecycle.vendor.models import VendorTable, instant


class Invitation(VendorTable, table=True):
    """A one-time code that lets an instance enrol for a customer; kept as its hash."""

    __tablename__: ClassVar[Any] = "invitation"

    id: int | None = Field(default=None, primary_key=True)
    customer_id: int = Field(foreign_key="customer.id", index=True)
    code_hash: str = Field(unique=True, max_length=64)
    """SHA-256 (hex) of the code; the code itself is shown once and kept nowhere."""
    created_at: datetime = instant(nullable=False)
    expires_at: datetime = instant(nullable=False)
    created_by: str = Field(max_length=200)
    used_at: datetime | None = instant()
    withdrawn_at: datetime | None = instant()


class InstanceCredential(VendorTable, table=True):
    """The public key that one customer's instance signs its requests with."""

    __tablename__: ClassVar[Any] = "instance_credential"

    id: str = Field(primary_key=True, max_length=32)
    """Random; the ``kid`` of the instance's signatures."""
    customer_id: int = Field(foreign_key="customer.id", index=True)
    invitation_id: int | None = Field(default=None, foreign_key="invitation.id", index=True)
    public_key: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    """Ed25519, 32 bytes."""
    sealing_key: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    """X25519, 32 bytes: canary tokens for this instance are sealed to it."""
    created_at: datetime = instant(nullable=False)
    seen_at: datetime | None = instant()
    version: str | None = Field(default=None, max_length=64)
    """Of pushcert in the instance, as it said last."""
    replaced_at: datetime | None = instant()
    """Since when a newer credential of the same instance is in use; still good for a while."""
    revoked_at: datetime | None = instant()


class SealedCanary(VendorTable, table=True):
    """A canary token, sealed by the canary's instance for another instance alone."""

    __tablename__: ClassVar[Any] = "sealed_canary"

    canary_id: int = Field(primary_key=True, foreign_key="customer.id")
    credential_id: str = Field(
        primary_key=True, foreign_key="instance_credential.id", index=True, max_length=32
    )
    topic: str = Field(max_length=255)
    token_fingerprint: str = Field(max_length=64)
    sealed: bytes = Field(sa_column=Column(LargeBinary, nullable=False))


class FeedToken(VendorTable, table=True):
    """A token that a calendar program reads the feed with; kept as its hash, revocable."""

    __tablename__: ClassVar[Any] = "feed_token"

    id: int | None = Field(default=None, primary_key=True)
    token_hash: str = Field(unique=True, max_length=64)
    label: str = Field(max_length=200)
    created_at: datetime = instant(nullable=False)
    created_by: str = Field(max_length=200)
    used_at: datetime | None = instant()
    revoked_at: datetime | None = instant()


class UserAccount(VendorTable, table=True):
    """A person who may sign in to the ops dashboard."""

    __tablename__: ClassVar[Any] = "user_account"

    name: str = Field(primary_key=True, max_length=128)
    role: str = Field(max_length=16)
    """``viewer`` or ``operator``."""
    password_hash: str = Field(max_length=256)
    """Argon2id, in its own encoded form."""
    created_at: datetime = instant(nullable=False)
    disabled_at: datetime | None = instant()


class UserSession(VendorTable, table=True):
    """A signed-in browser; the cookie's value is kept as its hash."""

    __tablename__: ClassVar[Any] = "user_session"

    token_hash: str = Field(primary_key=True, max_length=64)
    user: str = Field(max_length=200, index=True)
    """The name in the audit log: a local user's, or what the OIDC provider says."""
    role: str = Field(max_length=16)
    local: bool = True
    created_at: datetime = instant(nullable=False)
    expires_at: datetime = instant(index=True, nullable=False)


class FailedSignIn(VendorTable, table=True):
    """A sign-in with a wrong password; too many close the door for a while."""

    __tablename__: ClassVar[Any] = "failed_sign_in"
    __table_args__ = (
        Index("ix_failed_sign_in_name_at", "name", "at"),
        Index("ix_failed_sign_in_address_at", "address", "at"),
    )

    id: int | None = Field(default=None, primary_key=True)
    name: str = Field(max_length=128)
    address: str = Field(max_length=64)
    at: datetime = instant(nullable=False)
