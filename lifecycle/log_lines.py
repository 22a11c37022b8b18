"""How processes log: one line an event, key=value, on stderr."""

from __future__ import annotations

import logging
import sys
from contextlib import suppress

import structlog
from structlog.typing import Processor

from lifecycle.redaction import redact


def configure(*more: Processor, least: int = logging.NOTSET) -> None:
    """Sets the log up for this process; no line shows a secret (``lifecycle.redaction``).

    Args:
        more: see each event before it becomes a line.
        least: the least level that is logged (``logging.ERROR``, …).
    """
    lines = _Stderr()
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            *more,
            redact,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.KeyValueRenderer(key_order=["timestamp", "level", "event"]),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(least),
        logger_factory=lambda *_: lines,
    )


class _Stderr:
    """Writes lines to stderr. One that cannot be written is lost, and ends nobody's work.

    The log may be on the very disk that is full; whoever says so must not end for it.
    """

    def line(self, text: str) -> None:
        # Looked up for every line: what stderr is can change, and the old one be closed.
        # Written in one piece: other threads have lines as well.
        with suppress(OSError):
            sys.stderr.write(f"{text}\n")
            sys.stderr.flush()

    debug = info = warning = error = exception = critical = line
