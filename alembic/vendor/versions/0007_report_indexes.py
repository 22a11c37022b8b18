"""Indexes for reports on a million customers."""

from __future__ import annotations

import sqlalchemy as sa

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_PAUSED = sa.text("paused_at IS NOT NULL")
_GONE = sa.text("offboarded_at IS NOT NULL")
_BREACHED = sa.text("verdict = 'breached'")
_GIVEN_UP = sa.text("given_up_at IS NOT NULL")
_ACTIVE = sa.text("state = 'active'")
_RECEIVED = sa.text("state = 'received'")
_REVOKED = sa.text("state = 'active' AND revoked_at IS NOT NULL")


def upgrade() -> None:
    """To this revision."""
    op.drop_index("ix_certificate_active_end", "certificate")
    op.create_index(
        "ix_certificate_active_end",
        "certificate",
        ["not_after", "customer_id", "id", "revoked_at", "topic", "serial", "common_name"],
        sqlite_where=_ACTIVE,
        postgresql_where=_ACTIVE,
    )
    op.create_index(
        "ix_certificate_received",
        "certificate",
        ["renewal_id"],
        sqlite_where=_RECEIVED,
        postgresql_where=_RECEIVED,
    )
    op.create_index(
        "ix_certificate_revoked",
        "certificate",
        ["revoked_at", "customer_id"],
        sqlite_where=_REVOKED,
        postgresql_where=_REVOKED,
    )
    op.drop_index("ix_isolation_check_latest", "isolation_check")
    op.create_index(
        "ix_isolation_check_latest",
        "isolation_check",
        ["customer_id", "concluded_at", "id", "verdict"],
    )
    op.drop_index("ix_isolation_check_breached", "isolation_check")
    op.create_index(
        "ix_isolation_check_breached",
        "isolation_check",
        ["concluded_at", "customer_id"],
        sqlite_where=_BREACHED,
        postgresql_where=_BREACHED,
    )
    op.create_index(
        "ix_customer_paused",
        "customer",
        ["paused_at"],
        sqlite_where=_PAUSED,
        postgresql_where=_PAUSED,
    )
    op.create_index(
        "ix_customer_gone",
        "customer",
        ["offboarded_at"],
        sqlite_where=_GONE,
        postgresql_where=_GONE,
    )
    op.create_index(
        "ix_outbox_given_up",
        "outbox",
        ["customer_id"],
        sqlite_where=_GIVEN_UP,
        postgresql_where=_GIVEN_UP,
    )


def downgrade() -> None:
    """Back to the revision before."""
    op.drop_index("ix_outbox_given_up", "outbox")
    op.drop_index("ix_customer_gone", "customer")
    op.drop_index("ix_customer_paused", "customer")
    op.drop_index("ix_isolation_check_breached", "isolation_check")
    op.create_index(
        "ix_isolation_check_breached",
        "isolation_check",
        ["concluded_at"],
        sqlite_where=_BREACHED,
        postgresql_where=_BREACHED,
    )
    op.drop_index("ix_isolation_check_latest", "isolation_check")
    op.create_index("ix_isolation_check_latest", "isolation_check", ["customer_id", "concluded_at"])
    op.drop_index("ix_certificate_revoked", "certificate")
    op.drop_index("ix_certificate_received", "certificate")
    op.drop_index("ix_certificate_active_end", "certificate")
    op.create_index(
        "ix_certificate_active_end",
        "certificate",
        ["not_after", "customer_id"],
        sqlite_where=_ACTIVE,
        postgresql_where=_ACTIVE,
    )
