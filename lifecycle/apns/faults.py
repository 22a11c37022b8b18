"""Pushes that got no answer: what kept them from it, whether to try again, and who acts.

What an exception means depends on how far the connection had come. With TLS 1.3 the refusal of
a client certificate is an alert on the first read, after the handshake seemed done (FACTS.md);
the same end of file is an outage before the handshake and a lost push after it. So the decision
here takes the exception *and* the stage. It repeats none of the exception's text: that carries
URLs, and the URL of a push is the device token.
"""

from __future__ import annotations

import json
import re
import ssl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from types import MappingProxyType

import anyio
import h2.events
import h2.exceptions
import httpcore
import httpx

from lifecycle.apns.reasons import Meaning, Reason, Who, read_reason


class Stage(IntEnum):
    """How far a connection had come."""

    CONNECTING = 0
    """TCP, proxy and TLS handshake."""
    GREETING = 1
    """The handshake is done on our side; APNs has not yet said a word of HTTP/2."""
    OPEN = 2
    """APNs has let us in."""


class Fault(StrEnum):
    """Why a push got no answer."""

    UNREACHABLE = "apns_unreachable"
    LOST = "connection_lost"
    STALLED = "stalled"
    REFUSED = "certificate_refused"
    UNTRUSTED = "server_untrusted"
    NO_HTTP2 = "no_http2"
    HANDSHAKE = "handshake_failed"
    PROXY = "proxy_refused"
    DEFECT = "client_defect"


class Refusal(StrEnum):
    """Why a certificate was refused, where the TLS alert says so (RFC 8446, section 6.2)."""

    EXPIRED = "certificate_expired"
    REVOKED = "certificate_revoked"
    UNKNOWN_CA = "unknown_ca"
    BAD = "bad_certificate"
    UNSUPPORTED = "unsupported_certificate"
    UNKNOWN = "certificate_unknown"
    REQUIRED = "certificate_required"
    DENIED = "access_denied"


CLOSED_AFTER_HANDSHAKE = "closed_after_handshake"
"""Detail of a lost connection that APNs's side closed as its first act, without an alert: most
likely it disliked the certificate, but it did not say so."""

FAULTS: Mapping[Fault, Meaning] = MappingProxyType(
    {
        Fault.UNREACHABLE: Meaning("APNs could not be reached.", True, Who.NETWORK),
        Fault.LOST: Meaning(
            "The connection to APNs broke before an answer came.", True, Who.NETWORK
        ),
        Fault.STALLED: Meaning("APNs gave no answer in time.", True, Who.APPLE),
        Fault.REFUSED: Meaning("APNs refused the push certificate.", False, Who.CUSTOMER),
        Fault.UNTRUSTED: Meaning(
            "The server is not APNs: its certificate leads to no trusted root, or is for another"
            " name. Something between here and Apple opens TLS connections.",
            False,
            Who.NETWORK,
        ),
        Fault.NO_HTTP2: Meaning(
            "The server does not speak HTTP/2, so it is not APNs.", False, Who.NETWORK
        ),
        Fault.HANDSHAKE: Meaning(
            "The TLS handshake failed, and not over the certificate.", False, Who.NETWORK
        ),
        Fault.PROXY: Meaning(
            "The proxy does not let connections to APNs through.", False, Who.NETWORK
        ),
        Fault.DEFECT: Meaning("The push met a defect of pushcert.", False, Who.PUSHCERT),
    }
)

_REFUSALS: Mapping[Refusal, str] = MappingProxyType(
    {
        Refusal.EXPIRED: "APNs refused the push certificate: it has expired.",
        Refusal.REVOKED: "APNs refused the push certificate: it is revoked.",
        Refusal.UNKNOWN_CA: "APNs refused the push certificate: Apple did not issue it.",
        Refusal.REQUIRED: "APNs saw no push certificate; a proxy may have taken it away.",
    }
)

_CERTIFICATE_REASONS = frozenset(
    {Reason.BAD_CERTIFICATE, Reason.BAD_CERTIFICATE_ENVIRONMENT, Reason.FORBIDDEN}
)
_NOT_ABOUT_US = frozenset({"internal_error", "user_cancelled", "close_notify"})
_ALERT = re.compile(r"ALERT_([A-Z_]+[A-Z])")
_NETWORK = (
    httpcore.NetworkError,
    httpcore.TimeoutException,
    httpcore.ProtocolError,
    httpcore.ConnectionNotAvailable,
    httpx.TransportError,
    h2.exceptions.H2Error,
    anyio.BrokenResourceError,
    anyio.ClosedResourceError,
    anyio.EndOfStream,
    OSError,
)


class NotHttp2(Exception):
    """The server finished the handshake without choosing ``h2``."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why a push got no answer.

    Attributes:
        fault: what happened.
        detail: what the other side said about it, if it did: a ``Refusal`` or another TLS
            alert, the reason of a GOAWAY, a proxy's status; ``closed_after_handshake``.
    """

    fault: Fault
    detail: str | None = None

    @property
    def retry(self) -> bool:
        """Whether another try can help."""
        return FAULTS[self.fault].retry

    @property
    def lasting(self) -> bool:
        """True if no push with this certificate can get through here; so none is tried."""
        return not self.retry and self.fault is not Fault.DEFECT


def fault_meaning(fault: str, detail: str | None = None) -> Meaning:
    """What a fault of an ``Answer`` means.

    Raises:
        ValueError: it is none of ``Fault``.
    """
    meant = FAULTS[Fault(fault)]
    if fault == Fault.REFUSED and detail in set(Refusal):
        return Meaning(_REFUSALS.get(Refusal(detail), meant.sentence), meant.retry, meant.who)
    return meant


def trouble_of(error: BaseException, stage: Stage) -> Trouble:
    """Names what went wrong, from an exception, its causes, and how far things had come."""
    links = tuple(_links(error, set()))
    for link in links:
        if isinstance(link, NotHttp2):
            return Trouble(Fault.NO_HTTP2)
        if isinstance(link, ssl.SSLCertVerificationError):
            return Trouble(Fault.UNTRUSTED)
        if isinstance(link, h2.events.ConnectionTerminated):
            return _goaway(link)
        if isinstance(link, httpcore.ProxyError):
            return _proxy(link)
    for link in links:
        if isinstance(link, ssl.SSLError) and not isinstance(link, ssl.SSLEOFError):
            return _tls(link, stage)
    if any(isinstance(link, TimeoutError | httpcore.TimeoutException) for link in links):
        return Trouble(Fault.STALLED if stage is Stage.OPEN else Fault.UNREACHABLE)
    if isinstance(error, _NETWORK):
        if stage is Stage.CONNECTING:
            return Trouble(Fault.UNREACHABLE)
        return Trouble(Fault.LOST, CLOSED_AFTER_HANDSHAKE if stage is Stage.GREETING else None)
    return Trouble(Fault.DEFECT, type(error).__name__)


def _tls(error: ssl.SSLError, stage: Stage) -> Trouble:
    alert = _alert(error)
    if alert in set(Refusal):
        return Trouble(Fault.REFUSED, alert)
    if alert == "no_application_protocol":
        return Trouble(Fault.NO_HTTP2)
    if alert is not None and alert not in _NOT_ABOUT_US:
        # Once we are done with the handshake, our certificate is all there is left to judge.
        return Trouble(Fault.REFUSED if stage is Stage.GREETING else Fault.HANDSHAKE, alert)
    if alert is None and stage is Stage.CONNECTING:
        return Trouble(Fault.HANDSHAKE)
    return Trouble(Fault.LOST, alert)


def _alert(error: ssl.SSLError) -> str | None:
    """The alert that the peer sent, e.g. ``certificate_expired``; None if it sent none."""
    spelled = f"{error.reason or ''} {error}".upper().replace(" ", "_")
    match = _ALERT.search(spelled)
    return None if match is None else match[1].partition("_(_SSL")[0].lower()


def _goaway(event: h2.events.ConnectionTerminated) -> Trouble:
    """FACTS.md: a closing connection says why, as JSON in the GOAWAY's debug data."""
    try:
        document = json.loads((event.additional_data or b"")[:1024])
    except ValueError:
        return Trouble(Fault.LOST)
    reason = read_reason(document)
    if reason in _CERTIFICATE_REASONS:
        return Trouble(Fault.REFUSED, reason)
    return Trouble(Fault.LOST, reason)


def _proxy(error: httpcore.ProxyError) -> Trouble:
    status = str(error)[:3]
    if not status.isdecimal():
        return Trouble(Fault.PROXY)
    return Trouble(Fault.UNREACHABLE if status[0] == "5" else Fault.PROXY, f"proxy_{status}")


def _links(error: object, seen: set[int]) -> Iterator[object]:
    """An exception, what it was made from, and all that lies under it."""
    if id(error) in seen:
        return
    seen.add(id(error))
    yield error
    if isinstance(error, BaseException):
        for below in (*error.args, error.__cause__, error.__context__):
            if isinstance(below, BaseException | h2.events.Event):
                yield from _links(below, seen)
