"""How often a push is tried, and how long is waited between."""

from __future__ import annotations

import random
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Bounds on trying again. *What* is tried again: ``reasons.meaning``, ``faults.FAULTS``.

    Attributes:
        attempts: at most, the first one included; also how many connections in a row may fail
            before the client stops opening new ones (APNs takes a loop of them for abuse).
        base, cap: seconds; the wait before attempt n is random up to ``base * 2**(n-2)``, and
            at most ``cap`` ("full jitter").
        timeout: seconds without an answer after which an attempt counts as stalled.
        deadline: seconds after the first attempt of a push, beyond which none is begun.
    """

    attempts: int = 4
    base: float = 0.5
    cap: float = 8.0
    timeout: float = 10.0
    deadline: float = 60.0

    def wait(self, attempt: int, rng: random.Random) -> float:
        """Seconds to wait before attempt number ``attempt`` (2 is the first retry)."""
        # Beyond 2**30 the cap has long decided, and the power would only grow.
        return rng.uniform(0, min(self.cap, self.base * 2.0 ** min(attempt - 2, 30)))
