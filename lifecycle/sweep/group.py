"""A group of workers: one process that has loaded what they need, and forks of it.

Forks share the memory of what was loaded. It is safe here: until the last fork there are no
threads, no event loop and no open files.
"""

from __future__ import annotations

import gc
import os
import pickle
import signal
import sys
import traceback
from collections.abc import Sequence
from multiprocessing.connection import Connection
from typing import NoReturn

from lifecycle.sweep.cells import SharedCells
from lifecycle.sweep.settings import Settings
from lifecycle.sweep.worker import work


def serve(cells: int, pipes: Sequence[int]) -> None:
    """Serves every pipe, each by a process of its own; returns when all have ended.

    Args:
        cells: descriptor of ``SharedCells``.
        pipes: descriptors of pipes, for ``work``.

    On standard input: the pickled ``Settings``. They come from the process that started this
    one, under the same user; nobody else can write there.
    """
    # Ctrl-C goes to every process of a terminal; when to stop is the first one's to say.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    settings: Settings = pickle.load(sys.stdin.buffer)  # noqa: S301 (see above)
    # A collection would write to every object, and end the sharing of its page.
    gc.collect()
    gc.freeze()
    own, *others = pipes
    forked = 0
    for place, pipe in enumerate(others):
        if os.fork() == 0:
            # A pipe that a sibling holds open would not end with the one it belongs to.
            for not_mine in (own, *others[place + 1 :]):
                os.close(not_mine)
            _work_alone(settings, pipe, cells)
        os.close(pipe)
        forked += 1
    work(settings, Connection(own), SharedCells(cells))
    for _ in range(forked):
        os.wait()


def _work_alone(settings: Settings, pipe: int, cells: int) -> NoReturn:
    status = 1
    try:
        work(settings, Connection(pipe), SharedCells(cells))
        status = 0
    finally:
        if status:
            traceback.print_exc()
        os._exit(status)  # what is above this frame is the first process's
