"""What the page's threads log about errors that nobody foresaw."""

from __future__ import annotations

import traceback

import structlog

_log = structlog.get_logger(__name__)


def tell(event: str, fault: Exception) -> None:
    """Logs the error's kind and place. Its text may quote what it was given: a key, at worst."""
    frames = traceback.extract_tb(fault.__traceback__)
    at = f"{frames[-1].filename}:{frames[-1].lineno}" if frames else "nowhere"
    _log.error(event, fault=type(fault).__name__, at=at)
