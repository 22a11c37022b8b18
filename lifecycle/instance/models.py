"""The tables of a vault. What is secret in them is sealed (``lifecycle.instance.sealing``).

Invariants that the database itself holds: one key per renewal, at most one active certificate
and at most one candidate, one device per token.
"""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, ClassVar

from sqlalchemy import (
    CheckConstraint,
    Column,
    DateTime,
    Dialect,
    Index,
    LargeBinary,
    Text,
    TypeDecorator,
    text,
)
from sqlalchemy.orm import registry
from sqlmodel import Field, SQLModel

from lifecycle.clock import require_utc

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s",
    "pk": "pk_%(table_name)s",
}


class CertificateState(StrEnum):
    """Where a push certificate stands in this vault."""

    CANDIDATE = "candidate"
    """Accepted by the vendor, not used yet: its own-token push is outstanding."""
    ACTIVE = "active"
    """The one that pushes are made with."""
    SUPERSEDED = "superseded"
    """Another has taken its place; kept with its key."""


class UtcDateTime(TypeDecorator[datetime]):
    """An aware UTC datetime; SQLite keeps it without a zone."""

    impl = DateTime()
    cache_ok = True

    def process_bind_param(
        self,
        value: datetime | None,
        dialect: Dialect,  # noqa: ARG002
    ) -> datetime | None:
        """To the database: UTC; a naive time is refused (``ValueError``)."""
        return None if value is None else require_utc(value).replace(tzinfo=None)

    def process_result_value(
        self,
        value: datetime | None,
        dialect: Dialect,  # noqa: ARG002
    ) -> datetime | None:
        """From the database: always aware, UTC."""
        return None if value is None else value.replace(tzinfo=UTC)


class VaultTable(SQLModel, registry=registry()):
    """Base of the vault's tables, with metadata of its own."""


VaultTable.metadata.naming_convention = NAMING


def _instant(*, nullable: bool = True) -> Any:
    return Field(default=None, sa_column=Column(UtcDateTime(), nullable=nullable))


def _bytes(*, nullable: bool = False) -> Any:
    return Field(default=None, sa_column=Column(LargeBinary, nullable=nullable), repr=False)


class VaultRow(VaultTable, table=True):
    """The vault itself: one row. ``scrypt_*`` and ``salt`` are empty where a key file is used."""

    __tablename__: ClassVar[Any] = "vault"
    __table_args__ = (CheckConstraint("id = 1", name="single"),)

    id: int = Field(default=1, primary_key=True)
    vault_id: str = Field(max_length=36)
    wrapped_data_key: bytes = _bytes()
    salt: bytes = _bytes()
    scrypt_n: int | None = None
    scrypt_r: int | None = None
    scrypt_p: int | None = None
    ring_consent: bool = False
    """True if the customer lets other consenting customers probe with one of its tokens."""


class KeyRow(VaultTable, table=True):
    """A private key, sealed, and the CSR made with it.

    ``renewal_id`` is None for a key that was adopted with its certificate, or whose renewal's
    number the vendor has given out again after a restore. ``retired_at`` is
    set when the renewal ended without a certificate; the key is kept, but matches nothing.
    """

    __tablename__: ClassVar[Any] = "key"

    id: int | None = Field(default=None, primary_key=True)
    renewal_id: int | None = Field(default=None, unique=True)
    fingerprint: str = Field(unique=True, max_length=64)
    sealed: bytes = _bytes()
    csr: bytes | None = _bytes(nullable=True)
    made_at: datetime = _instant(nullable=False)
    retired_at: datetime | None = _instant()


class CertificateRow(VaultTable, table=True):
    """A push certificate and the key it belongs to.

    ``renewal_id`` is the renewal it was recorded against, None if it was adopted.
    ``own_push`` is the answer (JSON, no token) that proved it, None if no push was needed.
    """

    __tablename__: ClassVar[Any] = "certificate"
    __table_args__ = (
        Index(
            "uq_certificate_one_of_each",
            "state",
            unique=True,
            sqlite_where=text("state IN ('active', 'candidate')"),
        ),
    )

    id: int | None = Field(default=None, primary_key=True)
    key_id: int = Field(foreign_key="key.id", index=True)
    renewal_id: int | None = None
    state: str = Field(max_length=16)
    fingerprint: str = Field(unique=True, max_length=64)
    der: bytes = _bytes()
    recorded_at: datetime = _instant(nullable=False)
    activated_at: datetime | None = _instant()
    superseded_at: datetime | None = _instant()
    own_push: str | None = Field(default=None, sa_column=Column(Text))


class CredentialRow(VaultTable, table=True):
    """The keys by which the vendor knows this instance over the network; both are sealed.

    ``credential_id`` is None until the vendor has answered. Rows that were replaced are kept
    for what was sealed to them.
    """

    __tablename__: ClassVar[Any] = "credential"

    id: int | None = Field(default=None, primary_key=True)
    credential_id: str | None = Field(default=None, unique=True, max_length=64)
    public_key: str = Field(unique=True, max_length=64)
    """Ed25519, hexadecimal; what both seals are bound to."""
    sealed_signing_key: bytes = _bytes()
    sealed_sealing_key: bytes = _bytes()
    made_at: datetime = _instant(nullable=False)
    enrolled_at: datetime | None = _instant()
    replaced_at: datetime | None = _instant()


class DeviceRow(VaultTable, table=True):
    """A device that can be pushed to; token and push magic are sealed.

    ``gone_at`` is when APNs said that the token is no longer registered (410).
    """

    __tablename__: ClassVar[Any] = "device"

    udid: str = Field(primary_key=True, max_length=128)
    topic: str = Field(max_length=255)
    token_fingerprint: str = Field(unique=True, max_length=64)
    sealed_token: bytes = _bytes()
    sealed_magic: bytes = _bytes()
    canary: bool = False
    seen_at: datetime = _instant(nullable=False)
    gone_at: datetime | None = _instant()


class DeploymentRow(VaultTable, table=True):
    """How a deploy target stands; ``lifecycle.instance.deploy.plan.Record`` says what is what."""

    __tablename__: ClassVar[Any] = "deployment"

    target: str = Field(primary_key=True, max_length=64)
    kind: str = Field(max_length=16)
    settings: str = Field(default="", max_length=64)
    fingerprint: str | None = Field(default=None, max_length=64)
    deployed_at: datetime | None = _instant()
    checked_at: datetime | None = _instant()
    wanted: str | None = Field(default=None, max_length=64)
    code: str | None = Field(default=None, max_length=64)
    message: str | None = Field(default=None, max_length=1000)
    attempts: int = 0
    failing_since: datetime | None = _instant()
    attempted_at: datetime | None = _instant()
    next_at: datetime | None = _instant()
    told: bool = False
