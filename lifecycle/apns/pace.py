"""How fast new connections to APNs may be made, by everything that shares one pace.

APNs publishes no limit; it takes a loop of new connections for abuse (FACTS.md). So there is a
ceiling for all connections and one for those to a single address of APNs, and a sign of trouble
at one connection (429, 503, a connection refused or closed) slows *all* that share the pace: it
halves at once, and comes back within a minute of quiet.
"""

from __future__ import annotations

import array
import asyncio
import threading
import time
import zlib
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

RECOVERY = 60.0
"""Seconds of quiet in which a pace rises from nothing to its ceiling."""
REACTION = 1.0
"""Seconds within which several signs of trouble count as one: those under way all meet it."""
SLOWEST = 1 / 32
"""Of the ceiling: the pace that no trouble falls below, so that a sweep ends."""
ADDRESSES = 64
"""Places for addresses; two that share one share its limit, which errs on Apple's side."""
_NEXT, _BASE, _SLOWED = 0, 1, 2
CELLS = 3 + ADDRESSES


class Pace(Protocol):
    """Asked before each new connection, and told what becomes of it."""

    async def enter(self, address: str) -> None:
        """Returns when a connection to ``address`` may be made."""
        ...

    def trouble(self) -> None:
        """APNs, or the way to it, shows that it is too much."""
        ...


class Unpaced:
    """No limit: for one customer's few pushes."""

    async def enter(self, address: str) -> None:
        """Returns at once."""

    def trouble(self) -> None:
        """Changes nothing."""


class Cells(Protocol):
    """Numbers in a row."""

    def __getitem__(self, place: int, /) -> float: ...

    def __setitem__(self, place: int, value: float, /) -> None: ...


@dataclass(frozen=True, slots=True)
class Ceiling:
    """New connections in a second: over all, and to one address."""

    total: float
    each: float


class SharedPace:
    """A pace that threads, and processes that share its cells, keep together.

    Args:
        ceiling: never exceeded; the first connection goes at once, the next one ``1/total``
            seconds later.
        cells, lock: the state: ``CELLS`` numbers and what guards them, in shared memory if
            several processes are to keep the pace; None makes them for this process.
        monotonic: seconds, the same clock in every process.
        sleep: waits.
    """

    def __init__(
        self,
        ceiling: Ceiling,
        *,
        cells: Cells | None = None,
        lock: AbstractContextManager[object] | None = None,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._ceiling = ceiling
        self._cells: Cells = array.array("d", [0.0] * CELLS) if cells is None else cells
        self._lock = threading.Lock() if lock is None else lock
        self._monotonic = monotonic
        self._sleep = sleep
        with self._lock:
            if self._cells[_BASE] == 0.0:  # the first of those that share it
                self._cells[_BASE] = ceiling.total
                self._cells[_SLOWED] = -RECOVERY

    @property
    def rate(self) -> float:
        """Connections in a second that are allowed just now, over all."""
        with self._lock:
            return self._rate(self._monotonic())

    async def enter(self, address: str) -> None:
        """Waits for this connection's turn; turns are given in order of asking."""
        place = 3 + zlib.crc32(address.encode()) % ADDRESSES
        with self._lock:
            now = self._monotonic()
            turn = max(now, self._cells[_NEXT], self._cells[place])
            self._cells[_NEXT] = turn + 1 / self._rate(now)
            self._cells[place] = turn + 1 / self._ceiling.each
        if turn > now:
            await self._sleep(turn - now)

    def trouble(self) -> None:
        """Halves the pace for all; at most once in ``REACTION`` seconds."""
        with self._lock:
            now = self._monotonic()
            if now - self._cells[_SLOWED] < REACTION:
                return
            slower = max(self._rate(now) / 2, self._ceiling.total * SLOWEST)
            self._cells[_BASE] = slower
            self._cells[_SLOWED] = now
            self._cells[_NEXT] = max(self._cells[_NEXT], now + 1 / slower)

    def _rate(self, now: float) -> float:
        risen = (now - self._cells[_SLOWED]) * self._ceiling.total / RECOVERY
        return min(self._ceiling.total, self._cells[_BASE] + risen)
