"""A process that probes: jobs come in through a pipe, evidence goes out, as bytes.

It belongs to the customers' plane: it opens vaults, and knows nothing of the vendor's database.
"""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import MutableSequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from lifecycle.apns.gateway import Gateway
from lifecycle.apns.pace import Ceiling, SharedPace
from lifecycle.apns.retry import RetryPolicy
from lifecycle.clock import Clock
from lifecycle.instance.prober import Prober, Vaults


@dataclass(frozen=True, slots=True)
class Settings:
    """What a worker is told.

    Attributes:
        vaults: where the instances are.
        host, port, ca_file, proxy: of APNs.
        retry: how often one push is tried.
        ceiling: of new connections.
        clock: dates the answers.
    """

    vaults: Vaults
    host: str
    port: int
    ca_file: Path | None
    proxy: str | None
    retry: RetryPolicy
    ceiling: Ceiling
    clock: Clock


def work(
    settings: Settings,
    pipe: Connection,
    cells: MutableSequence[float],
    lock: AbstractContextManager[object],
) -> None:
    """Probes until the pipe is closed; all jobs that have come in are under way together.

    Args:
        settings: see there.
        pipe: gives ``[[slug, check id], …]``, takes ``Evidence`` (both JSON).
        cells, lock: the shared state of the pace.
    """
    # Ctrl-C goes to every process of a terminal; when to stop is the parent's to say.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    pace = SharedPace(settings.ceiling, cells=cells, lock=lock)
    gateway = Gateway(settings.host, settings.port, settings.ca_file, settings.proxy)
    prober = Prober(settings.vaults, gateway, settings.retry, pace, settings.clock)
    asyncio.run(_serve(prober, pipe))


async def _serve(prober: Prober, pipe: Connection) -> None:
    loop = asyncio.get_running_loop()
    closed = asyncio.Event()
    under_way: set[asyncio.Task[None]] = set()

    async def check(slug: str, check_id: int) -> None:
        evidence = await prober.check(slug, check_id)
        try:
            pipe.send_bytes(evidence.model_dump_json().encode())
        except OSError:
            closed.set()  # the parent is gone, and with it everybody who asked

    def take() -> None:
        try:
            jobs = json.loads(pipe.recv_bytes())
        except (EOFError, OSError):
            closed.set()
            return
        for slug, check_id in jobs:
            task = loop.create_task(check(slug, check_id))
            under_way.add(task)
            task.add_done_callback(under_way.discard)

    loop.add_reader(pipe.fileno(), take)
    await closed.wait()
    loop.remove_reader(pipe.fileno())
    for task in under_way:
        task.cancel()
