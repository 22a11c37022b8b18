"""Who asked for a renewal, who approved its signature, and whether the signing key can be used."""

from __future__ import annotations

import sqlalchemy as sa

from alembic import op

revision = "0006"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """To this revision."""
    op.add_column("renewal", sa.Column("opened_by", sa.String(200), nullable=True))
    op.add_column(
        "renewal", sa.Column("approvals", sa.JSON(), server_default=sa.text("'[]'"), nullable=False)
    )
    op.add_column(
        "signer", sa.Column("unavailable_since", sa.DateTime(timezone=True), nullable=True)
    )
    op.add_column("signer", sa.Column("unavailable_code", sa.String(64), nullable=True))
    op.add_column("signer", sa.Column("unavailable_why", sa.String(1000), nullable=True))


def downgrade() -> None:
    """Back to the revision before."""
    op.drop_column("signer", "unavailable_why")
    op.drop_column("signer", "unavailable_code")
    op.drop_column("signer", "unavailable_since")
    op.drop_column("renewal", "approvals")
    op.drop_column("renewal", "opened_by")
