"""Opening a connection: TCP to one of APNs's addresses, or a proxy's tunnel."""

from __future__ import annotations

import asyncio
import base64
import socket
import ssl
from urllib.parse import SplitResult, unquote, urlsplit

import certifi

from lifecycle.apns.addresses import Address
from lifecycle.apns.faults import ProxyRefused
from lifecycle.apns.gateway import Gateway
from lifecycle.apns.pace import Pace

_LONGEST_HEAD = 16 * 1024


async def dial(gateway: Gateway, protocol: asyncio.Protocol, pace: Pace) -> None:
    """Connects ``protocol`` to ``gateway``; TLS is its own business.

    Raises:
        OSError: the network, or the proxy's (``ssl.SSLError`` too).
        EOFError: the proxy hung up.
        ProxyRefused: the proxy answered, and not with 2xx.
    """
    if gateway.proxy is not None:
        await pace.enter(gateway.host)
        await _tunnel(gateway, urlsplit(gateway.proxy), protocol)
        return
    loop = asyncio.get_running_loop()
    failure: OSError = OSError("no address")
    for address in await gateway.addresses.in_turn():
        await pace.enter(address.name)
        try:
            connected = await _connect(loop, address)
        except OSError as error:
            failure = error
            continue
        await loop.create_connection(lambda: protocol, sock=connected)
        return
    raise failure


async def _connect(loop: asyncio.AbstractEventLoop, address: Address) -> socket.socket:
    made = socket.socket(address.family, socket.SOCK_STREAM)
    try:
        made.setblocking(False)
        await loop.sock_connect(made, address.sockaddr)
    except BaseException:
        made.close()
        raise
    return made


class _Tunnel(asyncio.Protocol):
    """Waits for a proxy's answer to CONNECT."""

    def __init__(self, answered: asyncio.Future[bytes]) -> None:
        self._answered = answered
        self._head = b""

    def data_received(self, data: bytes) -> None:
        """Part of the answer. What lies beyond it would be the server's first word, and in TLS
        the first word is ours."""
        self._head += data
        if b"\r\n\r\n" in self._head or len(self._head) > _LONGEST_HEAD:
            self._settle(None)

    def connection_lost(self, exc: Exception | None) -> None:
        """The proxy hung up."""
        self._settle(exc or EOFError())

    def _settle(self, error: Exception | None) -> None:
        if self._answered.done():
            return
        if error is None:
            self._answered.set_result(self._head)
        else:
            self._answered.set_exception(error)


async def _tunnel(gateway: Gateway, proxy: SplitResult, protocol: asyncio.Protocol) -> None:
    """Connects through a proxy (CONNECT, RFC 9110 section 9.3.6)."""
    loop = asyncio.get_running_loop()
    answered: asyncio.Future[bytes] = loop.create_future()
    secured = proxy.scheme == "https"
    transport, _ = await loop.create_connection(
        lambda: _Tunnel(answered),
        proxy.hostname or "",  # Gateway has seen to it that there is one
        proxy.port or (443 if secured else 80),
        ssl=ssl.create_default_context(cafile=certifi.where()) if secured else None,
    )
    try:
        authority = gateway.base_url.removeprefix("https://")
        lines = [f"CONNECT {authority} HTTP/1.1", f"Host: {authority}"]
        if proxy.username is not None:
            pair = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}"
            lines.append(f"Proxy-Authorization: Basic {base64.b64encode(pair.encode()).decode()}")
        transport.write("\r\n".join((*lines, "", "")).encode())
        require_success(await answered)
    except BaseException:
        transport.abort()
        raise
    transport.set_protocol(protocol)
    protocol.connection_made(transport)


def require_success(answer: bytes) -> None:
    """Raises ``ProxyRefused`` unless a proxy's answer begins like ``HTTP/1.1 200``."""
    status = (answer.split(b" ", 2)[1:2] or [b""])[0][:3].decode("ascii", "replace")
    if not (status.isdecimal() and status[0] == "2"):
        raise ProxyRefused(status)
