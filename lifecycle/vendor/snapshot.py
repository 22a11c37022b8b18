"""The registry as one SQLite file, whatever database it is kept in; and back into any of them.

So a backup of PostgreSQL can be restored on SQLite and the other way round: it is rows that are
copied, read in one transaction, written in one, and counted on both sides before it ends.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sqlalchemy import Connection, Table, func, insert, inspect, select
from sqlalchemy.exc import DataError
from sqlmodel import Session

from lifecycle.backup.sqlite_file import COMPANIONS, copy_live, settle
from lifecycle.errors import InternalFault, Refused, refuse
from lifecycle.vendor.access_models import UserSession
from lifecycle.vendor.database import Database
from lifecycle.vendor.migrations import LOCK, upgrade, upgrade_within
from lifecycle.vendor.soundness import examine

BATCH = 1000
LEASE = ("leased_to", "leased_until")


def tables() -> Sequence[Table]:
    """Every table of the registry, those that others refer to first."""
    # The tables of access_models are among them because that module is imported.
    return UserSession.metadata.sorted_tables


def sqlite_url(path: Path) -> str:
    """The URL of a SQLite file."""
    return f"sqlite:///{path.absolute()}"


def file_of(database: Database) -> Path | None:
    """The database's file; None where it is on a server."""
    url = database.url
    return Path(url.database) if url.get_backend_name() == "sqlite" and url.database else None


def take_snapshot(database: Database, target: Path) -> None:
    """Writes the registry, as it is at one instant, into a new SQLite file of mode 0600.

    Others read and write meanwhile.

    Args:
        database: the vendor's, at the newest revision.
        target: must not be there.

    Raises:
        Unavailable: the database cannot be read, or the disk is full.
    """
    source = file_of(database)
    if source is not None:
        copy_live(source, target)
        return
    upgrade(sqlite_url(target))
    copy = Database(sqlite_url(target))
    try:
        with database.reading() as rows, copy.transaction() as session:
            _copy(rows.connection(), session.connection())
    finally:
        copy.close()
    settle(target)


def require_empty(database: Database) -> None:
    """Refuses a place in which there is a registry, or anything of one.

    Raises:
        Refused: ``restore_not_empty``.
        Unavailable: the server cannot be reached.
    """
    path = file_of(database)
    if path is not None:
        for companion in COMPANIONS:
            beside = path.with_name(path.name + companion)
            if beside.exists():
                raise _not_empty(str(beside))
        return
    with database.reading() as session:
        connection = session.connection()
        known = set(inspect(connection).get_table_names())
        for table in tables():
            if table.name in known and _has_rows(connection, table):
                raise _not_empty(f"The table {table.name} of the database")


def put_rows(source: Path, database: Database) -> None:
    """Copies a registry from a SQLite file into an empty database on a server; all or nothing.

    What has arrived is counted and looked through (the audit log, every certificate) before it
    is committed.

    Args:
        source: at the newest revision, and sound.
        database: empty; it is migrated in the same transaction.

    Raises:
        Refused: ``restore_not_empty``, ``restore_row_unfit``.
        Unavailable: the server cannot be reached.
        InternalFault: what arrived is not what was sent.
    """
    staged = Database(sqlite_url(source))
    try:
        with staged.reading() as rows, database.transaction() as session:
            connection = session.connection()
            connection.execute(select(func.pg_advisory_xact_lock(LOCK)))
            upgrade_within(connection)
            for table in tables():
                if _has_rows(connection, table):
                    raise _not_empty(f"The table {table.name} of the database")
            _copy(rows.connection(), connection)
            _count_on(connection)
            _require_sound(session)
    finally:
        staged.close()


def _copy(source: Connection, target: Connection) -> None:
    for table in tables():
        # A worker's lease is nobody's in another place: its holder does not come back there.
        free = {name: None for name in LEASE if name in table.columns}
        rows = source.execution_options(yield_per=BATCH).execute(select(table))
        for batch in rows.partitions():
            try:
                target.execute(insert(table), [{**row._mapping, **free} for row in batch])
            except DataError as error:
                raise _unfit(table, error) from None
        sent, arrived = _count(source, table), _count(target, table)
        if sent != arrived:
            raise InternalFault(
                f"Of the {sent} rows of the table {table.name} {arrived} arrived; all is undone."
            )


def _count(connection: Connection, table: Table) -> int:
    return connection.execute(select(func.count()).select_from(table)).scalar_one()


def _unfit(table: Table, error: DataError) -> Refused:
    # SQLite holds a column to no length and takes every character; a server does not.
    from lifecycle.vendor import postgresql

    return refuse(
        "restore_row_unfit",
        f"A row of the table {table.name} does not fit into this kind of database"
        f" ({postgresql.sentence(error)}).",
        "Restore into SQLite, put the value right there, and move on from a backup of that.",
    )


def _require_sound(session: Session) -> None:
    """What was sent was sound; if what arrived is not, the server has changed it."""
    _, findings = examine(session)
    if findings:
        raise InternalFault(
            f"What arrived in the database is not what was sent, and is undone. {findings[0]}"
        )


def _count_on(connection: Connection) -> None:
    """Lets the server's counters go on after the highest number that is taken."""
    for table in tables():
        key = table.autoincrement_column
        if key is None:
            continue
        highest = connection.execute(select(func.max(key))).scalar()
        if highest is not None:
            counter = func.pg_get_serial_sequence(table.name, key.name)
            connection.execute(select(func.setval(counter, highest)))


def _has_rows(connection: Connection, table: Table) -> bool:
    return connection.execute(select(table).limit(1)).first() is not None


def _not_empty(what: str) -> Refused:
    return refuse(
        "restore_not_empty",
        f"{what} is there already, and a restore overwrites nothing.",
        "Restore into an empty folder or database, or move what is there out of the way first.",
    )
