"""The vendor's database, from the configuration."""

from __future__ import annotations

from collections.abc import Callable

from lifecycle.boundary import WriteObserver
from lifecycle.config import Config
from lifecycle.vendor.database import Database


def configured_database(config: Config, observer: WriteObserver | None = None) -> Database:
    """The vendor's database. Its password is fetched for each connection.

    Raises:
        Refused: ``postgresql_driver_missing``.
    """
    return Database(config.database_url, observer, password=configured_password(config))


def configured_password(config: Config) -> Callable[[], str] | None:
    """What gives the database's password; None where the configuration names no source."""
    if config.vendor.database_password is None:
        return None
    # Only now: a file needs no password, and every command starts here.
    from lifecycle.passphrase import resolve
    from lifecycle.secret import secret_source

    source = secret_source(config, config.vendor.database_password)
    return lambda: (resolve(source) or b"").decode()
