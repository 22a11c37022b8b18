"""The client's side of HTTP/2 as far as APNs needs it: bytes in, events out, no I/O (RFC 9113).

A general library gives more than half of its time to what never happens on a connection that
carries four short requests, and takes a GOAWAY for the end of everything, though the server goes
on to answer the requests that it had taken on (section 6.8). Responses' headers are hpack's.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

import hpack

from lifecycle.apns.field_block import pack

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
MAX_BODY = 16 * 1024
"""Bytes of a response that are kept; APNs's are some 50."""
NO_ERROR = 0x0
CANCEL = 0x8

_HEAD = struct.Struct(">IBI")
_SETTING = struct.Struct(">HI")
_WORD = struct.Struct(">I")
_DATA, _HEADERS, _RST_STREAM, _SETTINGS = 0x0, 0x1, 0x3, 0x4
_PUSH_PROMISE, _PING, _GOAWAY, _WINDOW_UPDATE, _CONTINUATION = 0x5, 0x6, 0x7, 0x8, 0x9
_END_STREAM = _ACK = 0x1
_END_HEADERS, _PADDED, _PRIORITY = 0x4, 0x8, 0x20
_ENABLE_PUSH, _MAX_CONCURRENT_STREAMS = 0x2, 0x3
_INITIAL_WINDOW_SIZE, _MAX_FRAME_SIZE = 0x4, 0x5
_MAX_FRAME = 16_384
"""Of frames that come in; we announce nothing larger than the default (section 4.2)."""
_MAX_BLOCK = 64 * 1024
"""Of a header block in several frames."""
_DEFAULT_WINDOW = 65_535
_LARGEST_WINDOW = 2**31 - 1
_REPLENISH = 16_384
"""Bytes received after which the server is told that it may send as many more."""


class Http2Error(Exception):
    """What came in is not HTTP/2, or breaks its rules. The text repeats nothing of it."""


@dataclass(frozen=True, slots=True)
class Answered:
    """A response is whole."""

    stream_id: int
    status: int
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes


@dataclass(frozen=True, slots=True)
class Broken:
    """The server broke a request off with RST_STREAM."""

    stream_id: int
    error_code: int


@dataclass(frozen=True, slots=True)
class Goodbye:
    """A GOAWAY: the last request that the server looks at, and what it says about why."""

    last_stream_id: int
    debug_data: bytes


Event = Answered | Broken | Goodbye


@dataclass(slots=True)
class _Stream:
    window: int
    unsent: bytes = b""
    status: int = 0
    headers: tuple[tuple[bytes, bytes], ...] = ()
    body: bytearray = field(default_factory=bytearray)
    taken: int = 0
    """Bytes of DATA since the last WINDOW_UPDATE."""


class Http2:
    """One connection's state. Not for several threads.

    Attributes:
        greeted: True once the server's SETTINGS have come, which must be its first word.
    """

    def __init__(self) -> None:
        self.greeted = False
        self._out = bytearray(PREFACE)
        self._write(_SETTINGS, 0, 0, _SETTING.pack(_ENABLE_PUSH, 0))
        self._rest = b""
        self._streams: dict[int, _Stream] = {}
        self._next_id = 1
        self._window = _DEFAULT_WINDOW
        self._taken = 0
        self._their_initial_window = _DEFAULT_WINDOW
        self._their_max_frame = _MAX_FRAME
        self._their_max_streams = _LARGEST_WINDOW
        self._decoder = hpack.Decoder(max_header_list_size=_MAX_BLOCK)
        self._block: tuple[int, int, bytearray] | None = None

    @property
    def has_room(self) -> bool:
        """Whether the server lets another request begin (section 5.1.2)."""
        return len(self._streams) < self._their_max_streams

    def data_to_send(self) -> bytes:
        """What must go out; each byte is given once."""
        out = bytes(self._out)
        self._out.clear()
        return out

    def request(self, headers: list[tuple[bytes, bytes]], body: bytes) -> int:
        """Begins a request and gives its stream's number.

        Args:
            headers: names in lower case, the pseudo-headers first.
            body: sent as far as the server's window allows, the rest as it opens.

        Raises:
            Http2Error: the connection has no number left for another request (2**30 were made).
        """
        stream_id, self._next_id = self._next_id, self._next_id + 2
        if stream_id > _LARGEST_WINDOW:
            raise Http2Error("no stream numbers are left")
        block = pack(headers)
        first, rest = block[: self._their_max_frame], block[self._their_max_frame :]
        flags = (0 if rest else _END_HEADERS) | (0 if body else _END_STREAM)
        self._write(_HEADERS, flags, stream_id, first)
        while rest:
            part, rest = rest[: self._their_max_frame], rest[self._their_max_frame :]
            self._write(_CONTINUATION, 0 if rest else _END_HEADERS, stream_id, part)
        stream = self._streams[stream_id] = _Stream(self._their_initial_window, unsent=body)
        self._send_body(stream_id, stream)
        return stream_id

    def abandon(self, stream_id: int) -> None:
        """Tells the server that nobody waits for a response, if it is still due."""
        if self._streams.pop(stream_id, None) is not None:
            self._write(_RST_STREAM, 0, stream_id, _WORD.pack(CANCEL))

    def say_goodbye(self) -> None:
        """A GOAWAY of our own: nothing more will be asked."""
        self._write(_GOAWAY, 0, 0, _WORD.pack(0) + _WORD.pack(NO_ERROR))

    def receive(self, data: bytes) -> list[Event]:
        """What the bytes that came in mean.

        Raises:
            Http2Error: they break the rules; the connection is of no more use.
        """
        events: list[Event] = []
        buffer = self._rest + data if self._rest else data
        start, size = 0, len(buffer)
        while size - start >= 9:
            head, flags, stream_id = _HEAD.unpack_from(buffer, start)
            length, kind = head >> 8, head & 0xFF
            if length > _MAX_FRAME:
                raise Http2Error("a frame is too long")
            end = start + 9 + length
            if end > size:
                break
            payload = buffer[start + 9 : end]
            start = end
            self._take(kind, flags, stream_id & _LARGEST_WINDOW, payload, events)
        self._rest = buffer[start:]
        return events

    def _take(
        self, kind: int, flags: int, stream_id: int, payload: bytes, events: list[Event]
    ) -> None:
        if not self.greeted and kind != _SETTINGS:
            raise Http2Error("the server's first frame is not SETTINGS")
        if self._block is not None and kind != _CONTINUATION:
            raise Http2Error("a header block was interrupted")
        try:
            match kind:
                case 0x0:
                    self._take_data(flags, stream_id, payload, events)
                case 0x1:
                    self._take_headers(flags, stream_id, payload, events)
                case 0x3:
                    if self._streams.pop(stream_id, None) is not None:
                        events.append(Broken(stream_id, _WORD.unpack(payload)[0]))
                case 0x4:
                    self._take_settings(flags, stream_id, payload)
                case 0x5:
                    raise Http2Error("the server pushes, though it was told not to")
                case 0x6:
                    if len(payload) != 8:
                        raise Http2Error("a PING of the wrong length")
                    if not flags & _ACK:
                        self._write(_PING, _ACK, 0, payload)
                case 0x7:
                    last = _WORD.unpack_from(payload)[0] & _LARGEST_WINDOW
                    events.append(Goodbye(last, payload[8:]))
                case 0x8:
                    self._take_window(stream_id, _WORD.unpack(payload)[0] & _LARGEST_WINDOW)
                case 0x9:
                    self._continue(flags, stream_id, payload, events)
                case _:
                    pass  # frames of unknown kinds must be ignored (section 4.1)
        except struct.error:
            raise Http2Error("a frame of the wrong length") from None

    def _take_settings(self, flags: int, stream_id: int, payload: bytes) -> None:
        if stream_id or len(payload) % 6:
            raise Http2Error("malformed SETTINGS")
        if flags & _ACK:
            return
        self.greeted = True
        for name, value in _SETTING.iter_unpack(payload):
            if name == _MAX_CONCURRENT_STREAMS:
                self._their_max_streams = value
            elif name == _INITIAL_WINDOW_SIZE:
                self._change_initial_window(value)
            elif name == _MAX_FRAME_SIZE:
                if not _MAX_FRAME <= value < 2**24:
                    raise Http2Error("a maximum frame size out of range")
                self._their_max_frame = value
        self._write(_SETTINGS, _ACK, 0, b"")
        self._send_bodies()

    def _change_initial_window(self, value: int) -> None:
        if value > _LARGEST_WINDOW:
            raise Http2Error("a window out of range")
        for stream in self._streams.values():
            stream.window += value - self._their_initial_window
        self._their_initial_window = value

    def _take_window(self, stream_id: int, more: int) -> None:
        if stream_id == 0:
            self._window += more
            if not more or self._window > _LARGEST_WINDOW:
                raise Http2Error("a window out of range")
            self._send_bodies()
            return
        stream = self._streams.get(stream_id)
        if stream is not None:
            stream.window += more
            if not more or stream.window > _LARGEST_WINDOW:
                raise Http2Error("a window out of range")
            self._send_body(stream_id, stream)

    def _take_headers(
        self, flags: int, stream_id: int, payload: bytes, events: list[Event]
    ) -> None:
        if stream_id == 0:
            raise Http2Error("headers without a stream")
        if flags & _PADDED:
            payload = _unpadded(payload)
        if flags & _PRIORITY:
            if len(payload) < 5:
                raise Http2Error("a frame of the wrong length")
            payload = payload[5:]
        if flags & _END_HEADERS:
            self._headers(flags, stream_id, payload, events)
        else:
            self._block = (stream_id, flags, bytearray(payload))

    def _continue(self, flags: int, stream_id: int, payload: bytes, events: list[Event]) -> None:
        if self._block is None or self._block[0] != stream_id:
            raise Http2Error("a continuation of nothing")
        _, first_flags, block = self._block
        block += payload
        if len(block) > _MAX_BLOCK:
            raise Http2Error("a header block is too long")
        if flags & _END_HEADERS:
            self._block = None
            self._headers(first_flags, stream_id, bytes(block), events)

    def _headers(self, flags: int, stream_id: int, block: bytes, events: list[Event]) -> None:
        try:
            # Of abandoned streams too: the decoder's table follows every block.
            headers = self._decoder.decode(block, raw=True)
        except hpack.HPACKError:
            raise Http2Error("headers cannot be read") from None
        stream = self._streams.get(stream_id)
        if stream is None:
            return
        if stream.status == 0:  # else they are trailers, of which APNs has none
            status = _status(headers)
            if status >= 200:  # else it is informational, and the response is to come
                stream.status = status
                stream.headers = tuple((n, v) for n, v in headers if not n.startswith(b":"))
        if flags & _END_STREAM:
            self._end(stream_id, stream, events)

    def _take_data(self, flags: int, stream_id: int, payload: bytes, events: list[Event]) -> None:
        length = len(payload)
        if flags & _PADDED:
            payload = _unpadded(payload)
        self._taken += length
        if self._taken >= _REPLENISH:
            self._write(_WINDOW_UPDATE, 0, 0, _WORD.pack(self._taken))
            self._taken = 0
        stream = self._streams.get(stream_id)
        if stream is None:
            return
        if stream.status == 0:
            raise Http2Error("a body before its headers")
        stream.body += payload[: MAX_BODY - len(stream.body)]
        if flags & _END_STREAM:
            self._end(stream_id, stream, events)
            return
        stream.taken += length
        if stream.taken >= _REPLENISH:
            self._write(_WINDOW_UPDATE, 0, stream_id, _WORD.pack(stream.taken))
            stream.taken = 0

    def _end(self, stream_id: int, stream: _Stream, events: list[Event]) -> None:
        if stream.status == 0:
            raise Http2Error("a response without a status")
        del self._streams[stream_id]
        if stream.unsent:
            self._write(_RST_STREAM, 0, stream_id, _WORD.pack(NO_ERROR))
        events.append(Answered(stream_id, stream.status, stream.headers, bytes(stream.body)))

    def _send_bodies(self) -> None:
        for stream_id, stream in self._streams.items():
            self._send_body(stream_id, stream)

    def _send_body(self, stream_id: int, stream: _Stream) -> None:
        while stream.unsent:
            size = min(len(stream.unsent), self._window, stream.window, self._their_max_frame)
            if size <= 0:
                return
            part, stream.unsent = stream.unsent[:size], stream.unsent[size:]
            self._window -= size
            stream.window -= size
            self._write(_DATA, 0 if stream.unsent else _END_STREAM, stream_id, part)

    def _write(self, kind: int, flags: int, stream_id: int, payload: bytes) -> None:
        self._out += _HEAD.pack(len(payload) << 8 | kind, flags, stream_id)
        self._out += payload


def _unpadded(payload: bytes) -> bytes:
    if not payload or payload[0] >= len(payload):
        raise Http2Error("more padding than frame")
    return payload[1 : len(payload) - payload[0]]


def _status(headers: object) -> int:
    for name, value in headers:  # type: ignore[attr-defined]
        if name == b":status":
            if len(value) == 3 and value.isdigit():
                return int(value)
            break
    raise Http2Error("a response without a status")
