"""The report as CSV, most urgent first, for as many customers as there are.

They are read along their keys, and sorted outside memory (``report_runs``). With n processes
each reads and sorts every nth share, a stretch of keys, and this one puts theirs together.

That all of them see the same is made sure of: on PostgreSQL they look at one exported snapshot;
on SQLite nobody may have committed while they opened theirs, or they open them anew.
"""

from __future__ import annotations

import gc
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any, BinaryIO

from sqlalchemy import text
from sqlmodel import Session, func, select

from lifecycle.errors import InternalFault, PushcertError
from lifecycle.spool import temporary_file
from lifecycle.vendor.database import Database
from lifecycle.vendor.facts import Policy
from lifecycle.vendor.models import Customer
from lifecycle.vendor.report_lines import EVERYBODY, Choice, Lines, line_of
from lifecycle.vendor.report_reading import Reading
from lifecycle.vendor.report_runs import Run, Sorter, merged

WORTH_IT = 20_000
"""Customers from which on a second process is of use."""
SHARES = 4
"""So many for each process: none has to wait long for another."""
WRITTEN = 1_000
"""Lines that are given on at a time."""
TRIES = 10
"""How often SQLite's readers open their snapshots anew."""
MOST = 8
"""Processes at most."""
COLLECTED = 20_000
"""Objects, ten batches of rows, after which a process looks for some that are of no more use."""


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be written: the report as of ``at`` (aware UTC), of whom."""

    policy: Policy
    at: datetime
    tags: tuple[str, ...] = ()
    choice: Choice = EVERYBODY


@dataclass(frozen=True, slots=True)
class Share:
    """The customers whose key is above ``low`` and up to ``high``."""

    low: int
    high: int


def pieces(
    database: Database,
    order: Order,
    *,
    processes: int = 1,
    worth_it: int = WORTH_IT,
    note: Callable[[str], None] = lambda _slug: None,
) -> Iterator[bytes]:
    """The lines of all customers (UTF-8), some at a time.

    Args:
        database: nothing is open on it.
        processes: at most; 1: this one alone. More only where the system forks safely (Linux),
            and where this process has no other threads.
        worth_it: customers from which on more than one are of use.
        note: told the slugs of those whom the choice has noted, in no order.

    Raises:
        Unavailable: the database cannot be read, or the disk for temporary files not written.
        InternalFault: a process ended before its time.
    """
    if processes > 1 and sys.platform == "linux":
        with database.reading() as session:
            several = session.exec(select(func.count()).select_from(Customer)).one() >= worth_it
            processes = min(processes, MOST)
            shares = cut(session, SHARES * processes) if several else []
        if several:
            database.close()  # no connection is carried into another process
            with _readers(database, order, processes) as readers:
                if _agree(database, readers):
                    yield from _written(_together(readers, shares, note))
                    return
    with database.reading() as session:
        lines, sorter = _lines(session, order), Sorter()
        for share in cut(session, 1):
            for records in lines.between(share.low, share.high):
                sorter.add(records)
        for slug in lines.noted:
            note(slug)
    yield from _written(sorter.in_order())


def cut(session: Session, count: int) -> list[Share]:
    """All customers in at most so many shares; some may have nobody."""
    last = session.exec(select(func.max(Customer.id))).one() or 0
    size = max(1, -(-last // count))
    return [Share(low, low + size) for low in range(0, last, size)]


def _lines(session: Session, order: Order) -> Lines:
    return Lines(Reading(session, order.policy, order.at, order.tags), order.choice)


def _written(records: Iterator[str]) -> Iterator[bytes]:
    while some := "".join(map(line_of, islice(records, WRITTEN))):
        yield some.encode()


class _Reader:
    """A process that reads shares and sorts them, as its parent sees it.

    Attributes:
        file: has its runs.
    """

    def __init__(self, database: Database, order: Order) -> None:
        context = get_context("fork")
        self.file = temporary_file()
        self._connection, theirs = context.Pipe()
        self._process = context.Process(
            target=_serve, args=(theirs, database, order, self.file, self._connection), daemon=True
        )
        self._process.start()
        theirs.close()

    def tell(self, what: Any) -> None:
        """Tells it where to look, or which shares to read."""
        try:
            self._connection.send(what)
        except OSError:
            raise _ended() from None

    def hear(self) -> Any:
        """The next thing that it says."""
        try:
            said = self._connection.recv()
        except (EOFError, OSError):
            raise _ended() from None
        if isinstance(said, PushcertError):
            raise said
        return said

    def end(self) -> None:
        """Ends it, whatever it does."""
        self._connection.close()
        self._process.terminate()
        self._process.join()
        self.file.close()


def _ended() -> InternalFault:
    return InternalFault(
        "A process that read a part of the report ended before its time.",
        "Check that the machine has memory left, and try again.",
    )


@contextmanager
def _readers(database: Database, order: Order, count: int) -> Iterator[list[_Reader]]:
    with ExitStack() as stack:
        readers = []
        for _ in range(count):
            readers.append(_Reader(database, order))
            stack.callback(readers[-1].end)
        yield readers


def _agree(database: Database, readers: Sequence[_Reader]) -> bool:
    """Has all of them look at one state of the registry; False: it changes too fast for that."""

    def look(snapshot: str | None) -> None:
        for reader in readers:
            reader.tell(snapshot)
        for reader in readers:
            reader.hear()

    if not database.has_one_writer:
        with database.reading() as session:
            look(str(session.execute(text("SELECT pg_export_snapshot()")).scalar_one()))
        return True
    witness = database.engine.raw_connection()
    try:
        cursor = witness.cursor()
        for _ in range(TRIES):
            # It changes when another connection has committed (SQLite, "PRAGMA data_version").
            before = cursor.execute("PRAGMA data_version").fetchone()
            look(None)
            if cursor.execute("PRAGMA data_version").fetchone() == before:
                return True
        return False
    finally:
        witness.close()


def _together(
    readers: Sequence[_Reader], shares: Sequence[Share], note: Callable[[str], None]
) -> Iterator[str]:
    for place, reader in enumerate(readers):
        reader.tell(list(shares[place :: len(readers)]))
    found = []
    for reader in readers:
        runs, noted = reader.hear()
        found.append((reader.file, runs))
        for slug in noted:
            note(slug)
    return merged(found)


def _serve(
    mine: Connection, database: Database, order: Order, file: BinaryIO, parents: Connection
) -> None:
    """What a reader does: looks where it is told to, until it is given shares, and reads them."""
    parents.close()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends this process
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    # What was there before is not gone through again: that would copy its memory. Of what is made
    # here, rows and lines, little is to be collected.
    gc.freeze()
    gc.set_threshold(COLLECTED)
    try:
        given: Any = mine.recv()
        while not isinstance(given, list):
            with database.reading() as session:
                if given is not None:
                    session.execute(text(f"SET TRANSACTION SNAPSHOT '{given}'"))
                lines = _lines(session, order)
                mine.send(None)
                given = mine.recv()
                if isinstance(given, list):
                    mine.send(_sorted(lines, given, file))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return  # nobody wants it any more
    except PushcertError as error:
        mine.send(error)


def _sorted(lines: Lines, shares: Sequence[Share], file: BinaryIO) -> tuple[list[Run], list[str]]:
    """Runs of the shares' records in the file, and who was noted."""
    sorter = Sorter(lambda: file)
    for share in shares:
        for records in lines.between(share.low, share.high):
            sorter.add(records)
    sorter.write()
    return sorter.runs, lines.noted
