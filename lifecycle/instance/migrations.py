"""Brings a vault's database to the revision that this code expects, if it is not there yet.

The usual case, a vault that is current, is recognised with one query: Alembic is imported only
when there is something to do. The whole way is one transaction of the caller.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection

import lifecycle
from lifecycle.errors import refuse

if TYPE_CHECKING:
    from alembic.config import Config

HEAD = "0003"
"""The revision this code works with; a test holds it equal to the newest script."""


def is_current(connection: Connection) -> bool:
    """True if the database is at ``HEAD``.

    Raises:
        Refused: ``vault_newer``, the vault was written by a later pushcert.
    """
    found = _revision(connection)
    if found is not None and found > HEAD:
        raise refuse(
            "vault_newer",
            f"The vault is at revision {found}; this pushcert knows revisions up to {HEAD}.",
            "Upgrade pushcert on this machine to the version that wrote the vault.",
        )
    return found == HEAD


def upgrade(connection: Connection, revision: str = HEAD) -> None:
    """Carries out the migrations up to ``revision`` in the caller's transaction."""
    from alembic import command

    command.upgrade(_config(connection), revision)


def downgrade(connection: Connection, revision: str) -> None:
    """Takes migrations back to ``revision`` (``base``: all) in the caller's transaction."""
    from alembic import command

    command.downgrade(_config(connection), revision)


def scripts() -> Path:
    """The folder of the vault's migrations: inside the package when it is installed from a
    wheel, at the top of the repository in a checkout."""
    package = Path(lifecycle.__file__).parent
    packaged = package / "migrations" / "vault"
    return packaged if packaged.is_dir() else package.parent / "alembic" / "vault"


def _revision(connection: Connection) -> str | None:
    has_table = connection.exec_driver_sql(
        "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'alembic_version'"
    ).first()
    if has_table is None:
        return None
    row = connection.exec_driver_sql("SELECT version_num FROM alembic_version").first()
    return None if row is None else str(row[0])


def _config(connection: Connection) -> Config:
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(scripts()).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config
