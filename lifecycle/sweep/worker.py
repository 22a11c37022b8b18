"""A process that probes: jobs come in through a pipe, evidence goes out, as bytes.

It belongs to the customers' plane: it opens vaults, and knows nothing of the vendor's database.
"""

from __future__ import annotations

import asyncio
import json
from multiprocessing.connection import Connection

from lifecycle.apns.gateway import Gateway
from lifecycle.apns.pace import SharedPace
from lifecycle.instance.prober import Prober
from lifecycle.sweep.cells import SharedCells
from lifecycle.sweep.settings import Settings


def work(settings: Settings, pipe: Connection, cells: SharedCells) -> None:
    """Probes until the pipe is closed; all jobs that have come in are under way together.

    Args:
        settings: see there.
        pipe: gives ``[[slug, check id], …]``, takes ``Evidence`` (both JSON).
        cells: the shared state of the pace.
    """
    pace = SharedPace(settings.ceiling, cells=cells, lock=cells)
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
