"""Runs the vendor's migrations on the connection that ``lifecycle.vendor.migrations`` gives.

The caller has opened the transaction and commits it: all migrations of a run, or none.
"""

from __future__ import annotations

from typing import Any, Literal

import sqlalchemy as sa

import lifecycle.vendor.access_models  # noqa: F401 - its tables are part of the metadata
from alembic import context
from lifecycle.vendor.models import UtcDateTime, VendorTable, complete_for_postgresql


def render_item(kind: str, item: Any, _autogen: object) -> str | Literal[False]:
    """Draws our own column types as what they are in the database.

    A migration must say for ever what it said at first; a type of ours may change.
    """
    if kind == "type" and isinstance(item, UtcDateTime):
        return "sa.DateTime(timezone=True)"
    if kind == "type" and isinstance(item, sa.types.TypeDecorator) and item.impl_instance:
        return f"sa.{item.impl_instance!r}"
    return False


complete_for_postgresql()
connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=VendorTable.metadata,
    render_as_batch=True,
    render_item=render_item,
    compare_server_default=True,
)
context.run_migrations()
