"""One client's connection to the lab's APNs: TLS in memory, h2 on top, answers from rules."""

from __future__ import annotations

import asyncio
import contextlib
import json
import uuid
from collections import Counter
from dataclasses import dataclass, field

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions
from cryptography.x509.oid import NameOID
from OpenSSL import SSL

from lifecycle.lab.answers import PushAnswer, PushRequest, answer
from lifecycle.lab.devices import DeviceRegistry
from lifecycle.lab.faults import ANSWERS, Fault, Faults
from lifecycle.lab.tls import H2, ServerTls

_READ = 65536
_MAX_BODY = 64 * 1024
_LINGER = 2.0


@dataclass
class Service:
    """What all connections of one gateway share."""

    tls: ServerTls
    devices: DeviceRegistry
    faults: Faults
    counts: Counter[tuple[str, int]]
    open: set[GatewayConnection] = field(default_factory=set)


@dataclass
class _Stream:
    headers: list[tuple[str, str]]
    body: bytearray = field(default_factory=bytearray)


class GatewayConnection(asyncio.Protocol):
    """Serves one connection.

    Args:
        service: shared with the others.
    """

    def __init__(self, service: Service) -> None:
        self._service = service
        self._transport: asyncio.Transport | None = None
        self._tls: SSL.Connection | None = None
        self._http: h2.connection.H2Connection | None = None
        self._topic = ""
        self._closes_after_first = False
        self._streams: dict[int, _Stream] = {}

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client has connected; in an outage it is cut off at once."""
        if not isinstance(transport, asyncio.Transport):
            raise TypeError("a stream transport is needed")
        self._transport = transport
        if self._service.faults.outage:
            transport.abort()
            return
        fault = self._service.faults.next_of_connection()
        if fault is Fault.REFUSE:
            transport.abort()
            return
        self._service.open.add(self)
        if fault is Fault.MUTE:
            return
        self._closes_after_first = fault is Fault.GOAWAY_AFTER_FIRST
        self._tls = self._service.tls.connection()
        if self._service.faults.handshake_delay:
            transport.pause_reading()
            asyncio.get_running_loop().call_later(
                self._service.faults.handshake_delay, self._resume
            )

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        """The client is gone."""
        self._service.open.discard(self)
        self._tls = self._http = None

    def data_received(self, data: bytes) -> None:
        """Ciphertext from the client."""
        if self._tls is None:
            return
        self._tls.bio_write(data)
        try:
            if self._http is None and not self._handshake():
                return
            self._read()
        except SSL.ZeroReturnError:
            self._close()
        except (SSL.Error, h2.exceptions.ProtocolError):
            self._flush()  # the alert, or the GOAWAY, that says why
            self._hang_up()

    def say_goodbye(self, reason: str, last_stream_id: int | None = None) -> None:
        """GOAWAY with the reason as debug data, as APNs does; then the connection closes."""
        if self._http is not None:
            self._http.close_connection(
                h2.errors.ErrorCodes.NO_ERROR,
                json.dumps({"reason": reason}).encode(),
                last_stream_id,
            )
            self._flush()
        self._close()

    def _resume(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    def _handshake(self) -> bool:
        tls = self._tls
        if tls is None:
            return False
        try:
            tls.do_handshake()
        except SSL.WantReadError:
            self._flush_tls()
            return False
        certificate = tls.get_peer_certificate(as_cryptography=True)
        if tls.get_alpn_proto_negotiated() != H2 or certificate is None:
            self._flush_tls()
            self._hang_up()
            return False
        names = certificate.subject.get_attributes_for_oid(NameOID.USER_ID)
        self._topic = str(names[0].value) if names else ""
        self._http = h2.connection.H2Connection(
            h2.config.H2Configuration(client_side=False, header_encoding="utf-8")
        )
        self._http.initiate_connection()
        self._flush()
        return True

    def _read(self) -> None:
        while self._tls is not None and self._http is not None:
            try:
                data = self._tls.recv(_READ)
            except SSL.WantReadError:
                break
            for event in self._http.receive_data(data):
                self._handle(event)
        self._flush()

    def _handle(self, event: h2.events.Event) -> None:
        if self._http is None:
            return
        if isinstance(event, h2.events.RequestReceived):
            headers = [(_text(name), _text(value)) for name, value in event.headers or []]
            self._streams[event.stream_id or 0] = _Stream(headers)
        elif isinstance(event, h2.events.DataReceived):
            self._http.acknowledge_received_data(
                event.flow_controlled_length or 0, event.stream_id or 0
            )
            stream = self._streams.get(event.stream_id or 0)
            if stream is not None and len(stream.body) <= _MAX_BODY:
                stream.body += event.data or b""
        elif isinstance(event, h2.events.StreamReset):
            self._streams.pop(event.stream_id or 0, None)
        elif isinstance(event, h2.events.StreamEnded):
            self._answer(event.stream_id or 0)
        elif isinstance(event, h2.events.ConnectionTerminated):
            self._close()

    def _answer(self, stream_id: int) -> None:
        stream = self._streams.pop(stream_id, None)
        if stream is None:
            return
        request = PushRequest(stream.headers, bytes(stream.body))
        fault = self._service.faults.next()
        if fault is Fault.STALL:
            return
        if fault is Fault.DROP:
            if self._transport is not None:
                self._transport.abort()
            self._tls = self._http = None
            return
        if fault is Fault.GOAWAY:
            self.say_goodbye("Shutdown")
            self._tls = self._http = None
            return
        if fault is None:
            said = answer(request, self._topic, self._service.devices)
        else:
            said = PushAnswer(*ANSWERS[fault])
        self._send(stream_id, request, said)
        if self._closes_after_first:
            self.say_goodbye("Shutdown", last_stream_id=stream_id)

    def _send(self, stream_id: int, request: PushRequest, said: PushAnswer) -> None:
        if self._http is None:
            return
        topic = request.one("apns-topic") or self._topic
        self._service.counts[topic, said.status] += 1
        apns_id = request.one("apns-id") or str(uuid.uuid4()).upper()
        body = said.body()
        self._http.send_headers(
            stream_id, [(":status", str(said.status)), ("apns-id", apns_id)], end_stream=not body
        )
        if body:
            self._http.send_data(stream_id, body, end_stream=True)

    def _flush(self) -> None:
        if self._http is not None and self._tls is not None:
            data = self._http.data_to_send()
            if data:
                self._tls.sendall(data)
        self._flush_tls()

    def _flush_tls(self) -> None:
        while self._tls is not None and self._transport is not None:
            try:
                self._transport.write(self._tls.bio_read(_READ))
            except SSL.WantReadError:
                return

    def _hang_up(self) -> None:
        """Closes our half only: were the socket closed while the client's bytes still come,
        its reset would overtake the alert."""
        self._tls = self._http = None
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write_eof()
            asyncio.get_running_loop().call_later(_LINGER, self._transport.close)

    def _close(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            if self._tls is not None and self._http is not None:
                with contextlib.suppress(SSL.Error):  # the client may have closed it already
                    self._tls.shutdown()
                self._flush_tls()
            self._transport.close()
        # Until the loop calls connection_lost, nothing may be written to what is shut.
        self._tls = self._http = None


def _text(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.decode("utf-8", "replace")
