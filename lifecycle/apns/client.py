"""Pushing: one HTTP/2 connection per push certificate, bounded retries, no exceptions.

Every push ends as an ``Answer``. What went wrong on the way is its ``fault``: exceptions of
the libraries below carry URLs, and the URL of a push is the device token.
"""

from __future__ import annotations

import asyncio
import logging
import random
import ssl
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self

import httpx

from lifecycle.apns.gateway import Gateway
from lifecycle.apns.identity import ClientIdentity, client_context
from lifecycle.apns.push import Answer, Push
from lifecycle.apns.reasons import meaning

Sleep = Callable[[float], Awaitable[None]]

UNREACHABLE = "apns_unreachable"
REFUSED = "certificate_refused"
LOST = "connection_lost"
STALLED = "stalled"
NO_HTTP2 = "no_http2"
UNTRUSTED = "server_untrusted"

_RETRIED_FAULTS = frozenset({UNREACHABLE, LOST, STALLED})
_MAX_BODY = 16 * 1024
_TALKATIVE = (
    "httpx",
    "httpcore.connection",
    "httpcore.http2",
    "httpcore.proxy",
    "hpack.hpack",
    "hpack.table",
)


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often a push is tried, and how long between.

    Attributes:
        attempts: at most, the first one included.
        base, cap: seconds; the wait before attempt n is random up to ``base * 2**(n-2)``, and
            at most ``cap`` ("full jitter").
        timeout: seconds without an answer after which an attempt counts as stalled.
    """

    attempts: int = 4
    base: float = 0.5
    cap: float = 8.0
    timeout: float = 10.0

    def wait(self, attempt: int, rng: random.Random) -> float:
        """Seconds to wait before attempt number ``attempt`` (2 is the first retry)."""
        return rng.uniform(0, min(self.cap, self.base * 2 ** (attempt - 2)))


class ApnsClient:
    """A connection to APNs with one push certificate. Use it as an async context manager.

    Args:
        identity: the push certificate and its key.
        gateway: where to.
        retry: how often.
        sleep, rng: for the waits between attempts.
    """

    def __init__(
        self,
        identity: ClientIdentity,
        gateway: Gateway,
        *,
        retry: RetryPolicy | None = None,
        sleep: Sleep = asyncio.sleep,
        rng: random.Random | None = None,
    ) -> None:
        self._identity = identity
        self._gateway = gateway
        self._retry = retry or RetryPolicy()
        self._sleep = sleep
        self._rng = rng or random.SystemRandom()
        self._http: httpx.AsyncClient | None = None

    async def __aenter__(self) -> Self:
        _quieten()
        self._http = self._open()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._http is not None:
            await self._http.aclose()
            self._http = None

    async def push(self, push: Push) -> Answer:
        """Sends one push; tries again where FACTS.md allows it, with the same ``apns-id``."""
        answer = await self._attempt(push)
        for attempt in range(2, self._retry.attempts + 1):
            if not _may_retry(answer):
                return answer
            await self._sleep(self._retry.wait(attempt, self._rng))
            answer = replace(await self._attempt(push), attempts=attempt)
        return answer

    async def push_all(self, pushes: Sequence[Push]) -> list[Answer]:
        """Sends many on one connection: the first one opens it, the others follow together."""
        if not pushes:
            return []
        first = await self.push(pushes[0])
        if first.fault is not None:
            # There is no connection to be had: one probe of that is enough for Apple.
            return [first, *(replace(_unanswered(p), fault=first.fault) for p in pushes[1:])]
        return [first, *await asyncio.gather(*(self.push(p) for p in pushes[1:]))]

    def _open(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(
            http1=False,
            http2=True,
            verify=client_context(self._gateway, self._identity),
            base_url=self._gateway.base_url,
            proxy=self._gateway.proxy,
            timeout=self._retry.timeout,
            limits=httpx.Limits(max_connections=1, max_keepalive_connections=1),
            trust_env=False,
        )

    async def _attempt(self, push: Push) -> Answer:
        if self._http is None:
            raise RuntimeError("the client is not open")
        try:
            response = await asyncio.wait_for(
                self._http.post(
                    f"/3/device/{push.token.hex}", content=push.payload(), headers=push.headers()
                ),
                self._retry.timeout,
            )
        except (httpx.HTTPError, httpx.InvalidURL, OSError, TimeoutError) as error:
            return replace(_unanswered(push), fault=fault_of(error))
        return _answer(push, response)


def send(
    identity: ClientIdentity,
    gateway: Gateway,
    pushes: Sequence[Push],
    *,
    retry: RetryPolicy | None = None,
    sleep: Sleep = asyncio.sleep,
    rng: random.Random | None = None,
) -> list[Answer]:
    """Sends pushes with one certificate, from code that is not asynchronous.

    Returns:
        One answer for each push, in order. Nothing is raised for what APNs or the network do.
    """

    async def all_of_them() -> list[Answer]:
        async with ApnsClient(identity, gateway, retry=retry, sleep=sleep, rng=rng) as client:
            return await client.push_all(pushes)

    return asyncio.run(all_of_them())


def fault_of(error: BaseException) -> str:
    """Names what went wrong, from an exception and its causes; repeats none of their text.

    With TLS 1.3 a refusal of the client certificate arrives as an alert on the first read,
    after the handshake seemed done (FACTS.md), so it may hide below a read error.
    """
    chain = _causes(error)
    for link in chain:
        if isinstance(link, ssl.SSLCertVerificationError):
            return UNTRUSTED
        if isinstance(link, ssl.SSLError) and _is_refusal(link):
            return REFUSED
    if any("ALERT" in str(link).upper() and "CERTIFICATE" in str(link).upper() for link in chain):
        return REFUSED
    if any(isinstance(link, httpx.UnsupportedProtocol) for link in chain):
        return NO_HTTP2
    if any(isinstance(link, httpx.ConnectError | httpx.ConnectTimeout) for link in chain):
        return UNREACHABLE
    if any(isinstance(link, httpx.TimeoutException | TimeoutError) for link in chain):
        return STALLED
    return LOST


def _is_refusal(error: ssl.SSLError) -> bool:
    reason = (error.reason or str(error)).upper()
    return "ALERT" in reason and any(
        word in reason for word in ("CERTIFICATE", "UNKNOWN_CA", "UNKNOWN CA", "ACCESS_DENIED")
    )


def _causes(error: BaseException) -> list[BaseException]:
    chain: list[BaseException] = []
    link: BaseException | None = error
    while link is not None and link not in chain:
        chain.append(link)
        link = link.__cause__ or link.__context__
    return chain


def _may_retry(answer: Answer) -> bool:
    if answer.status is None:
        return answer.fault in _RETRIED_FAULTS
    return meaning(answer.status, answer.reason).retry


def _unanswered(push: Push) -> Answer:
    return Answer(str(push.apns_id), push.token.fingerprint, fault=LOST)


def _answer(push: Push, response: httpx.Response) -> Answer:
    document = _document(response)
    reason = document.get("reason")
    moment = document.get("timestamp")
    return Answer(
        apns_id=response.headers.get("apns-id", str(push.apns_id)),
        token_fingerprint=push.token.fingerprint,
        status=response.status_code,
        reason=reason[:64] if isinstance(reason, str) else None,
        timestamp=_instant(moment) if isinstance(moment, int) else None,
    )


def _document(response: httpx.Response) -> dict[str, Any]:
    if response.status_code == 200 or not 0 < len(response.content) <= _MAX_BODY:
        return {}
    try:
        document = response.json()
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


def _instant(milliseconds: int) -> datetime | None:
    try:
        return datetime.fromtimestamp(milliseconds / 1000, UTC)
    except (ValueError, OverflowError, OSError):
        return None


class _Silence(logging.Filter):
    """Drops everything: these loggers write URLs and header frames, and a token is in both."""

    def filter(self, record: logging.LogRecord) -> bool:  # noqa: ARG002
        return False


def _quieten() -> None:
    for name in _TALKATIVE:
        talkative = logging.getLogger(name)
        if not any(isinstance(f, _Silence) for f in talkative.filters):
            talkative.addFilter(_Silence())
