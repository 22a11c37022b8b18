"""APNs beneath httpx: an ``AsyncBaseTransport`` for one push certificate.

    async with httpx.AsyncClient(transport=ApnsTransport(gateway, identity)) as client:
        response = await client.post(f"{gateway.base_url}/3/device/{token}", ...)

httpx's own HTTP/2 reads under a lock that a stalled stream keeps, so that one push without an
answer takes down all that share its connection, and reaches a tenth of the pushes per second.
"""

from __future__ import annotations

import asyncio

import httpx

from lifecycle.apns.connection import Connection
from lifecycle.apns.faults import Fault, NoAnswer, Trouble
from lifecycle.apns.gateway import Gateway
from lifecycle.apns.http2 import Answered
from lifecycle.apns.identity import ClientIdentity
from lifecycle.apns.pace import Pace, Unpaced

HTTP_2 = {"http_version": b"HTTP/2"}
_NOT_IN_HTTP_2 = frozenset(
    {b"host", b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade"}
)
"""RFC 9113, sections 8.2.2 and 8.3.1: servers break off a request that has one of them."""


class ApnsTransport(httpx.AsyncBaseTransport):
    """Carries requests over one connection at a time, opened when it is needed.

    Honours the ``connect`` and ``read`` timeouts of httpx (seconds; here ``connect`` covers all
    up to APNs's first word, and ``read`` the whole wait for a response). Retries nothing.

    Args:
        gateway: where to; requests to any other host are refused.
        identity: whose certificate is shown.
        pace: limits new connections.

    Attributes:
        opened: how many connections there have been.

    Raises:
        NoAnswer: (an ``httpx.TransportError``) from a request that got no response.
    """

    def __init__(
        self, gateway: Gateway, identity: ClientIdentity, pace: Pace | None = None
    ) -> None:
        self._gateway = gateway
        self._identity = identity
        self._pace = pace or Unpaced()
        self._connection: Connection | None = None
        self._retired: set[Connection] = set()
        self._opening = asyncio.Lock()
        self.opened = 0

    @property
    def is_open(self) -> bool:
        """Whether there is a connection that takes requests."""
        return self._connection is not None and self._connection.takes_requests

    async def open(self, timeout: float | None = None) -> None:
        """Opens a connection unless there is one; several callers open one between them.

        Args:
            timeout: seconds up to APNs's first word.

        Raises:
            NoAnswer: there is none to be had.
        """
        if self.is_open:
            return
        async with self._opening:
            if self.is_open:
                return
            self.leave()
            connection = Connection(self._gateway, self._identity, self._pace)
            try:
                async with asyncio.timeout(timeout):
                    await connection.open()
            except TimeoutError:
                raise NoAnswer(Trouble(Fault.UNREACHABLE)) from None
            self._connection = connection
            self.opened += 1

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """See ``httpx.AsyncBaseTransport``."""
        url = request.url
        self._require_apns(url)
        timeouts = request.extensions.get("timeout", {})
        fields = [
            (b":method", request.method.encode("ascii")),
            (b":scheme", b"https"),
            (b":authority", url.netloc),
            (b":path", url.raw_path),
            *((n, v) for n, v in _lowered(request) if n not in _NOT_IN_HTTP_2),
        ]
        answered = await self.exchange(
            fields, await request.aread(), timeouts.get("connect"), timeouts.get("read")
        )
        return httpx.Response(
            answered.status,
            headers=list(answered.headers),
            content=answered.body,
            extensions=HTTP_2,
            request=request,
        )

    async def exchange(
        self,
        fields: list[tuple[bytes, bytes]],
        body: bytes,
        connect_timeout: float | None,
        read_timeout: float | None,
    ) -> Answered:
        """A request and its response, without httpx's objects: they cost as much as the rest.

        Args:
            fields: the header fields, lower case, the pseudo-headers first.
            connect_timeout, read_timeout: seconds; see the class.

        Raises:
            NoAnswer: there was no response.
        """
        if not self.is_open:
            await self.open(connect_timeout)
        connection = self._connection
        if connection is None:
            raise NoAnswer(Trouble.lost())
        heard = connection.heard
        try:
            return await connection.request(fields, body, read_timeout)
        except NoAnswer as none:
            stalled = none.trouble.fault is Fault.STALLED
            if stalled and connection.heard == heard and connection is self._connection:
                self.leave()  # nothing comes at all: the connection itself is dead
            raise

    def leave(self) -> None:
        """Gives no new request to the connection; those under way on it may end."""
        if self._connection is not None:
            self._retired.add(self._connection)
            self._connection = None

    async def aclose(self) -> None:
        """Closes every connection."""
        self.leave()
        while self._retired:
            await self._retired.pop().close()

    def _require_apns(self, url: httpx.URL) -> None:
        port = url.port or 443
        if (url.scheme, url.host, port) != ("https", self._gateway.host, self._gateway.port):
            # Not named in the text: the rest of the URL is a token.
            raise httpx.UnsupportedProtocol("This transport reaches APNs alone.")


def _lowered(request: httpx.Request) -> list[tuple[bytes, bytes]]:
    return [(name.lower(), value) for name, value in request.headers.raw]
