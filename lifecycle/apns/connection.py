"""One connection to APNs: TLS in memory over a socket, HTTP/2 on top, many requests at once.

- No request goes out before APNs has said its first word. A server that refuses a client
  certificate under TLS 1.3 does so only after the client thinks the handshake done; were a push
  sent at once, nobody could say whether it arrived. HTTP/2 lets a client wait for the server's
  SETTINGS once its own preface is out (RFC 9113, section 3.4); it costs one round trip.
- A GOAWAY ends what it says it ends: requests that the server still answers are answered.
- A request that is abandoned (a timeout) is reset, and the others go on.
- What is written within one turn of the event loop goes out in one TLS record.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque

from OpenSSL import SSL

from lifecycle.apns.dial import dial
from lifecycle.apns.faults import (
    Fault,
    NoAnswer,
    NotHttp2,
    Stage,
    Trouble,
    goaway_trouble,
    reset_trouble,
    trouble_of,
)
from lifecycle.apns.gateway import Gateway
from lifecycle.apns.http2 import Answered, Broken, Goodbye, Http2
from lifecycle.apns.identity import ClientIdentity
from lifecycle.apns.pace import Pace
from lifecycle.apns.tls import H2

_READ = 16 * 1024
"""A TLS record's worth."""
GOODBYE = 1.0
"""Seconds in which what is still to be written must be gone when a connection is closed."""


class Connection(asyncio.Protocol):
    """Opened once by ``open``, closed by ``close``, never reopened.

    Args:
        gateway: where to.
        identity: whose.
        pace: asked before the connection is made.

    Attributes:
        stage: how far it has come.
        heard: how many times something was read; a connection where this stands still is dead.
    """

    def __init__(self, gateway: Gateway, identity: ClientIdentity, pace: Pace) -> None:
        self.stage = Stage.CONNECTING
        self.heard = 0
        self._gateway = gateway
        self._pace = pace
        self._tls = gateway.tls.begin(identity)
        self._http = Http2()
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._opened: asyncio.Future[None] = self._loop.create_future()
        self._lost: asyncio.Future[None] = self._loop.create_future()
        self._waiting: dict[int, asyncio.Future[Answered]] = {}
        self._queue: deque[asyncio.Future[None]] = deque()
        self._ending: Trouble | None = None
        self._flush_is_due = False

    @property
    def takes_requests(self) -> bool:
        """False before it is open, and once it has broken or the server has said goodbye."""
        return self.stage is Stage.OPEN and self._ending is None

    async def open(self) -> None:
        """Connects, and waits for the server's first word, for as long as the caller does.

        Raises:
            NoAnswer: there is no connection to be had.
        """
        try:
            await dial(self._gateway, self, self._pace)
            await self._opened
        except asyncio.CancelledError:
            self._abort()
            raise
        except NoAnswer:
            raise
        except Exception as error:  # noqa: BLE001  (every one has a name in trouble_of)
            self._abort()
            raise NoAnswer(trouble_of(error, self.stage)) from None

    async def request(
        self, headers: list[tuple[bytes, bytes]], body: bytes, timeout: float | None = None
    ) -> Answered:
        """Sends a request and waits for the response.

        Args:
            timeout: seconds that the response may take once the request is on its way; None
                waits for as long as the caller does.

        Raises:
            NoAnswer: the stream or the connection broke before the response was whole, or
                time was up (``stalled``).
        """
        while self._ending is None and not self._http.has_room:
            turn = self._loop.create_future()
            self._queue.append(turn)
            await turn
        if self._ending is not None or self.stage is not Stage.OPEN:
            raise NoAnswer(self._ending or Trouble.lost())
        stream_id = self._http.request(headers, body)
        answer: asyncio.Future[Answered] = self._loop.create_future()
        self._waiting[stream_id] = answer
        self._flush_soon()
        # Not asyncio.timeout: at thousands of pushes a second its bookkeeping shows.
        alarm = None if timeout is None else self._loop.call_later(timeout, _stall, answer)
        try:
            return await answer
        finally:
            if alarm is not None:
                alarm.cancel()
            if self._waiting.pop(stream_id, None) is not None:
                self._http.abandon(stream_id)
                self._flush_soon()
            self._next_in_queue()

    async def close(self) -> None:
        """Says goodbye and hangs up; what is under way is lost. Safe to repeat."""
        self._end(Trouble.lost())
        transport = self._transport
        if transport is None or self._lost.done():
            return
        if not transport.is_closing():
            # It may be beyond goodbyes: the other side has hung up, or broke TLS.
            with contextlib.suppress(SSL.Error):
                self._http.say_goodbye()
                self._flush()
                self._tls.shutdown()
            self._write_ciphertext()
            transport.close()
        if transport.get_write_buffer_size():
            await asyncio.wait([self._lost], timeout=GOODBYE)
            transport.abort()
        self._transport = None

    # What the event loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """TCP (or the proxy's tunnel) stands: the handshake begins."""
        if not isinstance(transport, asyncio.Transport):
            raise TypeError("a stream transport is needed")
        self._transport = transport
        try:
            self._tls.do_handshake()
        except SSL.WantReadError:
            self._write_ciphertext()

    def data_received(self, data: bytes) -> None:
        """Ciphertext from the server."""
        self.heard += 1
        try:
            self._tls.bio_write(data)
            if self.stage is Stage.CONNECTING:
                self._shake_hands()
            while self.stage is not Stage.CONNECTING:
                self._take(self._tls.recv(_READ))
        except SSL.WantReadError:
            self._flush()
        except Exception as error:  # noqa: BLE001  (every one has a name in trouble_of)
            with contextlib.suppress(SSL.Error):
                self._write_ciphertext()  # the alert that tells the server why
            self._fail(error)

    def connection_lost(self, exc: Exception | None) -> None:
        """The socket is gone."""
        self._fail(exc or EOFError())
        if not self._lost.done():
            self._lost.set_result(None)

    # The inside

    def _shake_hands(self) -> None:
        """Raises ``SSL.WantReadError`` while more must come."""
        self._tls.do_handshake()
        if self._tls.get_alpn_proto_negotiated() != H2:
            raise NotHttp2
        self.stage = Stage.GREETING
        self._flush()

    def _take(self, data: bytes) -> None:
        for event in self._http.receive(data):
            if isinstance(event, Answered):
                waiter = self._waiting.pop(event.stream_id, None)
                if waiter is not None and not waiter.done():
                    waiter.set_result(event)
            elif isinstance(event, Broken):
                self._settle(event.stream_id, reset_trouble(event.error_code))
            elif isinstance(event, Goodbye):
                self._take_goodbye(event)
        if self.stage is Stage.GREETING and self._http.greeted:
            self.stage = Stage.OPEN
            if not self._opened.done():
                self._opened.set_result(None)

    def _take_goodbye(self, goodbye: Goodbye) -> None:
        """Requests that the server will not look at are over, the others may end."""
        self._ending = goaway_trouble(goodbye.debug_data)
        for stream_id in [n for n in self._waiting if n > goodbye.last_stream_id]:
            self._settle(stream_id, self._ending)
        if not self._opened.done():
            self._opened.set_exception(NoAnswer(self._ending))
        self._wake_queue()

    def _fail(self, error: Exception) -> None:
        self._end(trouble_of(error, self.stage))
        if self._transport is not None and not self._transport.is_closing():
            self._transport.close()

    def _end(self, trouble: Trouble) -> None:
        """Nothing more will come. A reason given in a GOAWAY says more than the end itself."""
        self._ending = self._ending or trouble
        if not self._opened.done():
            self._opened.set_exception(NoAnswer(self._ending))
            self._opened.exception()  # nobody may be waiting any more
        for stream_id in list(self._waiting):
            self._settle(stream_id, self._ending)
        self._wake_queue()

    def _settle(self, stream_id: int, trouble: Trouble) -> None:
        waiter = self._waiting.pop(stream_id, None)
        if waiter is not None and not waiter.done():
            waiter.set_exception(NoAnswer(trouble))

    def _wake_queue(self) -> None:
        while self._queue:
            self._next_in_queue()

    def _next_in_queue(self) -> None:
        while self._queue:
            turn = self._queue.popleft()
            if not turn.done():
                turn.set_result(None)
                return

    def _flush_soon(self) -> None:
        if not self._flush_is_due:
            self._flush_is_due = True
            self._loop.call_soon(self._flush_due)

    def _flush_due(self) -> None:
        try:
            self._flush()
        except SSL.Error as error:
            self._fail(error)

    def _flush(self) -> None:
        self._flush_is_due = False
        if self.stage is not Stage.CONNECTING:
            data = self._http.data_to_send()
            if data:
                self._tls.sendall(data)
        self._write_ciphertext()

    def _write_ciphertext(self) -> None:
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        try:
            while True:
                transport.write(self._tls.bio_read(_READ))
        except SSL.WantReadError:
            return  # all of it is written

    def _abort(self) -> None:
        self._end(Trouble.lost())
        if self._transport is not None:
            self._transport.abort()


def _stall(answer: asyncio.Future[Answered]) -> None:
    if not answer.done():
        answer.set_exception(NoAnswer(Trouble(Fault.STALLED)))
