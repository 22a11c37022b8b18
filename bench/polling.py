"""Many keep-alive HTTP/1.1 connections from one process, each with one request under way.

As little as a client can do, so that what is measured is the server.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial


@dataclass(slots=True)
class Polled:
    """What came of a series of requests.

    Attributes:
        seconds: from the first request to the last answer.
        latencies: of each request, seconds.
        errors: answers that were no 200, and connections that broke.
    """

    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)
    errors: int = 0

    @property
    def per_second(self) -> float:
        """Answers a second."""
        return len(self.latencies) / self.seconds

    def quantile(self, share: float) -> float:
        """The latency, in seconds, that so large a share of the requests did not exceed."""
        ordered = sorted(self.latencies)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


class _Connection(asyncio.Protocol):
    """Sends the next request as soon as an answer is complete."""

    def __init__(self, requests: Iterator[bytes], into: Polled, over: asyncio.Future[None]) -> None:
        self._requests = requests
        self._into = into
        self._over = over
        self._transport: asyncio.Transport | None = None
        self._received = bytearray()
        self._since = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See ``asyncio.Protocol``."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._next()

    def data_received(self, data: bytes) -> None:
        """See ``asyncio.Protocol``."""
        self._received += data
        head, mark, body = bytes(self._received).partition(b"\r\n\r\n")
        if not mark:
            return
        length = 0
        for line in head.split(b"\r\n")[1:]:
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        if len(body) < length:
            return
        self._into.latencies.append(time.perf_counter() - self._since)
        self._into.errors += not head.startswith(b"HTTP/1.1 200")
        self._received.clear()
        self._next()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        """See ``asyncio.Protocol``."""
        if not self._over.done():
            self._into.errors += 1
            self._over.set_result(None)

    def _next(self) -> None:
        assert self._transport is not None
        request = next(self._requests, None)
        if request is None:
            if not self._over.done():
                self._over.set_result(None)
            self._transport.close()
            return
        self._since = time.perf_counter()
        self._transport.write(request)


def poll(port: int, requests: Iterator[bytes], connections: int) -> Polled:
    """Sends all requests over so many connections; each waits for its answer before the next."""
    found = Polled()

    async def run() -> None:
        loop = asyncio.get_running_loop()
        ends = [loop.create_future() for _ in range(connections)]
        began = time.perf_counter()
        for end in ends:
            made = partial(_Connection, requests, found, end)
            await loop.create_connection(made, "127.0.0.1", port)
        await asyncio.gather(*ends)
        found.seconds = time.perf_counter() - began

    asyncio.run(run())
    return found


def get(path: str, authorization: str = "") -> bytes:
    """The bytes of a GET."""
    lines = [f"GET {path} HTTP/1.1", "Host: 127.0.0.1"]
    if authorization:
        lines.append(f"Authorization: {authorization}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode()
