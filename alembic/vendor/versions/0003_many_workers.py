"""Many workers on one database, and ten million customers in it: leases, indexes, wide keys."""

from __future__ import annotations

import sqlalchemy as sa

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

WIDE = (("outbox", "id"), ("isolation_check", "id"), ("audit", "seq"), ("audit_head", "seq"))
"""Keys that outgrow 32 bits. In SQLite an INTEGER has 64."""


def upgrade() -> None:
    """To this revision."""
    op.add_column("customer", sa.Column("leased_to", sa.String(16), nullable=True))
    op.add_column("customer", sa.Column("leased_until", sa.DateTime(timezone=True), nullable=True))
    op.add_column("outbox", sa.Column("leased_to", sa.String(16), nullable=True))
    op.add_column("outbox", sa.Column("leased_until", sa.DateTime(timezone=True), nullable=True))
    with op.batch_alter_table("outbox") as table:
        # Rows that are there already are leased to nobody; new ones say so themselves.
        table.add_column(
            sa.Column("lease_lapsed", sa.Boolean(), nullable=False, server_default=sa.false())
        )
    with op.batch_alter_table("outbox") as table:
        table.alter_column("lease_lapsed", server_default=None)

    op.drop_index("ix_customer_next_action_at", table_name="customer")
    op.create_index("ix_customer_due", "customer", ["next_action_at", "id"])
    op.drop_index("ix_certificate_not_after", table_name="certificate")
    _create_partial(
        "ix_certificate_active_end", "certificate", ["not_after", "customer_id"], "state = 'active'"
    )
    _create_partial("ix_renewal_held_up", "renewal", ["blocked_at"], "blocked_at IS NOT NULL")
    _create_partial(
        "ix_isolation_check_breached", "isolation_check", ["concluded_at"], "verdict = 'breached'"
    )
    op.drop_index("ix_outbox_next_attempt_at", table_name="outbox")
    _create_partial(
        "ix_outbox_due", "outbox", ["next_attempt_at", "id"], "next_attempt_at IS NOT NULL"
    )
    _create_partial("ix_outbox_digest", "outbox", ["id"], "kind = 'digest'")
    op.create_index("ix_outbox_renewal_id", "outbox", ["renewal_id"])
    _create_partial("ix_outbox_sent_at", "outbox", ["sent_at"], "sent_at IS NOT NULL")
    _widen(sa.BigInteger())


def downgrade() -> None:
    """Back to the revision before."""
    _widen(sa.Integer())
    for name in (
        *("ix_outbox_sent_at", "ix_outbox_renewal_id", "ix_outbox_digest"),
        "ix_outbox_due",
    ):
        op.drop_index(name, table_name="outbox")
    op.create_index("ix_outbox_next_attempt_at", "outbox", ["next_attempt_at"])
    op.drop_index("ix_isolation_check_breached", table_name="isolation_check")
    op.drop_index("ix_renewal_held_up", table_name="renewal")
    op.drop_index("ix_certificate_active_end", table_name="certificate")
    op.create_index("ix_certificate_not_after", "certificate", ["not_after"])
    op.drop_index("ix_customer_due", table_name="customer")
    op.create_index("ix_customer_next_action_at", "customer", ["next_action_at"])
    with op.batch_alter_table("outbox") as table:
        for column in ("lease_lapsed", "leased_until", "leased_to"):
            table.drop_column(column)
    with op.batch_alter_table("customer") as table:
        for column in ("leased_until", "leased_to"):
            table.drop_column(column)


def _create_partial(name: str, table: str, columns: list[str], condition: str) -> None:
    where = sa.text(condition)
    op.create_index(name, table, columns, sqlite_where=where, postgresql_where=where)


def _widen(to: sa.types.TypeEngine[int]) -> None:
    if op.get_bind().dialect.name == "sqlite":
        return
    for table, column in WIDE:
        op.alter_column(table, column, type_=to)
