"""APNs's answers: what each reason means, whether to try again, and who must act.

The list is FACTS.md's ("APNs provider API with a certificate"); a test holds the two together.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType


class Reason(StrEnum):
    """The reasons APNs gives, as it spells them."""

    BAD_COLLAPSE_ID = "BadCollapseId"
    BAD_DEVICE_TOKEN = "BadDeviceToken"
    BAD_EXPIRATION_DATE = "BadExpirationDate"
    BAD_MESSAGE_ID = "BadMessageId"
    BAD_PRIORITY = "BadPriority"
    BAD_TOPIC = "BadTopic"
    DEVICE_TOKEN_NOT_FOR_TOPIC = "DeviceTokenNotForTopic"
    DUPLICATE_HEADERS = "DuplicateHeaders"
    IDLE_TIMEOUT = "IdleTimeout"
    INVALID_PUSH_TYPE = "InvalidPushType"
    MISSING_DEVICE_TOKEN = "MissingDeviceToken"
    MISSING_TOPIC = "MissingTopic"
    PAYLOAD_EMPTY = "PayloadEmpty"
    TOPIC_DISALLOWED = "TopicDisallowed"
    BAD_CERTIFICATE = "BadCertificate"
    BAD_CERTIFICATE_ENVIRONMENT = "BadCertificateEnvironment"
    FORBIDDEN = "Forbidden"
    MISSING_PROVIDER_TOKEN = "MissingProviderToken"
    """The one of the provider-token reasons that a certificate's user can meet: APNs says it
    where it saw no client certificate at all."""
    BAD_PATH = "BadPath"
    METHOD_NOT_ALLOWED = "MethodNotAllowed"
    UNREGISTERED = "Unregistered"
    EXPIRED_TOKEN = "ExpiredToken"
    PAYLOAD_TOO_LARGE = "PayloadTooLarge"
    TOO_MANY_REQUESTS = "TooManyRequests"
    INTERNAL_SERVER_ERROR = "InternalServerError"
    SERVICE_UNAVAILABLE = "ServiceUnavailable"
    SHUTDOWN = "Shutdown"


class Who(StrEnum):
    """Who must act on an answer."""

    NOBODY = "nobody"
    DEVICE = "device"
    """The device must be enrolled again, or its new TokenUpdate imported."""
    CUSTOMER = "customer"
    """The customer must renew, or use the right certificate."""
    APPLE = "apple"
    """It passes by itself."""
    NETWORK = "network"
    """Whoever runs the network, the firewall or the proxy on the way to APNs."""
    PUSHCERT = "pushcert"
    """A defect of the sender."""


@dataclass(frozen=True, slots=True)
class Meaning:
    """What an answer means.

    Attributes:
        sentence: for a person.
        retry: whether the same push may be tried again (FACTS.md: 429, 500, 503 alone).
        who: must act.
    """

    sentence: str
    retry: bool
    who: Who


_DEFECT = "The push was malformed"

MEANINGS: Mapping[Reason, Meaning] = MappingProxyType(
    {
        Reason.BAD_COLLAPSE_ID: Meaning(f"{_DEFECT}: collapse id.", False, Who.PUSHCERT),
        Reason.BAD_DEVICE_TOKEN: Meaning(
            "APNs knows no such device token here.", False, Who.DEVICE
        ),
        Reason.BAD_EXPIRATION_DATE: Meaning(f"{_DEFECT}: expiration.", False, Who.PUSHCERT),
        Reason.BAD_MESSAGE_ID: Meaning(f"{_DEFECT}: apns-id.", False, Who.PUSHCERT),
        Reason.BAD_PRIORITY: Meaning(f"{_DEFECT}: priority.", False, Who.PUSHCERT),
        Reason.BAD_TOPIC: Meaning("The topic is not valid.", False, Who.CUSTOMER),
        Reason.DEVICE_TOKEN_NOT_FOR_TOPIC: Meaning(
            "The device is registered under another topic.", False, Who.DEVICE
        ),
        Reason.DUPLICATE_HEADERS: Meaning(f"{_DEFECT}: a header twice.", False, Who.PUSHCERT),
        Reason.IDLE_TIMEOUT: Meaning("The connection was idle for too long.", False, Who.NOBODY),
        Reason.INVALID_PUSH_TYPE: Meaning(f"{_DEFECT}: push type.", False, Who.PUSHCERT),
        Reason.MISSING_DEVICE_TOKEN: Meaning(f"{_DEFECT}: no token.", False, Who.PUSHCERT),
        Reason.MISSING_TOPIC: Meaning(f"{_DEFECT}: no topic.", False, Who.PUSHCERT),
        Reason.PAYLOAD_EMPTY: Meaning(f"{_DEFECT}: no payload.", False, Who.PUSHCERT),
        Reason.TOPIC_DISALLOWED: Meaning(
            "The certificate may not push to this topic.", False, Who.CUSTOMER
        ),
        Reason.BAD_CERTIFICATE: Meaning(
            "APNs does not take this push certificate.", False, Who.CUSTOMER
        ),
        Reason.BAD_CERTIFICATE_ENVIRONMENT: Meaning(
            "The push certificate is for another environment.", False, Who.CUSTOMER
        ),
        Reason.FORBIDDEN: Meaning("APNs forbids this push.", False, Who.CUSTOMER),
        Reason.MISSING_PROVIDER_TOKEN: Meaning(
            "APNs saw no push certificate; a proxy may have taken it away.", False, Who.NETWORK
        ),
        Reason.BAD_PATH: Meaning(f"{_DEFECT}: path.", False, Who.PUSHCERT),
        Reason.METHOD_NOT_ALLOWED: Meaning(f"{_DEFECT}: method.", False, Who.PUSHCERT),
        Reason.UNREGISTERED: Meaning(
            "The device is no longer registered under this topic.", False, Who.DEVICE
        ),
        Reason.EXPIRED_TOKEN: Meaning("The device token has expired.", False, Who.DEVICE),
        Reason.PAYLOAD_TOO_LARGE: Meaning(f"{_DEFECT}: too large.", False, Who.PUSHCERT),
        Reason.TOO_MANY_REQUESTS: Meaning(
            "Too many pushes went to this device in a short time.", True, Who.APPLE
        ),
        Reason.INTERNAL_SERVER_ERROR: Meaning("APNs met an error of its own.", True, Who.APPLE),
        Reason.SERVICE_UNAVAILABLE: Meaning("APNs is not available.", True, Who.APPLE),
        Reason.SHUTDOWN: Meaning("APNs is shutting this server down.", True, Who.APPLE),
    }
)

RETRIED_STATUSES = frozenset({429, 500, 503})

_SPELLING = re.compile(r"[A-Za-z]{1,48}")


def read_reason(document: object) -> str | None:
    """The reason in the JSON of an answer or a GOAWAY, known or not; None if it has none.

    Only letters are taken. A reason goes into evidence and onto screens, so it must have no room
    for control characters, nor for a token that something on the way put there.
    """
    reason = document.get("reason") if isinstance(document, dict) else None
    return reason if isinstance(reason, str) and _SPELLING.fullmatch(reason) else None


def meaning(status: int, reason: str | None) -> Meaning:
    """What an answer means, also for reasons that APNs may add one day.

    Args:
        status: HTTP status.
        reason: as APNs spelled it, or None.
    """
    if status == 200:
        return Meaning("APNs took the push.", False, Who.NOBODY)
    try:
        known = MEANINGS[Reason(reason or "")]
    except ValueError:
        retry = status in RETRIED_STATUSES
        return Meaning(
            f"APNs answered {status} {reason or 'without a reason'}.",
            retry,
            Who.APPLE if retry else Who.PUSHCERT,
        )
    # The status decides: "never retry a 400, 403 or 410" holds whatever the reason says.
    return Meaning(known.sentence, known.retry and status in RETRIED_STATUSES, known.who)
