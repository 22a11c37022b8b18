"""The report is read along the customers' keys."""

from __future__ import annotations

import sqlalchemy as sa

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

_ACTIVE = sa.text("state = 'active'")
_SHOWN = ("id", "not_after", "revoked_at", "topic", "serial", "common_name", "state")


def upgrade() -> None:
    """To this revision."""
    op.drop_index("ix_certificate_active_end", "certificate")
    _index("ix_certificate_active_end", "not_after", "customer_id")
    _index("ix_certificate_active_of", "customer_id", *_SHOWN)


def downgrade() -> None:
    """Back to the revision before."""
    op.drop_index("ix_certificate_active_of", "certificate")
    op.drop_index("ix_certificate_active_end", "certificate")
    _index(
        "ix_certificate_active_end",
        *("not_after", "customer_id", "id", "revoked_at", "topic", "serial", "common_name"),
    )


def _index(name: str, *columns: str) -> None:
    op.create_index(
        name, "certificate", list(columns), sqlite_where=_ACTIVE, postgresql_where=_ACTIVE
    )
