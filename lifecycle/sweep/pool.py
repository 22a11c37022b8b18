"""The processes of a sweep: jobs go to the least busy, evidence comes back in any order."""

from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
import time
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
from lifecycle.sweep.settings import Settings
from lifecycle.vendor.sweeps import Job

LAST_WORDS = 10.0
"""Seconds that the workers have to end by themselves once their pipes are closed."""
DEATHS = 3
"""Of workers, for each that there is, after which a sweep gives up: it is no accident then."""


@dataclass(slots=True)
class _Worker:
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
        self._settings = settings
        self._deaths_left = DEATHS * workers
        self._cells = cells.made()
        self._groups: list[subprocess.Popen[bytes]] = []
        self._workers: list[_Worker] = []
        self._start(workers)

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
        # Together they have so long, not each; those that still live then are ended.
        ends = time.monotonic() + LAST_WORDS
        for group in self._groups:
            try:
                group.wait(max(0.0, ends - time.monotonic()))
            except subprocess.TimeoutExpired:
                os.killpg(group.pid, signal.SIGKILL)
                group.wait()
        os.close(self._cells)

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
        self._workers.remove(worker)
        self._start(1)
        for job in worker.jobs.values():
            yield Returned(job, None)

    def _start(self, workers: int) -> None:
        """Starts a group. Not by forking here: this process has threads and an open database."""
        pairs = [Pipe() for _ in range(workers)]
        theirs = [pair[1].fileno() for pair in pairs]
        descriptors = [self._cells, *theirs]
        group = subprocess.Popen(  # noqa: S603 (ourselves)
            # -P: from the places that this process imports from, and no others.
            [sys.executable, "-P", "-m", "lifecycle.sweep", *map(str, descriptors)],
            stdin=subprocess.PIPE,
            pass_fds=descriptors,
            process_group=0,
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join(place or str(Path.cwd()) for place in sys.path),
            },
        )
        self._groups.append(group)
        for _, pipe in pairs:
            pipe.close()
        self._workers += [_Worker(pipe) for pipe, _ in pairs]
        # If it died at once, its pipes say so.
        with suppress(BrokenPipeError), cast("IO[bytes]", group.stdin) as given:
            given.write(pickle.dumps(self._settings))
