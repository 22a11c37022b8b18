"""The vendor's database: one engine, transactions that are short, and nothing implicit."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import ConnectionPoolEntry
from sqlmodel import Session

from lifecycle.boundary import Unobserved, WriteObserver
from lifecycle.disk import disk_trouble
from lifecycle.errors import Unavailable

BUSY_TIMEOUT_MS = 30_000


class Database:
    """Opens transactions on the vendor's database.

    Args:
        url: an SQLAlchemy URL; ``sqlite:///…`` is the embedded default.
        observer: told before and after every commit.

    Raises:
        Unavailable: from ``transaction`` and ``reading``, when the database cannot be
            reached or stays locked longer than ``BUSY_TIMEOUT_MS``.
    """

    def __init__(self, url: str, observer: WriteObserver | None = None) -> None:
        self.url = make_url(url)
        self._observer: WriteObserver = observer or Unobserved()
        self.engine = _engine(self.url)

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        """A session whose work is committed at the end of the block, or not at all."""
        with self._session("BEGIN IMMEDIATE") as session:
            yield session
            session.flush()
            self._observer.reached("vendor.commit:before")
            session.commit()
            self._observer.reached("vendor.commit:after")

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """A session on one consistent snapshot; what it changes is thrown away."""
        with self._session("BEGIN") as session:
            yield session

    @contextmanager
    def trial(self) -> Iterator[Session]:
        """A session that may write, and whose work is thrown away at the end of the block.

        For what would be: unlike ``reading`` it has the right to write from its beginning, so
        that it does not fail beside another writer.
        """
        with self._session("BEGIN IMMEDIATE") as session:
            yield session

    def close(self) -> None:
        """Closes every connection."""
        self.engine.dispose()

    @contextmanager
    def _session(self, begin: str) -> Iterator[Session]:
        try:
            connection = self.engine.connect()
        except OperationalError as error:
            raise _unavailable(error) from None
        with connection:
            connection = connection.execution_options(pushcert_begin=begin)
            try:
                with Session(connection, expire_on_commit=False) as session:
                    yield session
            except OperationalError as error:
                raise _unavailable(error) from None


def _unavailable(error: OperationalError) -> Unavailable:
    # The driver's own sentence only: SQLAlchemy's text would carry the statement's values.
    return disk_trouble(error.orig, "The vendor database") or Unavailable(
        f"The vendor database cannot be used just now ({error.orig}).",
        "Check that it is running, reachable and writable, and try again.",
    )


def _engine(url: URL) -> Engine:
    if url.get_backend_name() != "sqlite":
        return create_engine(url, pool_pre_ping=True, hide_parameters=True)
    engine = create_engine(url, hide_parameters=True)
    if url.database and url.database != ":memory:":
        path = Path(url.database)
        event.listen(engine, "do_connect", lambda *_: _create_private(path))
    event.listen(engine, "connect", _configure_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _create_private(path: Path) -> None:
    # SQLite gives -wal and -shm the mode of the database file, so it must be right first.
    if not path.exists():
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600))


def _configure_sqlite(connection: DBAPIConnection, _record: ConnectionPoolEntry) -> None:
    connection.isolation_level = None  # BEGIN is ours, below
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
    cursor.execute("PRAGMA journal_mode = WAL")
    cursor.execute("PRAGMA synchronous = FULL")
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    # A transaction that reads and then writes must take the write lock at its start:
    # upgrading a snapshot that has grown old fails at once with "database is locked".
    connection.exec_driver_sql(
        connection.get_execution_options().get("pushcert_begin", "BEGIN IMMEDIATE")
    )
