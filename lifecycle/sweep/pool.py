"""The processes of a sweep: jobs go to the least busy, evidence comes back in any order."""

from __future__ import annotations

import json
import multiprocessing
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from types import ModuleType, TracebackType
from typing import Self

from lifecycle.apns.pace import CELLS
from lifecycle.errors import InternalFault
from lifecycle.sweep.worker import Settings, work
from lifecycle.vendor.sweeps import Job

DEATHS = 3
"""Of workers, for each that there is, after which a sweep gives up: it is no accident then."""
LAST_WORDS = 10.0
"""Seconds a worker has to end by itself once its pipe is closed."""


@dataclass(slots=True)
class _Worker:
    process: BaseProcess
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


@contextmanager
def _no_main_module() -> Iterator[None]:
    """A spawned process imports its parent's main module anew: the whole command line, of which
    a worker needs nothing, for a third of its memory and half of its start."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


class Pool:
    """Use it as a context manager; its end ends the processes.

    Args:
        settings: for every worker.
        workers: how many.
    """

    def __init__(self, settings: Settings, workers: int) -> None:
        self._settings = settings
        # Not forked: this process has threads and an open database.
        self._context = multiprocessing.get_context("spawn")
        self._cells = self._context.RawArray("d", CELLS)
        self._lock = self._context.Lock()
        self._deaths_left = DEATHS * workers
        self._workers = [self._start() for _ in range(workers)]

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
        for worker in self._workers:
            worker.process.join(LAST_WORDS)
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()

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
        worker.process.join(LAST_WORDS)
        self._workers[self._workers.index(worker)] = self._start()
        for job in worker.jobs.values():
            yield Returned(job, None)

    def _start(self) -> _Worker:
        ours, theirs = self._context.Pipe()
        process = self._context.Process(
            target=work,
            args=(self._settings, theirs, self._cells, self._lock),
            name="pushcert-probes",
            daemon=True,
        )
        with _no_main_module():
            process.start()
        theirs.close()
        return _Worker(process, ours)
