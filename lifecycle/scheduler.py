"""``run``: says when to look, and decides nothing. ``tick`` does the same work once.

APScheduler fires a tick at an interval; everything else is the planner's and the worker's.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType

import structlog
from apscheduler.events import EVENT_JOB_ERROR, JobExecutionEvent
from apscheduler.schedulers.background import BackgroundScheduler

from lifecycle.errors import PushcertError
from lifecycle.turns import one_run, one_tick
from lifecycle.vendor_plane import Tick, VendorPlane

log = structlog.get_logger(__name__)


def run_until_stopped(plane: VendorPlane) -> None:
    """Ticks at the configured interval until SIGTERM or SIGINT.

    Raises:
        Refused: ``already_running``.
    """
    stop = threading.Event()

    def ask_to_stop(number: int, _frame: FrameType | None) -> None:
        log.info("stopping", signal=signal.Signals(number).name)
        stop.set()

    with one_run(plane.config):
        before = {s: signal.signal(s, ask_to_stop) for s in (signal.SIGTERM, signal.SIGINT)}
        scheduler = BackgroundScheduler(timezone="UTC")
        scheduler.add_listener(_log_failure, EVENT_JOB_ERROR)
        scheduler.add_job(
            look,
            "interval",
            args=[plane, stop.is_set],
            seconds=plane.config.run.every_seconds,
            next_run_time=plane.clock.now(),
            max_instances=1,
            coalesce=True,
            misfire_grace_time=None,
        )
        scheduler.start()
        log.info("running", every_seconds=plane.config.run.every_seconds)
        try:
            stop.wait()
        finally:
            scheduler.shutdown(wait=True)
            for number, handler in before.items():
                signal.signal(number, handler)
        log.info("stopped")


def look(plane: VendorPlane, stop: Callable[[], bool] = lambda: False) -> Tick:
    """One tick of ``run``: waits for any other to end, and leaves a line in the log.

    Raises:
        Refused: ``already_running``. Unavailable: the database cannot be used.
    """
    with one_tick(plane.config):
        done = plane.tick(stop=stop)
    log.info("tick", customers=done.work.customers, **done.work.actions, sent=done.mail.sent)
    return done


def _log_failure(event: JobExecutionEvent) -> None:
    fault = event.exception
    if isinstance(fault, PushcertError):
        log.warning("tick_failed", code=fault.code, message=str(fault))
    else:
        log.error("tick_failed", error=type(fault).__name__)
