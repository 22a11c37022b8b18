"""What APNs, or something on the way to it, answers to a push; GOAWAYs, and a proxy's words."""

from __future__ import annotations

import json
import uuid

from fuzz.harness import split
from lifecycle.apns.client import read_answer
from lifecycle.apns.dial import require_success
from lifecycle.apns.faults import ProxyRefused, goaway_trouble
from lifecycle.apns.http2 import Answered
from lifecycle.apns.push import Push
from lifecycle.apns.reasons import meaning, read_reason
from lifecycle.apns.token import DeviceToken, PushMagic
from lifecycle.pki.topic import Topic

PARSERS = (
    "lifecycle.apns.client.read_answer",
    "lifecycle.apns.reasons.read_reason",
    "lifecycle.apns.faults.goaway_trouble",
    "lifecycle.apns.dial.require_success",
)
WEIGHT = 5
_PUSH = Push(
    DeviceToken(b"\x01" * 32),
    Topic("com.apple.mgmt.External.x"),
    PushMagic("magic"),
    uuid.UUID(int=1),
)


def one(data: bytes) -> None:
    """An answer whose reason is letters alone, and a sentence for it."""
    body, apns_id = split(data, 2)
    for status in (200, 410):
        answer = read_answer(_PUSH, Answered(1, status, ((b"apns-id", apns_id),), body))
        assert answer.reason is None or answer.reason.isalpha()
        assert uuid.UUID(answer.apns_id)
        meaning(status, answer.reason).sentence.encode()
    trouble = goaway_trouble(data)
    assert trouble.detail is None or str(trouble.detail).isascii()
    try:
        require_success(data)
    except ProxyRefused as refused:
        str(refused).encode()
    try:
        read_reason(json.loads(data))
    except (ValueError, RecursionError):
        return


def seeds() -> dict[str, bytes]:
    """Answers, a GOAWAY's JSON, a proxy's first line."""
    return {
        "gone": b'{"reason":"Unregistered","timestamp":1700000000000}\n~~\n'
        b"AAAAAAAA-BBBB-4CCC-8DDD-EEEEEEEEEEEE",
        "huge": b'{"reason":"ExpiredToken","timestamp":99999999999999999999}',
        "expired": b'{"reason":"BadCertificate"}',
        "proxy": b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n",
        "through": b"HTTP/1.1 200 OK\r\n\r\n",
    }
