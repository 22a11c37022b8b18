"""Short texts that people type or paste: topics, tokens, ages, sources of passphrases."""

from __future__ import annotations

from datetime import UTC, datetime

from fuzz.harness import refusals
from lifecycle.apns.token import DeviceToken, PushMagic
from lifecycle.passphrase import parse_source
from lifecycle.pki.topic import Topic
from lifecycle.since import parse_since

PARSERS = (
    "lifecycle.pki.topic.Topic.parse",
    "lifecycle.apns.token.DeviceToken.from_hex",
    "lifecycle.apns.token.DeviceToken.from_bytes",
    "lifecycle.apns.token.PushMagic",
    "lifecycle.since.parse_since",
    "lifecycle.passphrase.parse_source",
)
LONGEST = 512
WEIGHT = 8
_NOW = datetime(2027, 6, 1, tzinfo=UTC)


def one(data: bytes) -> None:
    """A value or a refusal; a value is the same when it is written and read again."""
    text = data.decode("utf-8", "replace")
    with refusals():
        topic = Topic.parse(text)
        assert Topic.parse(str(topic)) == topic
    with refusals():
        token = DeviceToken.from_hex(text)
        assert DeviceToken.from_hex(token.hex) == token
        assert token.hex not in repr(token)
    with refusals():
        assert DeviceToken.from_bytes(data).raw == data
    with refusals():
        magic = PushMagic(text)
        assert repr(magic) == "PushMagic()"
    with refusals():
        assert parse_since(text, _NOW) <= _NOW
    with refusals():
        parse_source(text)


def seeds() -> dict[str, bytes]:
    """One of each."""
    return {
        "topic": b" com.apple.mgmt.External.3f2a91bc-0000-4000-8000-000000000000\n",
        "token": b"ab" * 32,
        "age": b"7d",
        "time": b"2026-11-24T04:55:00+02:00",
        "first": b"0001-01-01T00:00:00+14:00",
        "source": b"env:NAME",
        "path": b"file:$CREDENTIALS_DIRECTORY/NAME",
    }
