"""The processes of a sweep: jobs go to the least busy, evidence comes back in any order."""

from __future__ import annotations

import json
import os
import pickle
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from pathlib import Path
from types import TracebackType
from typing import IO, Self, cast

from lifecycle.errors import InternalFault
from lifecycle.sweep import cells
from lifecycle.sweep.settings import LAST_WORDS, PID, Settings
from lifecycle.vendor.sweeps import Job

DEATHS = 3
"""Of workers, for each that there is, after which a sweep gives up: it is no accident then."""


@dataclass(slots=True)
class _Worker:
    pid: int
    pipe: Connection
    jobs: dict[int, Job] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Returned:
    """A job that came back.

    Attributes:
        evidence: as the instance sent it (JSON); None if the worker died over it.
    """

    job: Job
    evidence: bytes | None


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Pool:
    """Use it as a context manager; its end ends the processes.

    Args:
        settings: for every worker.
        workers: how many.
    """

    def __init__(self, settings: Settings, workers: int) -> None:
        # Not forked from here: this process has threads and an open database.
        self._nursery, self._control = _start_nursery(settings)
        self._deaths_left = DEATHS * workers
        try:
            self._workers = [self._start() for _ in range(workers)]
        except BaseException:
            self._end_nursery()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for worker in self._workers:
            worker.pipe.close()
        self._end_nursery()

    @property
    def under_way(self) -> int:
        """Jobs that have not come back."""
        return sum(len(worker.jobs) for worker in self._workers)

    def send(self, jobs: Sequence[Job]) -> None:
        """Hands jobs out."""
        share = max(1, -(-len(jobs) // len(self._workers)))
        for start in range(0, len(jobs), share):
            part = jobs[start : start + share]
            worker = min(self._workers, key=lambda w: len(w.jobs))
            worker.jobs.update({job.check_id: job for job in part})
            with suppress(OSError):  # one that has died; `returned` brings its jobs back
                worker.pipe.send_bytes(json.dumps([[j.slug, j.check_id] for j in part]).encode())

    def returned(self, timeout: float) -> Iterator[Returned]:
        """What has come back, waiting for the first at most so many seconds.

        Raises:
            InternalFault: workers die again and again.
        """
        pipes = {worker.pipe: worker for worker in self._workers}
        for ready in wait(list(pipes), timeout):
            worker = pipes[ready]  # type: ignore[index]
            try:
                while worker.pipe.poll():
                    data = worker.pipe.recv_bytes()
                    job = worker.jobs.pop(json.loads(data)["check_id"], None)
                    if job is not None:
                        yield Returned(job, data)
            except (EOFError, OSError):
                yield from self._bury(worker)

    def _bury(self, worker: _Worker) -> Iterator[Returned]:
        self._deaths_left -= 1
        if self._deaths_left < 0:
            raise InternalFault("The processes that probe die again and again; see their output.")
        worker.pipe.close()
        self._workers[self._workers.index(worker)] = self._start()
        for job in worker.jobs.values():
            yield Returned(job, None)

    def _start(self) -> _Worker:
        ours, theirs = Pipe()
        with theirs:
            try:
                socket.send_fds(self._control, [b"+"], [theirs.fileno()])
                answer = self._control.recv(PID, socket.MSG_WAITALL)
            except OSError:
                answer = b""
        if len(answer) < PID:
            ours.close()
            raise InternalFault("The processes that probe could not be started; see their output.")
        return _Worker(int.from_bytes(answer, "big"), ours)

    def _end_nursery(self) -> None:
        self._control.close()
        try:
            self._nursery.wait(2 * LAST_WORDS)
        except subprocess.TimeoutExpired:
            self._nursery.kill()
            self._nursery.wait()


def _start_nursery(settings: Settings) -> tuple[subprocess.Popen[bytes], socket.socket]:
    ours, theirs = socket.socketpair()
    shared = cells.made()
    try:
        process = subprocess.Popen(  # noqa: S603 (ourselves)
            # -P: from the places that this process imports from, and no others.
            [sys.executable, "-P", "-m", "lifecycle.sweep", str(theirs.fileno()), str(shared)],
            stdin=subprocess.PIPE,
            pass_fds=(theirs.fileno(), shared),
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join(place or str(Path.cwd()) for place in sys.path),
            },
        )
    except BaseException:
        ours.close()
        raise
    finally:
        theirs.close()
        os.close(shared)
    with suppress(BrokenPipeError), cast("IO[bytes]", process.stdin) as given:
        given.write(pickle.dumps(settings))  # one that died at once is noticed by `_start`
    return process, ours
