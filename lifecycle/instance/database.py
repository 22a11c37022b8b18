"""A vault's SQLite file: short transactions, files that reading leaves byte-identical.

The rollback journal is used rather than a write-ahead log: a vault has one writer at a time
and few writes, its one file is the whole of it, and opening, reading and closing it changes no
byte of any file (a refused upload leaves no trace; the tests hash every file).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Connection, Engine, event
from sqlalchemy.engine import URL
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DatabaseError, OperationalError
from sqlalchemy.pool import ConnectionPoolEntry, NullPool
from sqlmodel import Session

from lifecycle.boundary import WriteObserver
from lifecycle.disk import disk_trouble
from lifecycle.errors import PushcertError, Unavailable, refuse
from lifecycle.sqlite import sqlite_engine

BUSY_TIMEOUT_MS = 30_000
BOUNDARY = "vault.commit"
_NOT_A_DATABASE = ("SQLITE_CORRUPT", "SQLITE_NOTADB")


class VaultDatabase:
    """Opens transactions on a vault's database. Holds no connection between them.

    Args:
        path: the SQLite file; must exist, so that its mode was right before SQLite saw it.
        observer: told before and after every commit.
    """

    def __init__(self, path: Path, observer: WriteObserver) -> None:
        self._path = path
        self._observer = observer
        self._engine = _engine(path)

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        """A session whose work is committed at the end of the block, or not at all.

        Raises:
            Unavailable: another process holds the vault longer than ``BUSY_TIMEOUT_MS``.
            Refused: ``vault_damaged``.
        """
        with self._session("BEGIN IMMEDIATE") as session:
            yield session
            session.flush()
            self._observer.reached(f"{BOUNDARY}:before")
            session.commit()
            self._observer.reached(f"{BOUNDARY}:after")

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """A session on one consistent snapshot; what it changes is thrown away.

        Raises: as ``transaction``.
        """
        with self._session("BEGIN") as session:
            yield session

    def close(self) -> None:
        """Lets go of everything; no connection is open outside a transaction anyway."""
        self._engine.dispose()

    @contextmanager
    def _session(self, begin: str) -> Iterator[Session]:
        try:
            with (
                self._engine.connect() as connection,
                Session(
                    connection.execution_options(pushcert_begin=begin), expire_on_commit=False
                ) as session,
            ):
                yield session
        except DatabaseError as error:
            raise _fault(self._path, error) from None


def _fault(path: Path, error: DatabaseError) -> PushcertError:
    # The driver's own sentence only: SQLAlchemy's text would carry the statement's values.
    name = getattr(error.orig, "sqlite_errorname", "")
    if name.startswith(_NOT_A_DATABASE):
        return refuse(
            "vault_damaged",
            f"{path} is damaged or is not a vault ({error.orig}).",
            "Restore the vault from a backup.",
        )
    if isinstance(error, OperationalError):
        return disk_trouble(error.orig, f"The vault {path}") or Unavailable(
            f"The vault {path} cannot be used just now ({error.orig}).",
            "Check the disk and whether another pushcert is at work in it, and try again.",
        )
    raise error


def _engine(path: Path) -> Engine:
    engine = sqlite_engine(
        URL.create("sqlite", database=str(path)), poolclass=NullPool, hide_parameters=True
    )
    event.listen(engine, "connect", _configure)
    event.listen(engine, "begin", _begin)
    return engine


def _configure(connection: DBAPIConnection, _record: ConnectionPoolEntry) -> None:
    connection.isolation_level = None  # BEGIN is ours, below
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
    # EXTRA: a commit survives a power cut, too. A key whose CSR has left must not be undone.
    cursor.execute("PRAGMA synchronous = EXTRA")
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.execute("PRAGMA secure_delete = ON")
    cursor.close()


def _begin(connection: Connection) -> None:
    # A transaction that reads and then writes takes the write lock at its start: two that
    # both read first could not both go on.
    connection.exec_driver_sql(
        connection.get_execution_options().get("pushcert_begin", "BEGIN IMMEDIATE")
    )
