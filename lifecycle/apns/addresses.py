"""The addresses behind APNs's name: looked up once a minute, used in turn."""

from __future__ import annotations

import asyncio
import socket
from dataclasses import dataclass

KEPT = 60.0
"""Seconds; Apple's own answers live about as long."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where to connect.

    Attributes:
        family: of the socket.
        sockaddr: what ``connect`` takes.
    """

    family: socket.AddressFamily
    sockaddr: tuple[str, int] | tuple[str, int, int, int]

    @property
    def name(self) -> str:
        """The IP address alone."""
        return self.sockaddr[0]


class Addresses:
    """The addresses of one host and port. A lookup in one thread serves the others too."""

    def __init__(self, host: str, port: int) -> None:
        self._host = host
        self._port = port
        self._known: tuple[Address, ...] = ()
        self._looked_up_at = 0.0
        self._turn = 0

    async def in_turn(self) -> tuple[Address, ...]:
        """All of them, each time another one first, so that connections spread over them.

        Raises:
            OSError: the name does not resolve.
        """
        loop = asyncio.get_running_loop()
        if not self._known or loop.time() - self._looked_up_at > KEPT:
            found = await loop.getaddrinfo(
                self._host,
                self._port,
                type=socket.SOCK_STREAM,
                proto=socket.IPPROTO_TCP,
                flags=socket.AI_ADDRCONFIG,
            )
            self._known = tuple(Address(family, where) for family, _, _, _, where in found)  # type: ignore[arg-type]
            self._looked_up_at = loop.time()
        known = self._known
        self._turn += 1
        first = self._turn % len(known)
        return known[first:] + known[:first]
