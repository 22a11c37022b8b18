"""Brings the vendor's database to the revision that this code expects.

Whether it is there already is one plain query: Alembic is imported only to migrate. A new
revision is drafted from the models with ``alembic/vendor/draft.py``.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import URL, Connection, Engine, event, func, inspect, select, text
from sqlalchemy.exc import DBAPIError

import lifecycle
from lifecycle.errors import InternalFault, refuse
from lifecycle.vendor.database import Database, translated

if TYPE_CHECKING:
    from alembic.config import Config

HEAD = "0009"
"""The revision this code works with; a test holds it equal to the newest script."""

LOCK = 0x70757368_63657274
"""PostgreSQL's advisory lock that migrations hold: "pushcert" in ASCII."""


def current_revision(engine: Engine) -> str | None:
    """The revision of the database; None for one that was never migrated, or is not there.

    Raises:
        Unavailable: the database cannot be used.
    """
    if _is_missing_file(engine.url):
        return None  # connecting would make it
    try:
        with engine.connect() as connection:
            if not inspect(connection).has_table("alembic_version"):
                return None
            found = connection.execute(text("SELECT version_num FROM alembic_version")).first()
            return None if found is None else str(found[0])
    except DBAPIError as error:
        raise translated(error, engine.url) from None


def require_current(engine: Engine) -> None:
    """Refuses to work on a database of another revision.

    Raises:
        Refused: ``database_not_migrated``, ``database_newer``.
    """
    found = current_revision(engine)
    if found is not None and found > HEAD:
        raise refuse(
            "database_newer",
            f"The vendor database is at revision {found}; this pushcert knows up to {HEAD}.",
            "Upgrade pushcert on this machine.",
        )
    if found != HEAD:
        raise refuse(
            "database_not_migrated",
            "The vendor database has not been set up for this version of pushcert.",
            "Run `pushcert init` (with the folder of config.toml); it keeps what is there.",
        )


def upgrade(url: str, revision: str = "head", *, password: Callable[[], str] | None = None) -> None:
    """Carries out the migrations up to ``revision``, all of them or none (SQLite, PostgreSQL).

    Args:
        password: as for ``Database``.

    Raises:
        Unavailable: the database cannot be used.
    """
    from alembic import command

    _migrate(url, lambda config: command.upgrade(config, revision), password)


def upgrade_within(connection: Connection) -> None:
    """Carries out the migrations up to ``HEAD`` in the caller's transaction."""
    from alembic import command

    command.upgrade(alembic_config(connection), HEAD)


def downgrade(url: str, revision: str) -> None:
    """Takes migrations back to ``revision``; ``base`` takes back all."""
    from alembic import command

    _migrate(url, lambda config: command.downgrade(config, revision))


def scripts() -> Path:
    """The folder of the migrations: inside the package when it is installed from a wheel, at
    the top of the repository in a checkout."""
    package = Path(lifecycle.__file__).parent
    packaged = package / "migrations" / "vendor"
    return packaged if packaged.is_dir() else package.parent / "alembic" / "vendor"


def alembic_config(connection: Connection) -> Config:
    """Alembic's configuration for an open connection; there is no alembic.ini."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(scripts()).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


def _migrate(
    url: str, go: Callable[[Config], None], password: Callable[[], str] | None = None
) -> None:
    database = Database(url, password=password)
    sqlite = database.has_one_writer
    if sqlite:
        # Changing a table there means making it anew and dropping the old one, to which others
        # refer. Must be off before the transaction begins; checked at its end instead.
        event.listen(
            database.engine, "connect", lambda made, _: made.execute("PRAGMA foreign_keys = OFF")
        )
    try:
        with database.transaction() as session:
            connection = session.connection()
            if not sqlite:
                # Two that migrate at once: the second waits here, and finds nothing to do.
                connection.execute(select(func.pg_advisory_xact_lock(LOCK)))
            go(alembic_config(connection))
            if sqlite and connection.exec_driver_sql("PRAGMA foreign_key_check").first():
                raise InternalFault("A migration left rows that refer to nothing; undone.")
    finally:
        database.close()


def _is_missing_file(url: URL) -> bool:
    name = url.database
    if url.get_backend_name() != "sqlite" or not name or name == ":memory:":
        return False
    return not Path(name).exists()
