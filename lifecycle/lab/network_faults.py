"""What a network does to a request and its answer, on demand: see ``lifecycle.lab.tap``."""

from __future__ import annotations

import threading
from collections import Counter, deque
from enum import StrEnum


class NetworkFault(StrEnum):
    """One fault; it strikes one request. In brackets: whether the server acts."""

    LOST_REQUEST = "lost-request"
    """The connection breaks before the server has anything (no)."""
    LOST_ANSWER = "lost-answer"
    """The connection breaks once the server has answered (yes)."""
    CUT_ANSWER = "cut-answer"
    """The answer ends in its midst (yes)."""
    TWICE = "twice"
    """The same bytes reach the server twice, on two connections at once (yes, twice)."""
    AGAIN_LATER = "again-later"
    """The same bytes reach the server once more, after the next request (yes, twice)."""
    AGAIN_WHEN_TOLD = "again-when-told"
    """The same bytes reach the server once more when ``Tap.deliver_late`` says so (yes, twice)."""
    OVERTAKEN = "overtaken"
    """The connection breaks; the bytes reach the server after the next request (yes, late)."""
    ERROR = "error"
    """Something on the way answers 502 by itself (no)."""
    ERROR_AFTERWARDS = "error-afterwards"
    """Something on the way answers 500 in the place of what the server said (yes)."""
    BUSY = "busy"
    """Something on the way answers 503 with ``Retry-After`` (no)."""
    STALL = "stall"
    """No answer comes, and the server gets nothing (no)."""
    STALL_AFTERWARDS = "stall-afterwards"
    """No answer comes, and the server has acted (yes)."""
    HIJACKED = "hijacked"
    """A page of a captive portal in the place of the answer, with status 200 (no)."""


class NetworkFaults:
    """What strikes next; safe to set from any thread.

        faults.queue(NetworkFault.LOST_ANSWER)      # the next request
        faults.queue(None, NetworkFault.CUT_ANSWER) # the one after the next

    Attributes:
        done: how often each fault has struck.
    """

    def __init__(self) -> None:
        self.done: Counter[NetworkFault] = Counter()
        self._lock = threading.Lock()
        self._queue: deque[NetworkFault | None] = deque()

    def queue(self, *faults: NetworkFault | None) -> None:
        """The next requests meet these faults, one each; None: the request gets through."""
        with self._lock:
            self._queue.extend(faults)

    def clear(self) -> None:
        """Everything gets through again."""
        with self._lock:
            self._queue.clear()

    def next(self) -> NetworkFault | None:
        """The fault that the request in hand meets, or None."""
        with self._lock:
            fault = self._queue.popleft() if self._queue else None
            if fault is not None:
                self.done[fault] += 1
            return fault
