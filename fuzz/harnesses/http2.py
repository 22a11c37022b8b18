"""HTTP/2 as it comes from APNs: frames, header blocks, flow control."""

from __future__ import annotations

import struct

from lifecycle.apns.http2 import Http2, Http2Error

PARSERS = ("lifecycle.apns.http2.Http2.receive",)
LONGEST = 8192
WEIGHT = 3
_SETTINGS = bytes.fromhex("000000040000000000")
_REQUEST = [(b":method", b"POST"), (b":path", b"/3/device/00")]
_BUILT = b"F"


def one(data: bytes) -> None:
    """Events or ``Http2Error``; what we send stays in proportion to what came.

    Input that begins with ``F`` says what frames to build; else it is the bytes themselves.
    """
    connection = Http2()
    connection.request(_REQUEST, b"{}")
    connection.data_to_send()
    incoming = _SETTINGS + _frames(data[1:]) if data.startswith(_BUILT) else data
    step = 1 + (data[-1] if data else 0)
    sent = 0
    try:
        for start in range(0, len(incoming), step):
            for event in connection.receive(incoming[start : start + step]):
                repr(event)
            if connection.has_room and start % 7 == 0:
                connection.abandon(connection.request(_REQUEST, b""))
            sent += len(connection.data_to_send())
    except Http2Error as error:
        str(error).encode()
    assert sent <= 64 * (len(incoming) + 64)


def _frames(data: bytes) -> bytes:
    """Frames of the kind, flags and length that the bytes say."""
    made, position = bytearray(), 0
    while position + 4 <= len(data):
        kind, flags, stream, length = data[position : position + 4]
        payload = data[position + 4 : position + 4 + length]
        made += struct.pack(">IBI", len(payload) << 8 | kind % 11, flags, stream % 8) + payload
        position += 4 + length
    return bytes(made)


def seeds() -> dict[str, bytes]:
    """Settings, an answer with a body, a GOAWAY, padding, a continued block."""
    answer = bytes((1, 4, 1, 1)) + b"\x88" + bytes((0, 1, 1, 2)) + b"{}"
    return {
        "settings": _SETTINGS + b"\0",
        "answer": _BUILT + answer,
        "goaway": _BUILT + bytes((7, 0, 0, 8)) + bytes(8),
        "continued": _BUILT + bytes((1, 0, 1, 1)) + b"\x88" + bytes((9, 4, 1, 0)),
        "padded": _BUILT + bytes((1, 12, 1, 3)) + b"\1\x88\0",
        "window": _BUILT + bytes((8, 0, 0, 4)) + b"\x7f\xff\xff\xff",
        "literal": _BUILT + bytes((1, 5, 1, 12)) + b"\x40\x07:status\x03404"[:12],
        "max-streams": _BUILT + bytes((4, 0, 0, 6)) + b"\0\3\0\0\0\1",
    }
