"""How processes log: one line an event, key=value, on stderr."""

from __future__ import annotations

import sys

import structlog
from structlog.typing import Processor


def configure(*more: Processor) -> None:
    """Sets the log up for this process; without values of unforeseen errors' locals.

    Args:
        more: see each event before it becomes a line.
    """
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            *more,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.KeyValueRenderer(key_order=["timestamp", "level", "event"]),
        ],
        # Looked up for every line: what stderr is can change, and the old one be closed.
        logger_factory=lambda *_: structlog.PrintLogger(sys.stderr),
    )
