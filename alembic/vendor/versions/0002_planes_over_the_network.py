"""Instances and people reach the vendor over the network: credentials, sessions, feeds."""

from __future__ import annotations

import sqlalchemy as sa

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """To this revision."""
    op.create_index("ix_audit_subject", "audit", ["subject", "seq"], unique=False)
    op.create_index(
        "ix_outbox_unsent",
        "outbox",
        ["id"],
        unique=False,
        sqlite_where=sa.text("sent_at IS NULL"),
        postgresql_where=sa.text("sent_at IS NULL"),
    )
    op.create_table(
        "failed_sign_in",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(128), nullable=False),
        sa.Column("address", sa.String(64), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_failed_sign_in")),
    )
    op.create_index(
        "ix_failed_sign_in_address_at", "failed_sign_in", ["address", "at"], unique=False
    )
    op.create_index("ix_failed_sign_in_name_at", "failed_sign_in", ["name", "at"], unique=False)

    op.create_table(
        "feed_token",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("token_hash", sa.String(64), nullable=False),
        sa.Column("label", sa.String(200), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("created_by", sa.String(200), nullable=False),
        sa.Column("used_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_feed_token")),
        sa.UniqueConstraint("token_hash", name=op.f("uq_feed_token_token_hash")),
    )
    op.create_table(
        "user_account",
        sa.Column("name", sa.String(128), nullable=False),
        sa.Column("role", sa.String(16), nullable=False),
        sa.Column("password_hash", sa.String(256), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("disabled_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_user_account")),
    )
    op.create_table(
        "user_session",
        sa.Column("token_hash", sa.String(64), nullable=False),
        sa.Column("user", sa.String(200), nullable=False),
        sa.Column("role", sa.String(16), nullable=False),
        sa.Column("local", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("token_hash", name=op.f("pk_user_session")),
    )
    op.create_index(
        op.f("ix_user_session_expires_at"), "user_session", ["expires_at"], unique=False
    )
    op.create_index(op.f("ix_user_session_user"), "user_session", ["user"], unique=False)

    op.create_table(
        "invitation",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("customer_id", sa.Integer(), nullable=False),
        sa.Column("code_hash", sa.String(64), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("created_by", sa.String(200), nullable=False),
        sa.Column("used_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("withdrawn_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["customer_id"], ["customer.id"], name=op.f("fk_invitation_customer_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_invitation")),
        sa.UniqueConstraint("code_hash", name=op.f("uq_invitation_code_hash")),
    )
    op.create_index(op.f("ix_invitation_customer_id"), "invitation", ["customer_id"], unique=False)

    op.create_table(
        "instance_credential",
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("customer_id", sa.Integer(), nullable=False),
        sa.Column("invitation_id", sa.Integer(), nullable=True),
        sa.Column("public_key", sa.LargeBinary(), nullable=False),
        sa.Column("sealing_key", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("seen_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("version", sa.String(64), nullable=True),
        sa.Column("replaced_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["customer_id"], ["customer.id"], name=op.f("fk_instance_credential_customer_id")
        ),
        sa.ForeignKeyConstraint(
            ["invitation_id"], ["invitation.id"], name=op.f("fk_instance_credential_invitation_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_instance_credential")),
    )
    op.create_index(
        op.f("ix_instance_credential_customer_id"),
        "instance_credential",
        ["customer_id"],
        unique=False,
    )
    op.create_index(
        op.f("ix_instance_credential_invitation_id"),
        "instance_credential",
        ["invitation_id"],
        unique=False,
    )

    op.create_table(
        "sealed_canary",
        sa.Column("canary_id", sa.Integer(), nullable=False),
        sa.Column("credential_id", sa.String(32), nullable=False),
        sa.Column("topic", sa.String(255), nullable=False),
        sa.Column("token_fingerprint", sa.String(64), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["canary_id"], ["customer.id"], name=op.f("fk_sealed_canary_canary_id")
        ),
        sa.ForeignKeyConstraint(
            ["credential_id"],
            ["instance_credential.id"],
            name=op.f("fk_sealed_canary_credential_id"),
        ),
        sa.PrimaryKeyConstraint("canary_id", "credential_id", name=op.f("pk_sealed_canary")),
    )
    op.create_index(
        op.f("ix_sealed_canary_credential_id"), "sealed_canary", ["credential_id"], unique=False
    )


def downgrade() -> None:
    """Back to the revision before."""
    op.drop_index(op.f("ix_sealed_canary_credential_id"), table_name="sealed_canary")

    op.drop_table("sealed_canary")
    op.drop_index(op.f("ix_instance_credential_invitation_id"), table_name="instance_credential")
    op.drop_index(op.f("ix_instance_credential_customer_id"), table_name="instance_credential")

    op.drop_table("instance_credential")
    op.drop_index(op.f("ix_invitation_customer_id"), table_name="invitation")

    op.drop_table("invitation")
    op.drop_index(op.f("ix_user_session_user"), table_name="user_session")
    op.drop_index(op.f("ix_user_session_expires_at"), table_name="user_session")

    op.drop_table("user_session")
    op.drop_table("user_account")
    op.drop_table("feed_token")
    op.drop_index("ix_failed_sign_in_name_at", table_name="failed_sign_in")
    op.drop_index("ix_failed_sign_in_address_at", table_name="failed_sign_in")

    op.drop_table("failed_sign_in")

    op.drop_index("ix_outbox_unsent", table_name="outbox")
    op.drop_index("ix_audit_subject", table_name="audit")
