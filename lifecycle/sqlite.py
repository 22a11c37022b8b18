"""Engines on SQLite files that share what has been compiled.

An engine keeps the SQL it has compiled to itself, and a process opens one for every vault and
every look at one: the same two dozen statements were compiled anew each time, which took longer
than to carry them out. Which file an engine is on has no part in its statements, so all engines
of a process keep them in one place. SQLAlchemy asks for that place with the engine's dialect as
a part of the key; of ours, therefore, one is as good as another.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Engine, create_engine
from sqlalchemy.dialects import registry
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite
from sqlalchemy.engine import URL
from sqlalchemy.util import LRUCache

_DRIVER = "sqlite+pushcert"
_COMPILED: LRUCache[Any, Any] = LRUCache(500)
"""As many statements as SQLAlchemy keeps for one engine."""


class FileDialect(SQLiteDialect_pysqlite):
    """SQLAlchemy's own, made without options of its own: so all of a process are equal."""

    supports_statement_cache = True

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self)

    def __hash__(self) -> int:
        return hash(type(self))


registry.register("sqlite.pushcert", __name__, FileDialect.__name__)


def sqlite_engine(url: URL, **options: Any) -> Engine:
    """An engine on the SQLite file that ``url`` names.

    Args:
        url: names no driver, or Python's own.
        options: of ``create_engine``, those that the dialect has no part in.
    """
    return create_engine(
        url.set(drivername=_DRIVER), execution_options={"compiled_cache": _COMPILED}, **options
    )
