"""``instance run``: asks the vendor again and again what it wants, and does it. Decides nothing.

Short polls, outbound only. An instance that was offline for weeks asks, is told all that is
wanted by then, and does it: nothing is queued for it that could be lost or come in a burst.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from lifecycle.errors import Refused, Unavailable
from lifecycle.standalone import Standalone

log = structlog.get_logger(__name__)

USUALLY = 60.0
"""Seconds between questions where the vendor does not say."""
LONGEST = 900.0
"""Seconds: an instance whose vendor is away goes on asking at least this often."""
JITTER = 0.2
"""Each wait is shorter or longer by up to this share: instances must not ask in step."""


@dataclass(slots=True)
class Pace:
    """When to ask again.

    Attributes:
        every: seconds, as the vendor said last.
        failures: how many rounds in a row came to nothing: the vendor is away, the disk is full.
    """

    every: float = USUALLY
    failures: int = 0

    def wait(self, rng: random.Random) -> float:
        """Seconds until the next question; grows while the vendor is away."""
        grown = min(self.every * 2.0 ** min(self.failures, 16), max(LONGEST, self.every))
        return grown * rng.uniform(1 - JITTER, 1 + JITTER)


def ask_until_stopped(
    instance: Standalone,
    wait: Callable[[float], bool],
    rng: random.Random,
    asked: Callable[[], None] = lambda: None,
) -> None:
    """Asks and does until ``wait`` says that it is enough. A fault that may pass ends nothing,
    not even the start: a disk that is full, a vendor that is away.

    Args:
        instance: enrolled.
        wait: waits so many seconds; True: stop.
        rng: for the jitter.
        asked: called after each round.

    Raises:
        Refused: ``instance_not_enrolled``, before anything was asked.
    """
    _require_enrolled(instance)
    pace = Pace()
    while True:
        ask_once(instance, pace)
        asked()
        if wait(pace.wait(rng)):
            return


def _require_enrolled(instance: Standalone) -> None:
    try:
        enrolled = instance.enrolled()
    except Unavailable:
        return  # the vault's disk; the first round says what is wrong with it, and others follow
    if enrolled is None:
        with instance.link():  # says what is missing
            return


def ask_once(instance: Standalone, pace: Pace) -> None:
    """One round; what goes wrong is in the log and in the pace."""
    try:
        outcome = instance.step()
    except Unavailable as fault:
        pace.failures += 1
        what = "vendor_unavailable" if fault.code == Unavailable.code else fault.code
        log.warning(what, message=str(fault), failures=pace.failures)
        return
    except Refused as refused:
        # Shut out, or shown something that it does not understand: a person must see to that,
        # and until then the instance asks ever more rarely.
        pace.failures += 1
        log.warning("refused", codes=list(refused.codes), message=str(refused))
        return
    except Exception:
        # A defect met with today's work must not end the care for next year's.
        pace.failures += 1
        log.exception("step_failed")
        return
    pace.every = float(outcome.ask_again_seconds or USUALLY)
    pace.failures = 0
    for done in outcome.done:
        log.info(done.what, message=done.sentence)
    if outcome.setback is not None:
        log.warning("setback", code=outcome.setback.code, message=outcome.setback.message)
