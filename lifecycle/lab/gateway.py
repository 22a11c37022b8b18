"""The lab's APNs: HTTP/2 over TLS with client certificates, on loopback.

    gateway = ApnsGateway(authority, clock)
    gateway.start()                     # gateway.host, gateway.port
    token = gateway.register_device(topic)
    gateway.stop()

It serves in a thread of its own. Nothing it keeps or logs shows a token.
"""

from __future__ import annotations

import asyncio
import random
import threading
from collections import Counter
from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding

from lifecycle.clock import Clock
from lifecycle.lab.authority import Authority
from lifecycle.lab.connection import GatewayConnection, Service
from lifecycle.lab.devices import DeviceRegistry
from lifecycle.lab.faults import Faults
from lifecycle.lab.tls import ServerTls


class ApnsGateway:
    """APNs's provider API.

    Args:
        authority: whose push certificates are let in.
        clock: judges them, and dates what devices do.
        host, port: where to listen; port 0 takes a free one.
        seed: fixes tokens and random faults.

    Attributes:
        port: where it listens, once started.
        devices: who is registered where.
        faults: what goes wrong.
        counts: answers by topic and status.
    """

    def __init__(
        self,
        authority: Authority,
        clock: Clock,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        seed: int = 0,
        devices: DeviceRegistry | None = None,
    ) -> None:
        self.host = host
        self.port = port
        self.devices = devices or DeviceRegistry(random.Random(seed))  # noqa: S311
        self.faults = Faults(random.Random(seed + 1))  # noqa: S311  (repeatable)
        self.counts: Counter[tuple[str, int]] = Counter()
        self._authority = authority
        self._clock = clock
        self._service = Service(ServerTls(authority, clock), self.devices, self.faults, self.counts)
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping: asyncio.Event | None = None

    def start(self) -> None:
        """Begins to serve; returns once connections are taken.

        Raises:
            OSError: the port cannot be had.
        """
        ready = threading.Event()
        failure: list[OSError] = []

        def run() -> None:
            try:
                asyncio.run(self._serve(ready))
            except OSError as error:
                failure.append(error)
                ready.set()

        self._thread = threading.Thread(target=run, name="lab-apns", daemon=True)
        self._thread.start()
        ready.wait()
        if failure:
            raise failure[0]

    def stop(self) -> None:
        """Says goodbye to every connection and ends."""
        if self._thread is None or self._loop is None or self._stopping is None:
            return
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join()
        self._thread = self._loop = self._stopping = None

    def register_device(self, topic: str) -> bytes:
        """A device enrols under a topic; gives its token (32 bytes)."""
        return self.devices.new(topic)

    def register(self, token: bytes, topic: str) -> None:
        """Puts a known token under a topic as well: a breach, staged."""
        self.devices.register(token, topic)

    def deregister(self, token: bytes, topic: str) -> None:
        """Takes a token from under a topic."""
        self.devices.deregister(token, topic)

    def unregister(self, token: bytes) -> None:
        """The device has gone; pushes to it are answered 410 with this instant."""
        self.devices.unregister(token, self._clock.now())

    def write_ca(self, path: Path) -> None:
        """Writes the root that clients must trust, as PEM."""
        path.write_bytes(self._authority.root.certificate.public_bytes(Encoding.PEM))

    async def _serve(self, ready: threading.Event) -> None:
        self._loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        server = await self._loop.create_server(
            lambda: GatewayConnection(self._service), self.host, self.port, backlog=1024
        )
        self.port = server.sockets[0].getsockname()[1]
        ready.set()
        await self._stopping.wait()
        server.close()
        for connection in list(self._service.open):
            connection.say_goodbye("Shutdown")
        # One turn of the loop, so that the goodbyes are written before it ends.
        await asyncio.sleep(0)
