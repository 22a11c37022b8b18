"""The vault as first released."""

from __future__ import annotations

import sqlalchemy as sa

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """To this revision."""
    op.create_table(
        "vault",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("vault_id", sa.String(36), nullable=False),
        sa.Column("wrapped_data_key", sa.LargeBinary(), nullable=False),
        sa.Column("salt", sa.LargeBinary(), nullable=False),
        sa.Column("scrypt_n", sa.Integer(), nullable=True),
        sa.Column("scrypt_r", sa.Integer(), nullable=True),
        sa.Column("scrypt_p", sa.Integer(), nullable=True),
        sa.Column("ring_consent", sa.Boolean(), nullable=False),
        sa.CheckConstraint("id = 1", name=op.f("ck_vault_single")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_vault")),
    )
    op.create_table(
        "key",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("renewal_id", sa.Integer(), nullable=True),
        sa.Column("fingerprint", sa.String(64), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("csr", sa.LargeBinary(), nullable=True),
        sa.Column("made_at", sa.DateTime(), nullable=False),
        sa.Column("retired_at", sa.DateTime(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_key")),
        sa.UniqueConstraint("renewal_id", name=op.f("uq_key_renewal_id")),
        sa.UniqueConstraint("fingerprint", name=op.f("uq_key_fingerprint")),
    )
    op.create_table(
        "certificate",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("key_id", sa.Integer(), nullable=False),
        sa.Column("renewal_id", sa.Integer(), nullable=True),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("fingerprint", sa.String(64), nullable=False),
        sa.Column("der", sa.LargeBinary(), nullable=False),
        sa.Column("recorded_at", sa.DateTime(), nullable=False),
        sa.Column("activated_at", sa.DateTime(), nullable=True),
        sa.Column("superseded_at", sa.DateTime(), nullable=True),
        sa.Column("own_push", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["key_id"], ["key.id"], name=op.f("fk_certificate_key_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_certificate")),
        sa.UniqueConstraint("fingerprint", name=op.f("uq_certificate_fingerprint")),
    )
    op.create_index(op.f("ix_certificate_key_id"), "certificate", ["key_id"])
    op.create_index(
        "uq_certificate_one_of_each",
        "certificate",
        ["state"],
        unique=True,
        sqlite_where=sa.text("state IN ('active', 'candidate')"),
    )
    op.create_table(
        "device",
        sa.Column("udid", sa.String(128), nullable=False),
        sa.Column("topic", sa.String(255), nullable=False),
        sa.Column("token_fingerprint", sa.String(64), nullable=False),
        sa.Column("sealed_token", sa.LargeBinary(), nullable=False),
        sa.Column("sealed_magic", sa.LargeBinary(), nullable=False),
        sa.Column("canary", sa.Boolean(), nullable=False),
        sa.Column("seen_at", sa.DateTime(), nullable=False),
        sa.Column("gone_at", sa.DateTime(), nullable=True),
        sa.PrimaryKeyConstraint("udid", name=op.f("pk_device")),
        sa.UniqueConstraint("token_fingerprint", name=op.f("uq_device_token_fingerprint")),
    )


def downgrade() -> None:
    """Back to an empty database."""
    for table in ("device", "certificate", "key", "vault"):
        op.drop_table(table)
