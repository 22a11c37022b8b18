"""Of a request its signature is kept; the rest of it is the CSR and the signer's chain."""

from __future__ import annotations

import sqlalchemy as sa

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """To this revision."""
    op.add_column("renewal", sa.Column("signature", sa.LargeBinary(), nullable=True))


def downgrade() -> None:
    """Back to the revision before; requests that were signed since have to be signed again."""
    op.drop_column("renewal", "signature")
