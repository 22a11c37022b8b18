"""A disk that is full or cannot be written to: named as what it is, and gone when it is mended.

SQLite and the operating system each have their words for it; a person needs one.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from lifecycle.errors import Unavailable

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_READ_ONLY = frozenset({errno.EROFS})


class DiskFull(Unavailable):
    """No room is left on the disk; nothing was lost, and work goes on once there is room."""

    code = "disk_full"


class DiskReadOnly(Unavailable):
    """The disk cannot be written to; nothing was lost, and work goes on once it can."""

    code = "disk_read_only"


def disk_trouble(error: BaseException | None, what: str) -> Unavailable | None:
    """The fault of the disk that an error stands for; None if it stands for something else.

    Args:
        error: of the operating system, or of SQLite.
        what: the file, as the subject of a sentence: ``The vault /srv/acme``.
    """
    name = getattr(error, "sqlite_errorname", None) or ""
    number = error.errno if isinstance(error, OSError) else None
    if name == "SQLITE_FULL" or number in _FULL:
        return DiskFull(
            f"{what} cannot be written: the disk is full, or a quota is used up.",
            "Make room; nothing was lost, and what is owed is done by itself once there is.",
        )
    if name.startswith("SQLITE_READONLY") or number in _READ_ONLY:
        return DiskReadOnly(
            f"{what} cannot be written: the disk or the file is read-only.",
            "See the system's log for why, and make it writable; nothing was lost, and what is"
            " owed is done by itself then.",
        )
    return None


@contextmanager
def naming_disk_trouble(what: str) -> Iterator[None]:
    """Raises ``DiskFull`` or ``DiskReadOnly`` in the place of the system's own error."""
    try:
        yield
    except OSError as error:
        fault = disk_trouble(error, what)
        if fault is None:
            raise
        raise fault from None
