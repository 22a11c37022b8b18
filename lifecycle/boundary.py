"""Write boundaries: the points between two durable writes, where a crash must do no harm.

Every component that makes something durable (a database commit, a renamed file, a message
accepted by a mail server) reports to a ``WriteObserver`` just before and just after. In
production the observer does nothing. The kill tests pass one that ends the process at the
n-th boundary, so that every boundary of a renewal is enumerated, none left to luck.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol


class WriteObserver(Protocol):
    """Is told about every durable write.

    An implementer may end the process; it must not raise, and must not write to the store
    that is being observed. A caller must not rely on ``reached`` doing anything.
    """

    def reached(self, boundary: str) -> None:
        """``boundary`` names the write and the side of it, e.g. ``vendor.commit:before``."""
        ...


class Unobserved:
    """The production observer: does nothing."""

    def reached(self, boundary: str) -> None:
        """Does nothing."""


Watch = Callable[[int, str], None]
"""Told how many are done, and of what, so that somebody who waits can be shown it."""


def ignore(done: int, of_what: str) -> None:
    """A ``Watch`` for when nobody waits."""
    del done, of_what
