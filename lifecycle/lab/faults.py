"""Faults on demand: what the gateway does wrong when it is told to."""

from __future__ import annotations

import random
import threading
from collections import Counter, deque
from enum import StrEnum


class Fault(StrEnum):
    """One fault; the first four are answers, the others break things.

    See ``OF_CONNECTIONS`` for those that strike a connection and not a push.
    """

    TOO_MANY_REQUESTS = "429"
    INTERNAL_SERVER_ERROR = "500"
    SERVICE_UNAVAILABLE = "503"
    SHUTDOWN = "503-shutdown"
    GOAWAY = "goaway"
    """The connection says goodbye and closes; the push stays unanswered."""
    STALL = "stall"
    """The push is never answered."""
    DROP = "drop"
    """The connection breaks off without a word."""
    REFUSE = "refuse"
    """The connection is closed before the handshake."""
    MUTE = "mute"
    """The connection is taken, and nothing is ever said."""
    GOAWAY_AFTER_FIRST = "goaway-after-first"
    """The connection's first push is answered; then it says goodbye and closes."""


OF_CONNECTIONS = (Fault.REFUSE, Fault.MUTE, Fault.GOAWAY_AFTER_FIRST)
"""Those that a connection meets; the others are met by pushes."""

ANSWERS: dict[Fault, tuple[int, str]] = {
    Fault.TOO_MANY_REQUESTS: (429, "TooManyRequests"),
    Fault.INTERNAL_SERVER_ERROR: (500, "InternalServerError"),
    Fault.SERVICE_UNAVAILABLE: (503, "ServiceUnavailable"),
    Fault.SHUTDOWN: (503, "Shutdown"),
}


class Faults:
    """What goes wrong next; safe to set from any thread.

        gateway.faults.queue(Fault.GOAWAY)          # the next push
        gateway.faults.rate(Fault.STALL, 0.05)      # one push in twenty, by the seed
        gateway.faults.rate(Fault.REFUSE, 0.10)     # one connection in ten
        gateway.faults.burst(Fault.SERVICE_UNAVAILABLE, every=500, length=20)
        gateway.faults.outage = True                # nobody can connect

    Attributes:
        outage: connections are closed before the handshake.
        handshake_delay: seconds by which the server's part of a handshake is held back.
        done: how often each fault has struck.
    """

    def __init__(self, rng: random.Random) -> None:
        self.outage = False
        self.handshake_delay = 0.0
        self._rng = rng
        self._lock = threading.Lock()
        self._queue: deque[Fault] = deque()
        self._rates: dict[Fault, float] = {}
        self._bursts: list[tuple[Fault, int, int]] = []
        self._pushes = 0
        self.done: Counter[Fault] = Counter()

    def queue(self, *faults: Fault) -> None:
        """The next pushes meet these faults, one each."""
        with self._lock:
            self._queue.extend(faults)

    def rate(self, fault: Fault, share: float) -> None:
        """From now on this share (0 to 1) of pushes, or of connections, meets the fault."""
        with self._lock:
            self._rates[fault] = share

    def burst(self, fault: Fault, *, every: int, length: int) -> None:
        """From now on, of every so many pushes the last ``length`` meet the fault in a row."""
        with self._lock:
            self._bursts.append((fault, every, length))

    def clear(self) -> None:
        """Everything works again."""
        with self._lock:
            self._queue.clear()
            self._rates.clear()
            self._bursts.clear()
        self.outage = False
        self.handshake_delay = 0.0

    def next(self) -> Fault | None:
        """The fault that the push in hand meets, or None."""
        with self._lock:
            self._pushes += 1
            return self._struck(self._queue.popleft() if self._queue else self._by_chance())

    def next_of_connection(self) -> Fault | None:
        """The fault that the connection in hand meets, or None."""
        with self._lock:
            for fault in OF_CONNECTIONS:
                if self._rng.random() < self._rates.get(fault, 0):
                    return self._struck(fault)
            return None

    def _by_chance(self) -> Fault | None:
        for fault, every, length in self._bursts:
            if self._pushes % every >= every - length:
                return fault
        for fault, share in self._rates.items():
            if fault not in OF_CONNECTIONS and self._rng.random() < share:
                return fault
        return None

    def _struck(self, fault: Fault | None) -> Fault | None:
        if fault is not None:
            self.done[fault] += 1
        return fault
