"""One push and its answer, as values."""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass
from datetime import datetime

from lifecycle.apns.token import DeviceToken, PushMagic
from lifecycle.pki.fingerprints import Fingerprint
from lifecycle.pki.topic import Topic

MAX_PAYLOAD = 4096


@dataclass(frozen=True, slots=True)
class Push:
    """An MDM push: it tells a device to check in, and nothing else.

    Attributes:
        token, topic: where it goes.
        push_magic: what the device expects.
        apns_id: names the push; a push that is tried again keeps it.
        expires_at: until when APNs may keep it for a device that is offline; aware UTC, None
            for one attempt only.
    """

    token: DeviceToken
    topic: Topic
    push_magic: PushMagic
    apns_id: uuid.UUID
    expires_at: datetime | None = None

    def payload(self) -> bytes:
        """The body (FACTS.md: ``{"mdm": "<PushMagic>"}``).

        Never longer than ``MAX_PAYLOAD``: ``token.MAX_MAGIC`` leaves room for a push magic that
        JSON must escape throughout (12 bytes for one character).
        """
        return json.dumps({"mdm": self.push_magic.text}, separators=(",", ":")).encode()

    def fields(self, authority: bytes, body: bytes) -> list[tuple[bytes, bytes]]:
        """The whole request's header fields, for HTTP/2 (names in lower case).

        Args:
            authority: host and port that it goes to.
            body: as ``payload`` made it.
        """
        return [
            (b":method", b"POST"),
            (b":scheme", b"https"),
            (b":authority", authority),
            (b":path", f"/3/device/{self.token.hex}".encode("ascii")),
            *((n.encode("ascii"), v.encode("ascii")) for n, v in self.headers().items()),
            (b"user-agent", b"pushcert"),
            (b"content-length", b"%d" % len(body)),
        ]

    def headers(self) -> dict[str, str]:
        """The request's headers (FACTS.md, "APNs provider API with a certificate")."""
        expiration = 0 if self.expires_at is None else int(self.expires_at.timestamp())
        return {
            "apns-topic": self.topic,
            "apns-push-type": "mdm",
            "apns-priority": "10",
            "apns-expiration": str(expiration),
            "apns-id": str(self.apns_id),
        }


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of one push; no token in it.

    Attributes:
        apns_id: of the push, or of APNs's answer where it names another.
        token_fingerprint: which token was addressed.
        status: HTTP status; None when no answer came.
        reason: APNs's reason; None with a 200.
        timestamp: with a 410, since when the token is not registered; aware UTC.
        fault: why no answer came, a ``lifecycle.apns.faults.Fault``: ``apns_unreachable``,
            ``certificate_refused``, ``connection_lost``, ``stalled``, …; None with an answer.
        attempts: how often it was tried; 0 if an earlier push had shown that none gets through.
        detail: with a fault, what the other side said about it: ``certificate_expired``,
            ``certificate_revoked``, ``unknown_ca``, the reason of a GOAWAY, …
    """

    apns_id: str
    token_fingerprint: Fingerprint
    status: int | None = None
    reason: str | None = None
    timestamp: datetime | None = None
    fault: str | None = None
    attempts: int = 1
    detail: str | None = None

    @property
    def delivered(self) -> bool:
        """True if APNs took the push."""
        return self.status == 200
