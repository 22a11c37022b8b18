"""Runs an application behind uvicorn: TLS, signals, one log.

The server ends TLS itself where a certificate is configured; that certificate may be replaced on
disk at any time, and is taken up at the next connection.
"""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import ssl
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import structlog
import uvicorn
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lifecycle.errors import refuse

log = structlog.get_logger(__name__)

GRACE_SECONDS = 10
"""How long requests in hand may take after SIGTERM."""
GOODBYE_SECONDS = 0.3
IDLE_SECONDS = 75
"""Longer than the pause between two questions of an instance, so that it keeps its connection."""


@dataclass(frozen=True, slots=True)
class Listening:
    """Where and how to listen.

    Attributes:
        host, port: 0 takes a free port.
        certificate, key: chain and key in PEM, for TLS; None for plain HTTP.
        trusted_proxies: addresses whose ``X-Forwarded-*`` headers count.
    """

    host: str
    port: int
    certificate: Path | None = None
    key: Path | None = None
    trusted_proxies: tuple[str, ...] = ()


def listen(
    app: ASGIApp, where: Listening, *, ready: Callable[[str], None] = lambda _: None
) -> None:
    """Serves until SIGTERM or SIGINT; finishes the requests in hand.

    Args:
        ready: gets the URL once connections are accepted.

    Raises:
        Refused: ``address_unusable``, ``tls_certificate_unusable``.
    """
    prepared = prepare(app, where, ready=ready)
    # uvicorn hands a signal on when it has finished; nothing is left to be done for it then.
    before = {s: signal.signal(s, _nothing) for s in (signal.SIGTERM, signal.SIGINT)}
    try:
        prepared.run()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@dataclass(slots=True)
class Prepared:
    """A server that is bound to its address and does not serve yet.

    Attributes:
        url: where it will answer.
    """

    url: str
    _server: _Server
    _bound: socket.socket

    def run(self) -> None:
        """Serves until ``stop``, or a signal if this is the main thread."""
        with self._bound:
            self._server.run(sockets=[self._bound])

    def stop(self) -> None:
        """Lets ``run`` end after the requests in hand; from any thread."""
        self._server.should_exit = True


def prepare(
    app: ASGIApp, where: Listening, *, ready: Callable[[str], None] = lambda _: None
) -> Prepared:
    """Binds the address. Raises as ``listen``."""
    bound = _bind(where)
    url = _url(where, bound)
    return Prepared(url, _Server(_config(app, where), ready=lambda: ready(url)), bound)


def _nothing(_number: int, _frame: FrameType | None) -> None:
    return


def _bind(where: Listening) -> socket.socket:
    try:
        family = socket.AF_INET6 if ":" in where.host else socket.AF_INET
        # The protocol is named, because asyncio turns Nagle's algorithm off only where it is.
        bound = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((where.host, where.port))
    except OSError as error:
        raise refuse(
            "address_unusable",
            f"{where.host} port {where.port} cannot be listened on ({error.strerror or error}).",
            "Choose another host or port in config.toml, or stop what listens there.",
        ) from None
    return bound


def _url(where: Listening, bound: socket.socket) -> str:
    scheme = "http" if where.certificate is None else "https"
    host = f"[{where.host}]" if ":" in where.host else where.host
    return f"{scheme}://{host}:{bound.getsockname()[1]}"


def _config(app: ASGIApp, where: Listening) -> uvicorn.Config:
    config = uvicorn.Config(
        AccessLog(app),
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=bool(where.trusted_proxies),
        forwarded_allow_ips=list(where.trusted_proxies),
        timeout_graceful_shutdown=GRACE_SECONDS,
        timeout_keep_alive=IDLE_SECONDS,
        lifespan="off",
        ws="none",
        h11_max_incomplete_event_size=64 * 1024,
    )
    if where.certificate is not None and where.key is not None:
        config.load()
        config.ssl = tls_context(where.certificate, where.key)
    return config


def tls_context(certificate: Path, key: Path) -> ssl.SSLContext:
    """TLS 1.2 and later with this certificate, read anew when its files have changed.

    Raises:
        Refused: ``tls_certificate_unusable``.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    try:
        context.load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as error:
        raise refuse(
            "tls_certificate_unusable",
            f"{certificate} and {key} cannot be used for TLS ({error}).",
            "Give a PEM file with the chain and one with its key, in serve.certificate and"
            " serve.key of config.toml.",
        ) from None
    seen = _changed_at(certificate, key)

    def renew(_object: ssl.SSLObject, _name: str | None, offered: ssl.SSLContext) -> None:
        nonlocal seen
        found = _changed_at(certificate, key)
        if found != seen:
            # Half-written files, or a pair that does not fit: the one in use goes on serving.
            with suppress(OSError, ssl.SSLError):
                offered.load_cert_chain(certificate, key)
                seen = found
                log.info("tls_certificate_renewed")

    context.sni_callback = renew
    return context


def _changed_at(*files: Path) -> tuple[int, ...]:
    with suppress(OSError):
        return tuple(file.stat().st_mtime_ns for file in files)
    return ()


class _Server(uvicorn.Server):
    """Tells when it accepts connections, and does not wait for idle clients at its end."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """See uvicorn."""
        await super().startup(sockets)
        if self.started:
            self._ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """See uvicorn."""
        hanging_up = asyncio.create_task(self._hang_up())
        try:
            await super().shutdown(sockets)
        finally:
            hanging_up.cancel()

    async def _hang_up(self) -> None:
        """Breaks connections that are being closed and are not closed a moment later.

        TLS waits for the other side's goodbye, and an instance between two questions does not
        listen: each of them would hold up the end for as long as requests in hand may take.
        """
        while True:
            closing = [c for c in self.server_state.connections if c.transport.is_closing()]
            await asyncio.sleep(GOODBYE_SECONDS)
            for connection in closing:
                connection.transport.abort()


class AccessLog:
    """ASGI middleware: one line for each request, with the route and not the path.

    A path can hold the token of a calendar feed; the route says ``{token}``.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status = 0

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = int(message["status"])
            await send(message)

        try:
            await self._app(scope, receive, noting)
        finally:
            route: Any = scope.get("route")
            log.info(
                "request",
                method=scope["method"],
                route=getattr(route, "path", "none"),
                status=status,
            )


def announce(url: str) -> None:
    """Tells on stdout, in one line of JSON, that the server is ready."""
    print(json.dumps({"url": url}), flush=True, file=sys.stdout)
