"""Tokens, codes and credentials that strangers show: looked up in a real database."""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy.pool import StaticPool
from sqlmodel import Session, create_engine

from fuzz.harness import joined, refusals, split
from lifecycle.vendor import credentials, invitations, models, sessions
from lifecycle.vendor.credentials import NewKeys
from lifecycle.vendor.failed_sign_ins import site_of
from lifecycle.vendor.feed_tokens import feed_of

PARSERS = (
    "lifecycle.vendor.feed_tokens.feed_of",
    "lifecycle.vendor.credentials.bearer",
    "lifecycle.vendor.invitations.redeem",
    "lifecycle.vendor.sessions.find",
    "lifecycle.vendor.failed_sign_ins.site_of",
)
LONGEST = 256
_NOW = datetime(2027, 6, 1, tzinfo=UTC)
_ENGINE = create_engine("sqlite://", poolclass=StaticPool)
models.VendorTable.metadata.create_all(_ENGINE)
_SESSION = Session(_ENGINE)


def one(data: bytes) -> None:
    """Nobody is found, and nothing else comes of it."""
    token, code = (part.decode("utf-8", "replace").replace("\0", "") for part in split(data, 2))
    assert feed_of(_SESSION, token) is None
    assert sessions.find(_SESSION, token, _NOW) is None
    with refusals():
        credentials.bearer(_SESSION, token, _NOW)
    with refusals():
        invitations.redeem(_SESSION, code, NewKeys(b"\1" * 32, b"\2" * 32), at=_NOW)
    with refusals():
        invitations.redeem(_SESSION, code, NewKeys(data[:32], data[32:64]), at=_NOW)
    site_of(token)


def seeds() -> dict[str, bytes]:
    """A token, a code as people write it, addresses."""
    return {
        "token": joined(b"q6X0" * 8, b"abcd-efgh-ijkl"),
        "address": b"2001:db8::1",
        "v4": b"192.0.2.1",
        "long": b"a" * 200,
    }
