"""Faults on demand: what the gateway does wrong when it is told to."""

from __future__ import annotations

import random
import threading
from collections import deque
from enum import StrEnum


class Fault(StrEnum):
    """One fault; the first four are answers, the others break things."""

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
        gateway.faults.outage = True                # nobody can connect

    Attributes:
        outage: connections are closed before the handshake.
        handshake_delay: seconds by which the server's part of a handshake is held back.
    """

    def __init__(self, rng: random.Random) -> None:
        self.outage = False
        self.handshake_delay = 0.0
        self._rng = rng
        self._lock = threading.Lock()
        self._queue: deque[Fault] = deque()
        self._rates: dict[Fault, float] = {}

    def queue(self, *faults: Fault) -> None:
        """The next pushes meet these faults, one each."""
        with self._lock:
            self._queue.extend(faults)

    def rate(self, fault: Fault, share: float) -> None:
        """From now on this share (0 to 1) of pushes meets the fault."""
        with self._lock:
            self._rates[fault] = share

    def clear(self) -> None:
        """Everything works again."""
        with self._lock:
            self._queue.clear()
            self._rates.clear()
        self.outage = False
        self.handshake_delay = 0.0

    def next(self) -> Fault | None:
        """The fault that the push in hand meets, or None."""
        with self._lock:
            if self._queue:
                return self._queue.popleft()
            for fault, share in self._rates.items():
                if self._rng.random() < share:
                    return fault
            return None
