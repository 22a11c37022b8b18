"""Pushing: one connection per push certificate, bounded retries, no exceptions.

Every push ends as an ``Answer``. What went wrong on the way is its ``fault``: exceptions of
the libraries below carry URLs, and the URL of a push is the device token.

APNs takes a loop of new connections for abuse (FACTS.md). So however many pushes wait, one of
them opens the connection; one that broke is replaced after a wait that grows with each failure
in a row, and a push must be answered on the new one before the others follow; and after as many
failures in a row as a push has attempts, all that still wait are given up.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
import re
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Any, Self

from lifecycle.apns.faults import Fault, Stage, Trouble, trouble_of
from lifecycle.apns.gateway import Gateway
from lifecycle.apns.http2 import Answered
from lifecycle.apns.identity import ClientIdentity
from lifecycle.apns.pace import Pace, Unpaced
from lifecycle.apns.push import Answer, Push
from lifecycle.apns.quiet import discreet
from lifecycle.apns.reasons import Reason, meaning, read_reason
from lifecycle.apns.retry import RetryPolicy
from lifecycle.apns.transport import ApnsTransport

__all__ = ["ApnsClient", "RetryPolicy", "Sleep", "send"]

Sleep = Callable[[float], Awaitable[None]]

IN_FLIGHT = 100
"""Pushes of one call under way at one time; the others wait without their time running."""
BUSY = frozenset({429, 503})
"""Answers by which APNs says that it is asked too much."""
_UUID = re.compile(rb"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_log = logging.getLogger(__name__)


class ApnsClient:
    """Pushes with one push certificate. Use it as an async context manager.

    Args:
        identity: the push certificate and its key.
        gateway: where to.
        retry: how often.
        pace: limits new connections, and is told of trouble.
        sleep, rng: for the waits between attempts.
        monotonic: seconds, for the deadline.
    """

    def __init__(
        self,
        identity: ClientIdentity,
        gateway: Gateway,
        *,
        retry: RetryPolicy | None = None,
        pace: Pace | None = None,
        sleep: Sleep = asyncio.sleep,
        rng: random.Random | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._gateway = gateway
        self._retry = retry or RetryPolicy()
        self._pace = pace or Unpaced()
        self._sleep = sleep
        self._rng = rng or random.SystemRandom()
        self._monotonic = monotonic
        self._transport = ApnsTransport(gateway, identity, self._pace)
        self._authority = gateway.base_url.removeprefix("https://").encode("ascii")
        self._opened = False
        self._opening = asyncio.Lock()
        self._rounds = 0
        self._failures = 0
        self._broken = 0
        self._trouble = Trouble.lost()

    async def __aenter__(self) -> Self:
        """Makes ready; nothing is sent yet. Raises ``Refused`` as ``ClientTls.require``."""
        self._gateway.tls.require()
        self._opened = True
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._opened = False
        try:
            await self._transport.aclose()
        except Exception as error:  # noqa: BLE001  (a goodbye that fails harms nobody)
            _log.debug("closing a connection failed: %s", type(error).__name__)

    async def push(self, push: Push) -> Answer:
        """Sends one push; tries again where FACTS.md allows it, with the same ``apns-id``."""
        (answer,) = await self.push_all([push])
        return answer

    async def push_all(self, pushes: Sequence[Push]) -> list[Answer]:
        """Sends many on one connection; one answer for each, in order."""
        if not self._opened:
            raise RuntimeError("the client is not open")
        if self._rounds == 0:
            self._failures = 0  # a new start: what failed an hour ago says nothing about now
        self._rounds += 1
        try:
            with discreet():
                answers: dict[int, Answer] = {}
                todo = iter(enumerate(pushes))

                async def deliver() -> None:
                    for number, push in todo:
                        answers[number] = await self._deliver(push)

                async with asyncio.TaskGroup() as group:
                    for _ in range(min(IN_FLIGHT, len(pushes))):
                        group.create_task(deliver())
                return [answers[number] for number in range(len(pushes))]
        finally:
            self._rounds -= 1

    async def _deliver(self, push: Push) -> Answer:
        """All attempts of one push."""
        until = self._monotonic() + self._retry.deadline
        answer: Answer | None = None
        for attempt in range(1, self._retry.attempts + 1):
            if attempt > 1 and not await self._waited(attempt, until):
                break
            outcome = await self._attempt(push, until)
            if outcome is None:
                break
            if isinstance(outcome, Trouble):
                answer = _unanswered(push, outcome, attempt)
                again = outcome.retry
            elif outcome.status == 200:
                return outcome if attempt == 1 else replace(outcome, attempts=attempt)
            else:
                answer = replace(outcome, attempts=attempt)
                again = meaning(outcome.status or 0, outcome.reason).retry
            if not again:
                break
        return answer or _unanswered(push, self._trouble, 0)

    async def _waited(self, attempt: int, until: float) -> bool:
        """Waits before another attempt; False if it would begin too late.

        Without a connection there is no wait here: the one who opens the next waits for all.
        """
        if self._failures and not self._transport.is_open:
            return True
        wait = self._retry.wait(attempt, self._rng)
        if self._monotonic() + wait >= until:
            return False
        await self._sleep(wait)
        return True

    async def _attempt(self, push: Push, until: float) -> Answer | Trouble | None:
        """One attempt; None if none was made, because there is no connection to be had."""
        if self._transport.is_open and not self._failures:
            return await self._exchange(push)
        async with self._opening:
            if self._hopeless():
                return None
            if not self._transport.is_open:
                if self._failures:
                    wait = self._retry.wait(self._failures + 1, self._rng)
                    if self._monotonic() + wait >= until:
                        return None
                    await self._sleep(wait)
                trouble = await self._open()
                if trouble is not None:
                    return trouble
            if self._failures:
                return await self._exchange(push)
        return await self._exchange(push)

    async def _open(self) -> Trouble | None:
        try:
            await self._transport.open(self._retry.timeout)
        except Exception as error:  # noqa: BLE001  (its text may hold the token)
            return self._failed(_named(error, Stage.CONNECTING), connection=True)
        return None

    async def _exchange(self, push: Push) -> Answer | Trouble:
        """Sends a push and waits for its answer. Raises nothing of what goes wrong on the way."""
        connection = self._transport.opened
        body = push.payload()
        timeout = self._retry.timeout
        try:
            response = await self._transport.exchange(
                push.fields(self._authority, body), body, timeout, timeout
            )
        except Exception as error:  # noqa: BLE001  (its text may hold the token)
            broke = not self._transport.is_open and self._broken < connection
            if broke:
                self._broken = connection
            return self._failed(_named(error, Stage.OPEN), connection=broke)
        self._failures = 0
        answer = read_answer(push, response)
        if answer.status in BUSY:
            self._pace.trouble()
            if answer.reason == Reason.SHUTDOWN:
                self._transport.leave()  # this server is going; the next finds another
        return answer

    def _failed(self, trouble: Trouble, *, connection: bool) -> Trouble:
        """Notes a failure; that of a connection only once, by the first on it to notice."""
        self._trouble = trouble
        if connection:
            self._failures += 1
            self._transport.leave()
        if trouble.retry:
            self._pace.trouble()
        return trouble

    def _hopeless(self) -> bool:
        return self._trouble.lasting or self._failures >= self._retry.attempts


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

    Not for a thread in which an event loop runs: there, use ``ApnsClient``.

    Returns:
        One answer for each push, in order. Nothing is raised for what APNs or the network do.

    Raises:
        Refused: ``apns_ca_unreadable``.
    """

    async def all_of_them() -> list[Answer]:
        async with ApnsClient(identity, gateway, retry=retry, sleep=sleep, rng=rng) as client:
            return await client.push_all(pushes)

    return asyncio.run(all_of_them())


def _unanswered(push: Push, trouble: Trouble, attempts: int) -> Answer:
    return Answer(
        str(push.apns_id),
        push.token.fingerprint,
        fault=trouble.fault.value,
        attempts=attempts,
        detail=None if trouble.detail is None else str(trouble.detail),
    )


def read_answer(push: Push, response: Answered) -> Answer:
    """What a whole response to ``push`` says; for any body there is an answer."""
    document: dict[str, Any] = {}
    if response.status != 200:
        try:
            parsed = json.loads(response.body)
        except (ValueError, RecursionError):
            parsed = None
        document = parsed if isinstance(parsed, dict) else {}
    return Answer(
        apns_id=_uuid(dict(response.headers).get(b"apns-id")) or str(push.apns_id),
        token_fingerprint=push.token.fingerprint,
        status=response.status,
        reason=read_reason(document),
        timestamp=_instant(document.get("timestamp")),
    )


def _uuid(text: bytes | None) -> str | None:
    """In lower case; None for what is no UUID: the other side might say a token there."""
    if text is None or _UUID.fullmatch(text) is None:
        return None
    return text.decode("ascii").lower()


def _instant(milliseconds: object) -> datetime | None:
    if not isinstance(milliseconds, int) or isinstance(milliseconds, bool):
        return None
    try:
        return _EPOCH + timedelta(milliseconds=milliseconds)
    except OverflowError:
        return None


def _named(error: Exception, stage: Stage) -> Trouble:
    """What went wrong. One that was not foreseen is logged by its place, without its text."""
    trouble = trouble_of(error, stage)
    if trouble.fault is Fault.DEFECT:
        trace = error.__traceback__
        while trace is not None and trace.tb_next is not None:
            trace = trace.tb_next
        place = "?" if trace is None else f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}"
        _log.error("a push met an unforeseen %s at %s", type(error).__name__, place)
    return trouble
