"""The vendor's tables, as of the first release."""

from __future__ import annotations

import sqlalchemy as sa

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Makes every table."""
    op.create_table(
        "audit",
        sa.Column("seq", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("actor", sa.String(200), nullable=False),
        sa.Column("action", sa.String(64), nullable=False),
        sa.Column("subject", sa.String(200), nullable=False),
        sa.Column("detail", sa.JSON(), nullable=False),
        sa.Column("previous", sa.String(64), nullable=False),
        sa.Column("hash", sa.String(64), nullable=False),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_audit")),
    )
    op.create_table(
        "audit_head",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("hash", sa.String(64), nullable=False),
        sa.CheckConstraint("id = 1", name="ck_audit_head_one_row"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_head")),
    )
    op.create_table(
        "customer",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("slug", sa.String(64), nullable=False),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("email", sa.String(254), nullable=False),
        sa.Column("apple_account", sa.String(254), nullable=True),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("paused_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("paused_reason", sa.String(500), nullable=True),
        sa.Column("paused_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("offboarded_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("remote", sa.Boolean(), nullable=False),
        sa.Column("language", sa.String(8), nullable=True),
        sa.Column("notes", sa.Text(), nullable=True),
        sa.Column("next_action_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_customer")),
        sa.UniqueConstraint("slug", name=op.f("uq_customer_slug")),
    )
    op.create_index(
        op.f("ix_customer_next_action_at"), "customer", ["next_action_at"], unique=False
    )
    op.create_table(
        "bounce",
        sa.Column("address", sa.String(254), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("why", sa.String(1000), nullable=False),
        sa.PrimaryKeyConstraint("address", name=op.f("pk_bounce")),
    )
    op.create_table(
        "contact",
        sa.Column("customer_id", sa.Integer(), nullable=False),
        sa.Column("address", sa.String(254), nullable=False),
        sa.ForeignKeyConstraint(
            ["customer_id"], ["customer.id"], name=op.f("fk_contact_customer_id")
        ),
        sa.PrimaryKeyConstraint("customer_id", "address", name=op.f("pk_contact")),
    )
    op.create_table(
        "customer_tag",
        sa.Column("tag", sa.String(64), nullable=False),
        sa.Column("customer_id", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["customer_id"], ["customer.id"], name=op.f("fk_customer_tag_customer_id")
        ),
        sa.PrimaryKeyConstraint("tag", "customer_id", name=op.f("pk_customer_tag")),
    )
    op.create_index(
        op.f("ix_customer_tag_customer_id"), "customer_tag", ["customer_id"], unique=False
    )
    op.create_table(
        "isolation_run",
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("document", sa.String(255), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_isolation_run")),
    )
    op.create_index(
        op.f("ix_isolation_run_started_at"), "isolation_run", ["started_at"], unique=False
    )
    op.create_table(
        "signer",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("fingerprint", sa.String(64), nullable=False),
        sa.Column("common_name", sa.String(255), nullable=False),
        sa.Column("not_before", sa.DateTime(timezone=True), nullable=False),
        sa.Column("not_after", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_first", sa.String(255), nullable=False),
        sa.Column("chain", sa.Text(), nullable=False),
        sa.Column("imported_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("retired_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_signer")),
        sa.UniqueConstraint("fingerprint", name=op.f("uq_signer_fingerprint")),
    )
    op.create_table(
        "claim",
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("value", sa.String(600), nullable=False),
        sa.Column("customer_id", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["customer_id"], ["customer.id"], name=op.f("fk_claim_customer_id")
        ),
        sa.PrimaryKeyConstraint("kind", "value", name=op.f("pk_claim")),
    )
    op.create_index(op.f("ix_claim_customer_id"), "claim", ["customer_id"], unique=False)
    op.create_table(
        "renewal",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("customer_id", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("reason", sa.String(32), nullable=False),
        sa.Column("opened_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("csr_received_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("signed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("delivered_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("csr", sa.LargeBinary(), nullable=True),
        sa.Column("request", sa.Text(), nullable=True),
        sa.Column("signer_fingerprint", sa.String(64), nullable=True),
        sa.Column("request_dies_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("blocked_code", sa.String(64), nullable=True),
        sa.Column("blocked_message", sa.String(1000), nullable=True),
        sa.Column("blocked_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["customer_id"], ["customer.id"], name=op.f("fk_renewal_customer_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_renewal")),
    )
    op.create_index(op.f("ix_renewal_customer_id"), "renewal", ["customer_id"], unique=False)
    op.create_index(
        "uq_renewal_one_open",
        "renewal",
        ["customer_id"],
        unique=True,
        sqlite_where=sa.text("state IN ('csr_received', 'delivered', 'requested', 'signed')"),
        postgresql_where=sa.text("state IN ('csr_received', 'delivered', 'requested', 'signed')"),
    )
    op.create_table(
        "token_claim",
        sa.Column("fingerprint", sa.String(64), nullable=False),
        sa.Column("customer_id", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["customer_id"], ["customer.id"], name=op.f("fk_token_claim_customer_id")
        ),
        sa.PrimaryKeyConstraint("fingerprint", "customer_id", name=op.f("pk_token_claim")),
    )
    op.create_index(
        op.f("ix_token_claim_customer_id"), "token_claim", ["customer_id"], unique=False
    )
    op.create_table(
        "certificate",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("customer_id", sa.Integer(), nullable=False),
        sa.Column("renewal_id", sa.Integer(), nullable=True),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("topic", sa.String(255), nullable=False),
        sa.Column("serial", sa.String(64), nullable=False),
        sa.Column("common_name", sa.String(255), nullable=False),
        sa.Column("issuer", sa.String(500), nullable=False),
        sa.Column("fingerprint", sa.String(64), nullable=False),
        sa.Column("key_fingerprint", sa.String(64), nullable=False),
        sa.Column("not_before", sa.DateTime(timezone=True), nullable=False),
        sa.Column("not_after", sa.DateTime(timezone=True), nullable=False),
        sa.Column("der", sa.LargeBinary(), nullable=False),
        sa.Column("names_responder", sa.Boolean(), nullable=False),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("activated_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("superseded_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column(
            "revocation_checked_at",
            sa.DateTime(timezone=True),
            nullable=True,
        ),
        sa.ForeignKeyConstraint(
            ["customer_id"], ["customer.id"], name=op.f("fk_certificate_customer_id")
        ),
        sa.ForeignKeyConstraint(
            ["renewal_id"], ["renewal.id"], name=op.f("fk_certificate_renewal_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_certificate")),
        sa.UniqueConstraint("fingerprint", name=op.f("uq_certificate_fingerprint")),
    )
    op.create_index(
        op.f("ix_certificate_customer_id"), "certificate", ["customer_id"], unique=False
    )
    op.create_index(op.f("ix_certificate_not_after"), "certificate", ["not_after"], unique=False)
    op.create_index(op.f("ix_certificate_renewal_id"), "certificate", ["renewal_id"], unique=False)
    op.create_index(
        "uq_certificate_one_active",
        "certificate",
        ["customer_id"],
        unique=True,
        sqlite_where=sa.text("state = 'active'"),
        postgresql_where=sa.text("state = 'active'"),
    )
    op.create_table(
        "outbox",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("dedupe_key", sa.String(200), nullable=False),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("channel", sa.String(64), nullable=False),
        sa.Column("customer_id", sa.Integer(), nullable=True),
        sa.Column("renewal_id", sa.Integer(), nullable=True),
        sa.Column("ladder", sa.String(64), nullable=True),
        sa.Column("rung", sa.String(32), nullable=True),
        sa.Column("recipients", sa.JSON(), nullable=False),
        sa.Column("copies", sa.JSON(), nullable=False),
        sa.Column("subject", sa.String(500), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("html", sa.Text(), nullable=True),
        sa.Column("attach_request", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("next_attempt_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("sent_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("given_up_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_error", sa.String(1000), nullable=True),
        sa.ForeignKeyConstraint(
            ["customer_id"], ["customer.id"], name=op.f("fk_outbox_customer_id")
        ),
        sa.ForeignKeyConstraint(["renewal_id"], ["renewal.id"], name=op.f("fk_outbox_renewal_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_outbox")),
        sa.UniqueConstraint("dedupe_key", name=op.f("uq_outbox_dedupe_key")),
        sa.UniqueConstraint(
            "ladder", "rung", "channel", name=op.f("uq_outbox_ladder_rung_channel")
        ),
    )
    op.create_index(op.f("ix_outbox_customer_id"), "outbox", ["customer_id"], unique=False)
    op.create_index(op.f("ix_outbox_next_attempt_at"), "outbox", ["next_attempt_at"], unique=False)
    op.create_table(
        "isolation_check",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("customer_id", sa.Integer(), nullable=False),
        sa.Column("certificate_id", sa.Integer(), nullable=False),
        sa.Column("ordered_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("concluded_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("verdict", sa.String(16), nullable=True),
        sa.Column("why", sa.String(1000), nullable=True),
        sa.Column("answers", sa.JSON(), nullable=False),
        sa.Column("run_id", sa.String(32), nullable=True),
        sa.ForeignKeyConstraint(
            ["certificate_id"], ["certificate.id"], name=op.f("fk_isolation_check_certificate_id")
        ),
        sa.ForeignKeyConstraint(
            ["customer_id"], ["customer.id"], name=op.f("fk_isolation_check_customer_id")
        ),
        sa.ForeignKeyConstraint(
            ["run_id"], ["isolation_run.id"], name=op.f("fk_isolation_check_run_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_isolation_check")),
    )
    op.create_index(
        "ix_isolation_check_latest",
        "isolation_check",
        ["customer_id", "concluded_at"],
        unique=False,
    )
    op.create_index(
        "uq_isolation_check_one_of_a_run",
        "isolation_check",
        ["run_id", "customer_id"],
        unique=True,
        sqlite_where=sa.text("run_id IS NOT NULL"),
        postgresql_where=sa.text("run_id IS NOT NULL"),
    )
    op.create_index(
        "uq_isolation_check_one_ordered",
        "isolation_check",
        ["customer_id"],
        unique=True,
        sqlite_where=sa.text("verdict IS NULL"),
        postgresql_where=sa.text("verdict IS NULL"),
    )


def downgrade() -> None:
    """Removes every table."""
    op.drop_index(
        "uq_isolation_check_one_ordered",
        table_name="isolation_check",
        sqlite_where=sa.text("verdict IS NULL"),
        postgresql_where=sa.text("verdict IS NULL"),
    )
    op.drop_index(
        "uq_isolation_check_one_of_a_run",
        table_name="isolation_check",
        sqlite_where=sa.text("run_id IS NOT NULL"),
        postgresql_where=sa.text("run_id IS NOT NULL"),
    )
    op.drop_index("ix_isolation_check_latest", table_name="isolation_check")
    op.drop_table("isolation_check")
    op.drop_index(op.f("ix_outbox_next_attempt_at"), table_name="outbox")
    op.drop_index(op.f("ix_outbox_customer_id"), table_name="outbox")
    op.drop_table("outbox")
    op.drop_index(
        "uq_certificate_one_active",
        table_name="certificate",
        sqlite_where=sa.text("state = 'active'"),
        postgresql_where=sa.text("state = 'active'"),
    )
    op.drop_index(op.f("ix_certificate_renewal_id"), table_name="certificate")
    op.drop_index(op.f("ix_certificate_not_after"), table_name="certificate")
    op.drop_index(op.f("ix_certificate_customer_id"), table_name="certificate")
    op.drop_table("certificate")
    op.drop_index(op.f("ix_token_claim_customer_id"), table_name="token_claim")
    op.drop_table("token_claim")
    op.drop_index(
        "uq_renewal_one_open",
        table_name="renewal",
        sqlite_where=sa.text("state IN ('csr_received', 'delivered', 'requested', 'signed')"),
        postgresql_where=sa.text("state IN ('csr_received', 'delivered', 'requested', 'signed')"),
    )
    op.drop_index(op.f("ix_renewal_customer_id"), table_name="renewal")
    op.drop_table("renewal")
    op.drop_index(op.f("ix_claim_customer_id"), table_name="claim")
    op.drop_table("claim")
    op.drop_table("signer")
    op.drop_index(op.f("ix_isolation_run_started_at"), table_name="isolation_run")
    op.drop_table("isolation_run")
    op.drop_index(op.f("ix_customer_next_action_at"), table_name="customer")
    op.drop_index(op.f("ix_customer_tag_customer_id"), table_name="customer_tag")
    op.drop_table("customer_tag")
    op.drop_table("contact")
    op.drop_table("bounce")
    op.drop_table("customer")
    op.drop_table("audit_head")
    op.drop_table("audit")
