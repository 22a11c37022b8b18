"""Runs the vault's migrations on the connection that ``lifecycle.instance.migrations`` gives."""

from __future__ import annotations

from alembic import context
from lifecycle.instance.models import VaultTable

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=VaultTable.metadata, render_as_batch=True)
context.run_migrations()
