"""What APNs answers to a push: every check and reason, in order, as a pure function.

Apple documents the reasons but not the order in which it looks. The order here goes from the
request's form to what it addresses: method, path, headers, topic, payload, token. That the
topic is judged before the token is the field's observation; the rest of the order is ours.
"""

from __future__ import annotations

import json
import re
import uuid
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from lifecycle.lab.devices import DeviceRegistry

MAX_PAYLOAD = 4096
_PATH = re.compile(r"/3/device/([^/?]*)")
_TOKEN = re.compile(r"(?:[0-9a-fA-F]{2}){16,100}")
_PUSH_TYPES = frozenset({"mdm"})
_ONCE = ("apns-topic", "apns-push-type", "apns-id", "apns-priority", "apns-expiration")


@dataclass(frozen=True, slots=True)
class PushRequest:
    """One HTTP/2 request as it came: pseudo-headers and headers, and its body."""

    headers: Sequence[tuple[str, str]]
    body: bytes

    def one(self, name: str) -> str | None:
        """The first value of a header, or None."""
        return next((value for key, value in self.headers if key == name), None)


@dataclass(frozen=True, slots=True)
class PushAnswer:
    """Status, reason (None with 200), and the 410's timestamp in milliseconds."""

    status: int
    reason: str | None = None
    timestamp: int | None = None

    def body(self) -> bytes:
        """The JSON body; empty with 200."""
        if self.reason is None:
            return b""
        document: dict[str, object] = {"reason": self.reason}
        if self.timestamp is not None:
            document["timestamp"] = self.timestamp
        return json.dumps(document).encode()


def answer(request: PushRequest, certificate_topic: str, devices: DeviceRegistry) -> PushAnswer:
    """APNs's answer to a push.

    Args:
        request: as received.
        certificate_topic: of the client certificate.
        devices: who is registered where.
    """
    form = _form(request) or _headers(request)
    if form is not None:
        return form
    topic = request.one("apns-topic") or certificate_topic
    if not re.fullmatch(r"[A-Za-z0-9._-]{1,255}", topic):
        return PushAnswer(400, "BadTopic")
    if topic != certificate_topic:
        return PushAnswer(400, "TopicDisallowed")
    if not request.body:
        return PushAnswer(400, "PayloadEmpty")
    if len(request.body) > MAX_PAYLOAD:
        return PushAnswer(413, "PayloadTooLarge")
    return _token(request, topic, devices)


def _form(request: PushRequest) -> PushAnswer | None:
    if request.one(":method") != "POST":
        return PushAnswer(405, "MethodNotAllowed")
    match = _PATH.fullmatch(request.one(":path") or "")
    if match is None:
        return PushAnswer(404, "BadPath")
    if not match[1]:
        return PushAnswer(400, "MissingDeviceToken")
    return None


def _headers(request: PushRequest) -> PushAnswer | None:
    counts = Counter(name for name, _ in request.headers)
    if any(counts[name] > 1 for name in _ONCE):
        return PushAnswer(400, "DuplicateHeaders")
    if request.one("apns-push-type") not in _PUSH_TYPES:
        return PushAnswer(400, "InvalidPushType")
    apns_id = request.one("apns-id")
    if apns_id is not None and not _is_uuid(apns_id):
        return PushAnswer(400, "BadMessageId")
    if request.one("apns-priority") not in (None, "1", "5", "10"):
        return PushAnswer(400, "BadPriority")
    expiration = request.one("apns-expiration")
    if expiration is not None and not re.fullmatch(r"\d{1,12}", expiration):
        return PushAnswer(400, "BadExpirationDate")
    collapse = request.one("apns-collapse-id")
    if collapse is not None and len(collapse.encode()) > 64:
        return PushAnswer(400, "BadCollapseId")
    return None


def _token(request: PushRequest, topic: str, devices: DeviceRegistry) -> PushAnswer:
    match = _PATH.fullmatch(request.one(":path") or "")
    text = "" if match is None else match[1]
    if not _TOKEN.fullmatch(text):
        return PushAnswer(400, "BadDeviceToken")
    token = bytes.fromhex(text)
    topics = devices.topics_of(token)
    if not topics:
        return PushAnswer(400, "BadDeviceToken")
    if topic not in topics:
        return PushAnswer(400, "DeviceTokenNotForTopic")
    gone = devices.gone_since(token, topic)
    if gone is not None:
        return PushAnswer(410, "Unregistered", int(gone.timestamp() * 1000))
    return PushAnswer(200)


def _is_uuid(text: str) -> bool:
    try:
        uuid.UUID(text)
    except ValueError:
        return False
    return len(text) == 36
