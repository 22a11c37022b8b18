"""Progress of what takes its time: on a terminal's stderr, after a second, and nowhere else.

Pipes, files, ``TERM=dumb`` and quick commands see nothing of it; what a command prints on stdout
stays as it is.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from rich.progress import Progress

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
AFTER_SECONDS = 1.0
"""Whoever waits for less does not ask how long it will take."""


class Update(Protocol):
    """Told how much is done; the words, if any, take the place of those before."""

    def __call__(self, done: int, words: str = "") -> None: ...


class Counted(Protocol[T_co]):
    """Items of which the number is known."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[T_co]: ...


@contextmanager
def working(what: str, total: int | None = None) -> Iterator[Update]:
    """Shows that something is under way, for as long as the block runs.

    Args:
        what: in a word or two, such as ``Importing``.
        total: of how many; None where nobody knows, and so no bar and no time left.
    """
    if not _seen():
        yield _unseen
        return
    shown = _Shown(what, total)
    timer = threading.Timer(AFTER_SECONDS, shown.begin)
    timer.daemon = True
    timer.start()
    try:
        yield shown.update
    finally:
        timer.cancel()
        shown.end()


def track(items: Counted[T], what: str) -> Iterator[T]:
    """The items, one after another, with a bar of how many are done."""
    yield from _tracked(items, what, len(items))


def _tracked(items: Iterable[T], what: str, total: int) -> Iterator[T]:
    with working(what, total) as update:
        for number, item in enumerate(items):
            update(number, "")
            yield item
        update(total, "")


def _unseen(done: int, words: str = "") -> None:
    del done, words


def _seen() -> bool:
    return sys.stderr.isatty() and os.environ.get("TERM", "") not in ("dumb", "unknown", "")


class _Shown:
    """The line on the terminal; made when it is first to be seen."""

    def __init__(self, what: str, total: int | None) -> None:
        self._what = what
        self._total = total
        self._done = 0
        self._lock = threading.Lock()
        self._over = False
        self._bar: Progress | None = None

    def begin(self) -> None:
        """Shows it; in the timer's thread."""
        bar = _bar(self._total is not None)
        with self._lock:
            if self._over:
                return
            so_far = f"{self._done:,}" if self._done else ""
            bar.add_task(self._what, total=self._total, completed=self._done, so_far=so_far)
            bar.start()
            self._bar = bar

    def update(self, done: int, words: str = "") -> None:
        """Says how much is done."""
        with self._lock:
            self._done, self._what = done, words or self._what
            if self._bar is not None:
                self._bar.update(
                    self._bar.task_ids[0],
                    completed=done,
                    description=self._what,
                    so_far=f"{done:,}",
                )

    def end(self) -> None:
        """Takes it away again."""
        with self._lock:
            self._over = True
            if self._bar is not None:
                self._bar.stop()


def _bar(bounded: bool) -> Progress:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        SpinnerColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        if bounded
        else (TextColumn("{task.fields[so_far]}"), TimeElapsedColumn())
    )
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        *columns,
        console=Console(stderr=True),
        transient=True,
    )
