"""Forks workers: one for each descriptor that comes in, each of which serves that pipe."""

from __future__ import annotations

import gc
import os
import pickle
import signal
import socket
import sys
import traceback
from multiprocessing.connection import Connection
from types import FrameType
from typing import NoReturn

from lifecycle.sweep.cells import SharedCells
from lifecycle.sweep.settings import LAST_WORDS, PID, Settings
from lifecycle.sweep.worker import work


def tend(control: int, cells: int) -> None:
    """Forks workers until ``control`` is closed, waits for their end, and returns.

    Args:
        control: descriptor of a Unix socket. Each byte on it comes with the descriptor of a
            pipe, and is answered by the process id of the worker that serves it.
        cells: descriptor of ``SharedCells``.

    On standard input: the pickled ``Settings``. They come from the process that started this
    one, under the same user; nobody else can write there.
    """
    # Ctrl-C goes to every process of a terminal; when to stop is the first one's to say.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    settings: Settings = pickle.load(sys.stdin.buffer)  # noqa: S301 (see above)
    # A collection would write to every object, and end the sharing of its page.
    gc.collect()
    gc.freeze()
    pids: set[int] = set()
    with socket.socket(fileno=control) as asked:
        while True:
            _, pipes, _, _ = socket.recv_fds(asked, 1, 1)
            _bury(pids)
            if not pipes:
                break
            pid = os.fork()
            if pid == 0:
                asked.close()
                _serve(settings, pipes[0], cells)
            os.close(pipes[0])
            pids.add(pid)
            asked.sendall(pid.to_bytes(PID, "big"))
    _see_out(pids)


def _serve(settings: Settings, pipe: int, cells: int) -> NoReturn:
    status = 1
    try:
        work(settings, Connection(pipe), SharedCells(cells))
        status = 0
    finally:
        if status:
            traceback.print_exc()
        os._exit(status)  # what is above this frame is the other process's


def _bury(pids: set[int]) -> None:
    for pid in tuple(pids):
        if os.waitpid(pid, os.WNOHANG) != (0, 0):
            pids.discard(pid)


def _see_out(pids: set[int]) -> None:
    def out_of_patience(_number: int, _frame: FrameType | None) -> None:
        for pid in pids:
            os.kill(pid, signal.SIGKILL)

    signal.signal(signal.SIGALRM, out_of_patience)
    signal.alarm(LAST_WORDS)
    while pids:
        pid, _ = os.wait()
        pids.discard(pid)
