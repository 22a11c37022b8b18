"""Keeps device tokens out of logs.

httpx logs the URL of every request, hpack every header it packs: for a push, both are the device
token. Their records are dropped while a push is under
way *in the task that makes it*; other users of the same libraries keep their logs.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

TALKATIVE = (
    "httpx",
    "hpack.hpack",
    "hpack.table",
)
"""Every logger below us that may show a URL or a header. A filter does not reach the loggers
under the one that has it, so each is named."""

_pushing: ContextVar[bool] = ContextVar("pushcert_pushing", default=False)


class _Discretion(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:  # noqa: ARG002
        return not _pushing.get()


_DISCRETION = _Discretion()


@contextmanager
def discreet() -> Iterator[None]:
    """Within it, the libraries that know the token log nothing."""
    for name in TALKATIVE:
        logging.getLogger(name).addFilter(_DISCRETION)  # does nothing if it is there
    mark = _pushing.set(True)
    try:
        yield
    finally:
        _pushing.reset(mark)
