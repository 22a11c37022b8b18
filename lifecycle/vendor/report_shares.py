"""The report as CSV by several processes, which read the registry in one and the same state.

The customers are cut into shares, stretches of the report in its order. With n processes each
writes the lines of every nth share, and they are put together in order.

That all of them see the same is made sure of: on PostgreSQL they look at one exported snapshot;
on SQLite nobody may have committed while they opened theirs, or they open them anew.
"""

from __future__ import annotations

import gc
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any

from sqlalchemy import text
from sqlmodel import Session, col, func, select

from lifecycle.errors import InternalFault, PushcertError
from lifecycle.vendor.database import Database
from lifecycle.vendor.facts import Policy
from lifecycle.vendor.models import Certificate, Customer
from lifecycle.vendor.report_groups import BREACHED, GROUPS
from lifecycle.vendor.report_lines import EVERYBODY, Choice, Lines, Piece
from lifecycle.vendor.report_reading import Reading, Share

WORTH_IT = 20_000
"""Customers from which on a second process is of use."""
SHARE = 5_000
"""Certificates that a share is cut by."""
HELD = 8 * 1024 * 1024
"""Bytes that a process holds until its turn has come; then it waits."""
TRIES = 10
"""How often SQLite's readers open their snapshots anew."""
MOST = 8
"""Processes at most."""


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be written: the report as of ``at`` (aware UTC), of whom."""

    policy: Policy
    at: datetime
    tags: tuple[str, ...] = ()
    choice: Choice = EVERYBODY


def pieces(
    database: Database, order: Order, *, processes: int = 1, worth_it: int = WORTH_IT
) -> Iterator[Piece]:
    """The lines of all customers, most urgent first.

    Args:
        database: nothing is open on it.
        processes: at most; 1: this one alone. More only where the system forks safely (Linux),
            and where this process has no other threads.
        worth_it: customers from which on more than one are of use.

    Raises:
        Unavailable: the database cannot be read.
        InternalFault: a process ended before its time.
    """
    if processes > 1 and sys.platform == "linux":
        with database.reading() as session:
            several = session.exec(select(func.count()).select_from(Customer)).one() >= worth_it
            shares = cut(session, order) if several else []
        if several:
            database.close()  # no connection is carried into another process
            with _readers(database, order, min(processes, MOST)) as readers:
                if _agree(database, readers):
                    yield from _in_turn(readers, shares)
                    return
    with database.reading() as session:
        lines = Lines(Reading(session, order.policy, order.at, order.tags), order.choice)
        for group in (BREACHED, *GROUPS):
            yield from lines.of(Share(group))


def cut(session: Session, order: Order, size: int = SHARE) -> list[Share]:
    """The whole report in shares of about ``size`` certificates, in its order."""
    ends: list[datetime | None] = [None]
    while True:
        # As text: with a parameter the state itself would be looked up in the table.
        active = select(Certificate.not_after).where(text("state = 'active'"))
        if ends[-1] is not None:
            active = active.where(col(Certificate.not_after) > ends[-1])
        end = session.exec(active.order_by(col(Certificate.not_after)).offset(size).limit(1))
        ends.append(end.first())
        if ends[-1] is None:
            break
    reading = Reading(session, order.policy, order.at, order.tags)
    shares = [Share(BREACHED)]
    for group in GROUPS:
        first, last = reading.bounds(Share(group))
        if group.low is None or first is None:
            shares.append(Share(group))
            continue
        shares += [
            Share(group, low, high)
            for low, high in pairwise(ends)
            if (high is None or high > first) and (last is None or low is None or low < last)
        ]
    return shares


class _Reader:
    """A process that writes lines, as its parent sees it."""

    def __init__(self, database: Database, order: Order) -> None:
        context = get_context("fork")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(
            target=_serve, args=(theirs, database, order, self._connection), daemon=True
        )
        self._process.start()
        theirs.close()

    def tell(self, what: Any) -> None:
        """Tells it where to look, or of which shares to write the lines."""
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


def _ended() -> InternalFault:
    return InternalFault(
        "A process that wrote a part of the report ended before its time.",
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


def _in_turn(readers: Sequence[_Reader], shares: Sequence[Share]) -> Iterator[Piece]:
    for place, reader in enumerate(readers):
        reader.tell(list(shares[place :: len(readers)]))
    for number in range(len(shares)):
        reader = readers[number % len(readers)]
        while (said := reader.hear()) is not None:
            yield said


def _serve(mine: Connection, database: Database, order: Order, parents: Connection) -> None:
    """What a reader does: looks where it is told to, until it is given shares, and writes them."""
    parents.close()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends this process
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    gc.freeze()  # what was there before is not gone through again: that would copy its memory
    try:
        given: Any = mine.recv()
        while not isinstance(given, list):
            with database.reading() as session:
                if given is not None:
                    session.execute(text(f"SET TRANSACTION SNAPSHOT '{given}'"))
                lines = Lines(Reading(session, order.policy, order.at, order.tags), order.choice)
                mine.send(None)
                given = mine.recv()
                if isinstance(given, list):
                    _write(mine, lines, given)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return  # nobody wants it any more
    except PushcertError as error:
        mine.send(error)


def _write(mine: Connection, lines: Lines, shares: Sequence[Share]) -> None:
    for share in shares:
        held: list[Piece] = []
        size = 0
        for piece in lines.of(share):
            held.append(piece)
            size += len(piece.lines)
            if size > HELD:
                mine.send(_joined(held))
                held, size = [], 0
        mine.send(_joined(held))
        mine.send(None)


def _joined(held: Sequence[Piece]) -> Piece:
    return Piece(
        b"".join(piece.lines for piece in held), [slug for piece in held for slug in piece.noted]
    )
