"""The vendor's tables: public certificates, requests and facts; no private key, no token.

Invariants that the database itself holds: one active certificate and at most one open
renewal per customer (partial unique indexes), one customer per topic, serial and public key
(``claim``), one outbox row per rung of a ladder, one next audit entry.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, ClassVar

from pydantic import ConfigDict
from sqlalchemy import (
    JSON,
    BigInteger,
    CheckConstraint,
    Column,
    DateTime,
    Dialect,
    Index,
    Integer,
    LargeBinary,
    Text,
    TypeDecorator,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import registry
from sqlmodel import Field, SQLModel

from lifecycle.clock import require_utc
from lifecycle.vendor.facts import OPEN_STATES

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s",
    "pk": "pk_%(table_name)s",
}

_IS_OPEN = "state IN ({})".format(", ".join(f"'{s}'" for s in sorted(OPEN_STATES)))


class UtcDateTime(TypeDecorator[datetime]):
    """An aware UTC datetime; refuses naive ones, gives back aware ones on every database."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """To the database: UTC; without a zone where the database keeps none (SQLite)."""
        if value is None:
            return None
        instant = require_utc(value)
        return instant.replace(tzinfo=None) if dialect.name == "sqlite" else instant

    def process_result_value(
        self,
        value: datetime | None,
        dialect: Dialect,  # noqa: ARG002
    ) -> datetime | None:
        """From the database: always aware, UTC."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class VendorTable(SQLModel, registry=registry()):
    """Base of the vendor's tables, with metadata of its own."""

    # Rows come from our own code and are not validated; building what would validate them
    # takes as long as mapping them.
    model_config = ConfigDict(defer_build=True)  # type: ignore[assignment]


VendorTable.metadata.naming_convention = NAMING


def complete_for_postgresql() -> None:
    """Gives the partial indexes their conditions for PostgreSQL as well: those of SQLite.

    Not said with each index, because saying it loads SQLAlchemy's PostgreSQL dialect, which
    costs every command on SQLite a tenth of its start.
    """
    for table in VendorTable.metadata.tables.values():
        for index in table.indexes:
            condition = index.dialect_options["sqlite"]["where"]
            if condition is not None:
                index.dialect_options["postgresql"]["where"] = condition


def instant(*, index: bool = False, nullable: bool = True) -> Any:
    """A column of aware UTC times."""
    return Field(default=None, sa_column=Column(UtcDateTime(), index=index, nullable=nullable))


WIDE = BigInteger().with_variant(Integer(), "sqlite")
"""A key that outgrows 32 bits: ten million customers are checked half a billion times a year.
(SQLite's INTEGER has 64 bits, and only that can be the number of its row.)"""


def many() -> Any:
    """The primary key of a table that outgrows 32 bits."""
    return Field(default=None, sa_column=Column(WIDE, primary_key=True))


class Customer(VendorTable, table=True):
    """One customer of the vendor (or the vendor's own canary tenant)."""

    __tablename__: ClassVar[Any] = "customer"
    __table_args__ = (
        Index("ix_customer_due", "next_action_at", "id"),
        Index("ix_customer_paused", "paused_at", sqlite_where=text("paused_at IS NOT NULL")),
        Index("ix_customer_gone", "offboarded_at", sqlite_where=text("offboarded_at IS NOT NULL")),
    )

    id: int | None = Field(default=None, primary_key=True)
    slug: str = Field(unique=True, max_length=64)
    name: str = Field(max_length=200)
    email: str = Field(max_length=254)
    apple_account: str | None = Field(default=None, max_length=254)
    kind: str = Field(default="customer", max_length=16)
    created_at: datetime = instant(nullable=False)
    paused_at: datetime | None = instant()
    paused_reason: str | None = Field(default=None, max_length=500)
    paused_until: datetime | None = instant()
    """When care is taken up again by itself; None: not before a person says so."""
    offboarded_at: datetime | None = instant()
    remote: bool = False
    """The instance runs on a machine of its own and asks over the network."""
    language: str | None = Field(default=None, max_length=8)
    """Of the messages to this customer; None: the vendor's."""
    notes: str | None = Field(default=None, sa_column=Column(Text))
    """What vendor ops want to remember; never shown to the customer."""
    next_action_at: datetime | None = instant()
    """When the planner must look again; the due query runs on its index."""
    leased_to: str | None = Field(default=None, max_length=16)
    """The worker that has it in hand (``leases``); no index, so that a lease is cheap."""
    leased_until: datetime | None = instant()
    """By the database's clock."""


class Contact(VendorTable, table=True):
    """A further address that gets a customer's messages, beside ``Customer.email``."""

    __tablename__: ClassVar[Any] = "contact"

    customer_id: int = Field(primary_key=True, foreign_key="customer.id")
    address: str = Field(primary_key=True, max_length=254)


class CustomerTag(VendorTable, table=True):
    """A word that vendor ops put on a customer, to pick many at once."""

    __tablename__: ClassVar[Any] = "customer_tag"

    tag: str = Field(primary_key=True, max_length=64)
    customer_id: int = Field(primary_key=True, foreign_key="customer.id", index=True)


class Bounce(VendorTable, table=True):
    """An address that a mail server refused for good; gone once a message gets through."""

    __tablename__: ClassVar[Any] = "bounce"

    address: str = Field(primary_key=True, max_length=254)
    at: datetime = instant(nullable=False)
    why: str = Field(max_length=1000)


class Certificate(VendorTable, table=True):
    """A push certificate, public part. ``state``: received, active, superseded, rejected."""

    __tablename__: ClassVar[Any] = "certificate"
    __table_args__ = (
        Index(
            "uq_certificate_one_active",
            "customer_id",
            unique=True,
            sqlite_where=text("state = 'active'"),
        ),
        Index(
            "ix_certificate_active_end",
            "not_after",
            "customer_id",
            sqlite_where=text("state = 'active'"),
        ),
        # All that the report shows of a certificate, along the customers' keys. SQLite looks at
        # the state again in an outer join, and would fetch the row for it.
        Index(
            "ix_certificate_active_of",
            *("customer_id", "id", "not_after", "revoked_at", "topic", "serial", "common_name"),
            "state",
            sqlite_where=text("state = 'active'"),
        ),
        Index("ix_certificate_received", "renewal_id", sqlite_where=text("state = 'received'")),
        Index(
            "ix_certificate_revoked",
            "revoked_at",
            "customer_id",
            sqlite_where=text("state = 'active' AND revoked_at IS NOT NULL"),
        ),
    )

    id: int | None = Field(default=None, primary_key=True)
    customer_id: int = Field(foreign_key="customer.id", index=True)
    renewal_id: int | None = Field(default=None, foreign_key="renewal.id", index=True)
    state: str = Field(max_length=16)
    topic: str = Field(max_length=255)
    serial: str = Field(max_length=64)
    common_name: str = Field(max_length=255)
    issuer: str = Field(max_length=500)
    fingerprint: str = Field(unique=True, max_length=64)
    key_fingerprint: str = Field(max_length=64)
    not_before: datetime = instant(nullable=False)
    not_after: datetime = instant(nullable=False)
    der: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    names_responder: bool = False
    recorded_at: datetime = instant(nullable=False)
    activated_at: datetime | None = instant()
    superseded_at: datetime | None = instant()
    revoked_at: datetime | None = instant()
    revocation_checked_at: datetime | None = instant()


class Claim(VendorTable, table=True):
    """What belongs to one customer alone: a topic, a serial (with issuer), a public key."""

    __tablename__: ClassVar[Any] = "claim"

    kind: str = Field(primary_key=True, max_length=16)
    value: str = Field(primary_key=True, max_length=600)
    customer_id: int = Field(foreign_key="customer.id", index=True)


class Renewal(VendorTable, table=True):
    """One pass from "a new certificate is wanted" to "it is active"."""

    __tablename__: ClassVar[Any] = "renewal"
    __table_args__ = (
        Index(
            "uq_renewal_one_open",
            "customer_id",
            unique=True,
            sqlite_where=text(_IS_OPEN),
        ),
        Index("ix_renewal_held_up", "blocked_at", sqlite_where=text("blocked_at IS NOT NULL")),
    )

    id: int | None = Field(default=None, primary_key=True)
    customer_id: int = Field(foreign_key="customer.id", index=True)
    state: str = Field(max_length=16)
    reason: str = Field(max_length=32)
    opened_at: datetime = instant(nullable=False)
    csr_received_at: datetime | None = instant()
    signed_at: datetime | None = instant()
    delivered_at: datetime | None = instant()
    ended_at: datetime | None = instant()
    csr: bytes | None = Field(default=None, sa_column=Column(LargeBinary))
    request: str | None = Field(default=None, sa_column=Column(Text))
    """As versions before 0008 kept it, whole; see ``signed_requests``."""
    signer_fingerprint: str | None = Field(default=None, max_length=64)
    request_dies_at: datetime | None = instant()
    blocked_code: str | None = Field(default=None, max_length=64)
    blocked_message: str | None = Field(default=None, max_length=1000)
    blocked_at: datetime | None = instant()
    opened_by: str | None = Field(default=None, max_length=200)
    """Who asked for it, as the audit log names them; None: from before this was kept."""
    approvals: list[Any] = Field(
        default_factory=list,
        sa_column=Column(JSON, nullable=False, server_default=text("'[]'")),
    )
    """Who approved the signature of which CSR, and when, where two people must stand behind it."""
    signature: bytes | None = Field(default=None, sa_column=Column(LargeBinary))
    """By the signer of ``signer_fingerprint``, over the CSR; None before it is signed."""


class Signer(VendorTable, table=True):
    """An MDM signing certificate with its chain; the key is in the signer's directory only."""

    __tablename__: ClassVar[Any] = "signer"

    id: int | None = Field(default=None, primary_key=True)
    fingerprint: str = Field(unique=True, max_length=64)
    common_name: str = Field(max_length=255)
    not_before: datetime = instant(nullable=False)
    not_after: datetime = instant(nullable=False)
    """Of the whole chain: the earliest end in it."""
    expires_first: str = Field(max_length=255)
    """Common name of the certificate in the chain that ends first."""
    chain: str = Field(sa_column=Column(Text, nullable=False))
    imported_at: datetime = instant(nullable=False)
    retired_at: datetime | None = instant()
    unavailable_since: datetime | None = instant()
    """Since when the key cannot be used (its token is gone, its PIN is wrong); None: it can."""
    unavailable_code: str | None = Field(default=None, max_length=64)
    unavailable_why: str | None = Field(default=None, max_length=1000)


class IsolationCheck(VendorTable, table=True):
    """One isolation check: ordered, then judged from the evidence that the instance sent."""

    __tablename__: ClassVar[Any] = "isolation_check"
    __table_args__ = (
        Index(
            "uq_isolation_check_one_ordered",
            "customer_id",
            unique=True,
            sqlite_where=text("verdict IS NULL"),
        ),
        # With the verdict, so that which check was judged last is found in here alone.
        Index("ix_isolation_check_latest", "customer_id", "concluded_at", "id", "verdict"),
        Index(
            "ix_isolation_check_breached",
            *("concluded_at", "customer_id"),
            sqlite_where=text("verdict = 'breached'"),
        ),
        Index(
            "uq_isolation_check_one_of_a_run",
            "run_id",
            "customer_id",
            unique=True,
            sqlite_where=text("run_id IS NOT NULL"),
        ),
    )

    id: int | None = many()
    customer_id: int = Field(foreign_key="customer.id")
    certificate_id: int = Field(foreign_key="certificate.id")
    ordered_at: datetime = instant(nullable=False)
    concluded_at: datetime | None = instant()
    verdict: str | None = Field(default=None, max_length=16)
    why: str | None = Field(default=None, max_length=1000)
    answers: list[Any] = Field(default_factory=list, sa_column=Column(JSON, nullable=False))
    run_id: str | None = Field(default=None, foreign_key="isolation_run.id", max_length=32)
    """The run that made it; None for a check that was made for one customer alone."""


class IsolationRun(VendorTable, table=True):
    """One pass over many customers (``verify --all``): each is checked once under its id."""

    __tablename__: ClassVar[Any] = "isolation_run"

    id: str = Field(primary_key=True, max_length=32)
    """When it began and four random bytes: ``20261124T045500Z-3f2a91bc``."""
    started_at: datetime = instant(index=True, nullable=False)
    since: datetime | None = instant()
    """Customers whose last verdict is as new as this are left out; None leaves out nobody."""
    finished_at: datetime | None = instant()
    """None while it is under way, and for one that was stopped and not taken up again."""
    document: str | None = Field(default=None, max_length=255)
    """File name of the signed document, once it is written."""


class TokenClaim(VendorTable, table=True):
    """Fingerprint of a device token that an instance knows; two owners are a breach."""

    __tablename__: ClassVar[Any] = "token_claim"

    fingerprint: str = Field(primary_key=True, max_length=64)
    customer_id: int = Field(primary_key=True, foreign_key="customer.id", index=True)


class Deployment(VendorTable, table=True):
    """How a deploy target of a customer's instance stands, as the instance reported it last."""

    __tablename__: ClassVar[Any] = "deployment"

    customer_id: int = Field(primary_key=True, foreign_key="customer.id")
    target: str = Field(primary_key=True, max_length=32)
    kind: str = Field(max_length=16)
    fingerprint: str = Field(max_length=64)
    """Of the certificate that was to be deployed."""
    code: str | None = Field(default=None, max_length=64)
    """Why the target does not have it; None: it has."""
    message: str | None = Field(default=None, max_length=1000)
    since: datetime | None = instant()
    """When this fault was first reported; None: there is none."""
    at: datetime = instant(nullable=False)
    next_at: datetime | None = instant(index=True)
    """When the instance looks at the target next."""


class OutboxMessage(VendorTable, table=True):
    """A message that is owed to somebody; written with the decision, sent afterwards."""

    __tablename__: ClassVar[Any] = "outbox"
    __table_args__ = (
        UniqueConstraint("ladder", "rung", "channel"),
        # Of the rows of years, few wait, or are digests: small indexes find those.
        Index("ix_outbox_unsent", "id", sqlite_where=text("sent_at IS NULL")),
        Index(
            "ix_outbox_due",
            "next_attempt_at",
            "id",
            sqlite_where=text("next_attempt_at IS NOT NULL"),
        ),
        Index("ix_outbox_digest", "id", sqlite_where=text("kind = 'digest'")),
        # Without the unsent ones, or SQLite takes it for those: to it, half of all rows.
        Index("ix_outbox_sent_at", "sent_at", sqlite_where=text("sent_at IS NOT NULL")),
        Index("ix_outbox_given_up", "customer_id", sqlite_where=text("given_up_at IS NOT NULL")),
    )

    id: int | None = many()
    dedupe_key: str = Field(unique=True, max_length=200)
    kind: str = Field(max_length=32)
    channel: str = Field(default="mail", max_length=64)
    """``mail``, or the name of one of the vendor's own channels (``notify`` in config.toml)."""
    customer_id: int | None = Field(default=None, foreign_key="customer.id", index=True)
    renewal_id: int | None = Field(default=None, foreign_key="renewal.id", index=True)
    ladder: str | None = Field(default=None, max_length=64)
    rung: str | None = Field(default=None, max_length=32)
    recipients: list[str] = Field(sa_column=Column(JSON, nullable=False))
    copies: list[str] = Field(default_factory=list, sa_column=Column(JSON, nullable=False))
    subject: str = Field(max_length=500)
    body: str = Field(sa_column=Column(Text, nullable=False))
    html: str | None = Field(default=None, sa_column=Column(Text))
    attach_request: bool = False
    created_at: datetime = instant(nullable=False)
    next_attempt_at: datetime | None = instant()
    """None once the message is sent or given up."""
    attempts: int = 0
    sent_at: datetime | None = instant()
    given_up_at: datetime | None = instant()
    last_error: str | None = Field(default=None, max_length=1000)
    leased_to: str | None = Field(default=None, max_length=16)
    """The sender that is handing it over (``leases``)."""
    leased_until: datetime | None = instant()
    """By the database's clock."""
    lease_lapsed: bool = False
    """The lease was found over once; found over again, it is lost."""


class AuditEntry(VendorTable, table=True):
    """One entry of the hash-chained audit log; never changed, never removed."""

    __tablename__: ClassVar[Any] = "audit"
    __table_args__ = (Index("ix_audit_subject", "subject", "seq"),)

    seq: int = Field(sa_column=Column(WIDE, primary_key=True, autoincrement=False))
    at: datetime = instant(nullable=False)
    actor: str = Field(max_length=200)
    action: str = Field(max_length=64)
    subject: str = Field(max_length=200)
    detail: dict[str, Any] = Field(sa_column=Column(JSON, nullable=False))
    previous: str = Field(max_length=64)
    hash: str = Field(max_length=64)


class AuditHead(VendorTable, table=True):
    """The newest audit entry, noted once more, so that removing the last ones shows, too.

    One row, written in the transaction of the entry it names. Who can rewrite the whole
    database can rewrite the chain and this row with it: `audit verify --expect HASH`, with a
    hash that was noted elsewhere, finds that as well.
    """

    __tablename__: ClassVar[Any] = "audit_head"
    __table_args__ = (CheckConstraint("id = 1", name="ck_audit_head_one_row"),)

    id: int = Field(default=1, primary_key=True, sa_column_kwargs={"autoincrement": False})
    seq: int = Field(sa_column=Column(WIDE, nullable=False))
    hash: str = Field(max_length=64)
