"""SQLite files as a backup has them: copied while they are in use, checked, closed for good."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import quote

from lifecycle.backup.places import private_file
from lifecycle.disk import disk_trouble
from lifecycle.errors import Refused, Unavailable, refuse

BUSY_SECONDS = 30.0
COMPANIONS = ("", "-wal", "-shm", "-journal")
"""What SQLite keeps beside a database, by what is added to its name."""


def copy_live(source: Path, target: Path) -> None:
    """Copies a database as it is at one instant, while others read and write it.

    By SQLite's online backup, in one step: where the database has a write-ahead log its writers
    go on meanwhile, where it has a rollback journal they wait for as long as the copy takes.

    Args:
        source: the database; it is not changed.
        target: made, mode 0600; one file, without a journal.

    Raises:
        Unavailable: the database cannot be read, or the disk is full.
    """
    with private_file(target):
        pass
    try:
        with _open(source) as live, closing(sqlite3.connect(target)) as copy:
            live.backup(copy, pages=-1)
        settle(target)
    except sqlite3.Error as error:
        raise disk_trouble(error, f"The copy of {source.name}") or Unavailable(
            f"{source} cannot be copied just now ({error}).",
            "Check the disk and the permissions, and try again.",
        ) from None


def settle(path: Path) -> None:
    """Makes a database nobody else uses one file: no write-ahead log, nothing beside it."""
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA journal_mode = DELETE").fetchall()


def require_whole(path: Path) -> None:
    """Checks that every page of a database is in order, and that no row refers to nothing.

    Raises:
        Refused: ``backup_database_damaged``.
    """
    try:
        with _open(path) as database:
            said = [str(row[0]) for row in database.execute("PRAGMA integrity_check(3)")]
            dangling = database.execute("PRAGMA foreign_key_check").fetchone()
    except sqlite3.DatabaseError as error:
        raise _damaged(path, str(error)) from None
    if said != ["ok"]:
        raise _damaged(path, said[0])
    if dangling is not None:
        raise _damaged(path, f"a row of {dangling[0]} refers to nothing")


def revision_of(path: Path) -> str:
    """The revision of the schema; empty for a database that was never migrated."""
    try:
        with _open(path) as database:
            row = database.execute("SELECT version_num FROM alembic_version").fetchone()
    except sqlite3.DatabaseError:
        return ""
    return "" if row is None else str(row[0])


def counts_of(path: Path) -> dict[str, int]:
    """How many rows each table has."""
    with _open(path) as database:
        tables = database.execute(
            "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
            " ORDER BY name"
        ).fetchall()
        return {
            name: database.execute(f'SELECT count(*) FROM "{name}"').fetchone()[0]  # noqa: S608
            for (name,) in tables
        }


@contextmanager
def _open(path: Path) -> Iterator[sqlite3.Connection]:
    # Never made where it is missing.
    address = f"file:{quote(str(path))}?mode=rw"
    with closing(sqlite3.connect(address, uri=True, timeout=BUSY_SECONDS)) as database:
        yield database


def _damaged(path: Path, why: str) -> Refused:
    return refuse(
        "backup_database_damaged",
        f"The database {path.name} is damaged: {why[:200]}.",
        "Use an older backup; `pushcert doctor` looks at the one that is in use.",
    )
