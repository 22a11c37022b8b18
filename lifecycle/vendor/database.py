"""The vendor's database: one engine, transactions that are short, and nothing implicit.

SQLite has one writer at a time. On PostgreSQL transactions run side by side: one that writes
about a customer first locks that customer's row (``store.customer_by_slug`` and its kin do), so
that what it has read stays true until its end; the audit log's head is locked last.

A database that is lost (restarted, failed over, cut off) is met at the edge of a transaction,
never inside one: connecting is tried again, and ``carry_out`` begins the whole work anew. A
commit of which nobody knows whether it came through is a loss like any other, so whatever is
carried out must be safe to repeat.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from sqlalchemy import Connection, Engine, event, text
from sqlalchemy import exc as sa
from sqlalchemy.engine import URL, make_url
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.pool import ConnectionPoolEntry
from sqlmodel import Session, SQLModel

from lifecycle.boundary import Unobserved, WriteObserver
from lifecycle.disk import disk_trouble
from lifecycle.errors import DatabaseLost

BUSY_TIMEOUT_MS = 30_000
ATTEMPTS = 8
"""Tries at the edge of a transaction, PostgreSQL; with the waits between, some ten seconds."""
FIRST_WAIT, LONGEST_WAIT = 0.1, 5.0
"""Seconds; random up to these, so that workers do not all come back at once."""

if TYPE_CHECKING:
    from sqlalchemy.dialects import postgresql, sqlite

    UniqueInsert = sqlite.Insert | postgresql.Insert

_WRITES = "pushcert_writes"
T = TypeVar("T")


class Database:
    """Opens transactions on the vendor's database.

    Args:
        url: an SQLAlchemy URL; ``sqlite:///…`` is the embedded default.
        observer: told before and after every commit.
        password: gives the password for each connection; None: libpq's own ways count.
        sleep: waits so many seconds between two tries.

    Raises:
        Unavailable: from ``transaction``, ``trial``, ``reading`` and ``carry_out``, when the
            database cannot be reached, is lost, or stays locked too long.
        Refused: ``postgresql_driver_missing``.
    """

    def __init__(
        self,
        url: str,
        observer: WriteObserver | None = None,
        *,
        password: Callable[[], str] | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.url = make_url(url)
        self._observer: WriteObserver = observer or Unobserved()
        self._sleep = sleep
        self.has_one_writer = self.url.get_backend_name() == "sqlite"
        self.engine = _engine(self.url, password)

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        """A session whose work is committed at the end of the block, or not at all."""
        with self._transaction(ATTEMPTS) as session:
            yield session

    @contextmanager
    def trial(self) -> Iterator[Session]:
        """A session that writes as ``transaction`` does, and is undone at the end."""
        with self._session("BEGIN IMMEDIATE") as session:
            session.info[_WRITES] = True
            yield session

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """A session on one consistent snapshot; what it changes is thrown away."""
        with self._session("BEGIN", isolation="REPEATABLE READ") as session:
            yield session

    def carry_out(self, work: Callable[[Session], T], *, attempts: int = ATTEMPTS) -> T:
        """Does ``work`` in a transaction; from its beginning again, where that was lost.

        Args:
            work: changes nothing but the database, and may be repeated after it was committed.
            attempts: how often at most.

        Raises:
            Unavailable: the database stays away.
            IntegrityError: what another process wrote at the same instant forbids this, and
                goes on forbidding it when the work is done again with that in sight.
        """

        def once() -> T:
            with self._transaction(1) as session:
                return work(session)

        if self.has_one_writer:
            return once()
        return self._again(once, attempts)

    def close(self) -> None:
        """Closes every connection."""
        self.engine.dispose()

    @contextmanager
    def _transaction(self, attempts: int) -> Iterator[Session]:
        with self._session("BEGIN IMMEDIATE", attempts=attempts) as session:
            session.info[_WRITES] = True
            yield session
            session.flush()
            self._observer.reached("vendor.commit:before")
            session.commit()
            self._observer.reached("vendor.commit:after")

    @contextmanager
    def _session(
        self, begin: str, *, isolation: str | None = None, attempts: int = ATTEMPTS
    ) -> Iterator[Session]:
        connection = self._again(self._connect, 1 if self.has_one_writer else attempts)
        with connection:
            connection = connection.execution_options(pushcert_begin=begin)
            if isolation is not None and not self.has_one_writer:
                connection = connection.execution_options(isolation_level=isolation)
            try:
                with Session(connection, expire_on_commit=False) as session:
                    yield session
            except sa.DBAPIError as error:
                raise translated(error, self.url) from None

    def _connect(self) -> Connection:
        try:
            return self.engine.connect()
        except sa.DBAPIError as error:
            raise translated(error, self.url) from None
        except sa.TimeoutError:
            raise _away("all its connections are in use") from None

    def _again(self, attempt: Callable[[], T], attempts: int) -> T:
        try:
            return attempt()
        except (DatabaseLost, sa.IntegrityError):
            if attempts < 2:
                raise
        from tenacity import Retrying, retry_if_exception, stop_after_attempt
        from tenacity.wait import wait_random_exponential

        raced = 0

        def worth_it(error: BaseException) -> bool:
            nonlocal raced
            raced += isinstance(error, sa.IntegrityError)
            return isinstance(error, DatabaseLost) or (
                isinstance(error, sa.IntegrityError) and raced < 2
            )

        return Retrying(
            stop=stop_after_attempt(attempts - 1),
            wait=wait_random_exponential(FIRST_WAIT, LONGEST_WAIT),
            retry=retry_if_exception(worth_it),
            sleep=self._sleep,
            reraise=True,
        )(attempt)


def translated(error: sa.DBAPIError, url: URL) -> Exception:
    """What to raise for an error of the driver: ``DatabaseLost`` if it may pass, what the disk
    has if that is it, else itself."""
    if url.get_backend_name() == "sqlite":
        # The driver's own sentence only: SQLAlchemy's text would carry the statement's values.
        if not isinstance(error, sa.OperationalError):
            return error
        return disk_trouble(error.orig, "The vendor database") or _away(str(error.orig))
    from lifecycle.vendor import postgresql

    return _away(postgresql.sentence(error)) if postgresql.may_pass(error) else error


def writes(session: Session) -> bool:
    """Whether the session was opened to write: then what it reads of a customer is locked."""
    return bool(session.info.get(_WRITES))


def plan_each_time(session: Session) -> None:
    """Has PostgreSQL plan each statement of the transaction when it is asked, not once for all.

    For a transaction that fills a table: what was planned while there was little in it reads all
    of it, and goes on doing so.
    """
    if session.get_bind().dialect.name != "sqlite":
        session.execute(text("SET LOCAL plan_cache_mode = force_custom_plan"))


def insert_unique(session: Session, table: type[SQLModel]) -> UniqueInsert:
    """An INSERT that can say what becomes of a row that is there already: of several processes
    that write it at one instant, one does, and the others wait for that one's commit."""
    if session.get_bind().dialect.name == "sqlite":
        from sqlalchemy.dialects import sqlite

        return sqlite.insert(table)
    from sqlalchemy.dialects import postgresql

    return postgresql.insert(table)


def _away(why: str) -> DatabaseLost:
    return DatabaseLost(
        f"The vendor database cannot be used just now ({why}).",
        "Check that it is running, reachable and writable, and try again.",
    )


def _engine(url: URL, password: Callable[[], str] | None) -> Engine:
    if url.get_backend_name() != "sqlite":
        from lifecycle.vendor.postgresql import make_engine

        return make_engine(url, password)
    from lifecycle.sqlite import sqlite_engine

    engine = sqlite_engine(url, hide_parameters=True)
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
