"""Runs the vendor's migrations on the connection that ``lifecycle.vendor.migrations`` gives."""

from __future__ import annotations

from alembic import context
from lifecycle.vendor.models import VendorTable

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=VendorTable.metadata, render_as_batch=True)
context.run_migrations()
