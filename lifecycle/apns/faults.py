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

import httpx
from OpenSSL import SSL

from lifecycle.apns.http2 import Http2Error
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
_TLS = (SSL.Error, ssl.SSLError)
"""The second comes from an HTTPS proxy's own TLS."""
_NOT_TLS = (
    SSL.SysCallError,
    SSL.ZeroReturnError,
    SSL.WantReadError,
    SSL.WantWriteError,
    ssl.SSLEOFError,
    ssl.SSLZeroReturnError,
    ssl.SSLSyscallError,
    ssl.SSLWantReadError,
    ssl.SSLWantWriteError,
)
"""Ends of the connection below TLS; and waits, which lie under every timeout of a read."""
_NETWORK = (OSError, EOFError, Http2Error, SSL.SysCallError, SSL.ZeroReturnError)
_UNVERIFIED = "CERTIFICATE_VERIFY_FAILED"
_RESETS: Mapping[int, str] = MappingProxyType(
    {
        0x0: "no_error",
        0x1: "protocol_error",
        0x2: "internal_error",
        0x3: "flow_control_error",
        0x5: "stream_closed",
        0x7: "refused_stream",
        0x8: "cancel",
        0x9: "compression_error",
        0xB: "enhance_your_calm",
        0xC: "inadequate_security",
        0xD: "http_1_1_required",
    }
)
"""RFC 9113, section 7."""


class NotHttp2(Exception):
    """The server finished the handshake without choosing ``h2``."""


class ProxyRefused(Exception):
    """A proxy's answer to CONNECT that is not 2xx.

    Args:
        status: its three digits, or what stood in their place.
    """

    def __init__(self, status: str) -> None:
        super().__init__(status)
        self.status = status


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

    @classmethod
    def lost(cls) -> Trouble:
        """The connection is gone, and nobody said why."""
        return cls(Fault.LOST)


class NoAnswer(httpx.TransportError):
    """A request got no response; its text is the fault's code, and repeats nothing else.

    Attributes:
        trouble: why.
    """

    def __init__(self, trouble: Trouble) -> None:
        super().__init__(trouble.fault)
        self.trouble = trouble


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
        if isinstance(link, NoAnswer):
            return link.trouble
        if isinstance(link, NotHttp2):
            return Trouble(Fault.NO_HTTP2)
        if isinstance(link, ssl.SSLCertVerificationError):
            return Trouble(Fault.UNTRUSTED)  # whatever its text says
        if isinstance(link, ProxyRefused):
            return _proxy(link)
        if isinstance(link, _TLS) and not isinstance(link, _NOT_TLS):
            return _tls(link, stage)
    if isinstance(error, TimeoutError):
        return Trouble(Fault.STALLED if stage is Stage.OPEN else Fault.UNREACHABLE)
    if isinstance(error, _NETWORK):
        if stage is Stage.CONNECTING:
            return Trouble(Fault.UNREACHABLE)
        return Trouble(Fault.LOST, CLOSED_AFTER_HANDSHAKE if stage is Stage.GREETING else None)
    return Trouble(Fault.DEFECT, type(error).__name__)


def goaway_trouble(debug_data: bytes) -> Trouble:
    """FACTS.md: a closing connection says why, as JSON in the GOAWAY's debug data."""
    try:
        document = json.loads(debug_data[:1024])
    except (ValueError, RecursionError):
        return Trouble.lost()
    reason = read_reason(document)
    if reason in _CERTIFICATE_REASONS:
        return Trouble(Fault.REFUSED, reason)
    return Trouble(Fault.LOST, reason)


def reset_trouble(error_code: int) -> Trouble:
    """A stream that the server broke off, with RST_STREAM's code."""
    name = _RESETS.get(error_code)
    return Trouble.lost() if name is None else Trouble(Fault.LOST, f"reset_{name}")


def _tls(error: Exception, stage: Stage) -> Trouble:
    spelled = _spelled(error)
    if _UNVERIFIED in spelled:
        return Trouble(Fault.UNTRUSTED)
    match = _ALERT.search(spelled)
    alert = None if match is None else match[1].lower()
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


def _spelled(error: Exception) -> str:
    """OpenSSL's reason as it is in C: ``SSLV3_ALERT_CERTIFICATE_EXPIRED``, and what is around."""
    return f"{getattr(error, 'reason', None) or ''} {error}".upper().replace(" ", "_")


def _proxy(error: ProxyRefused) -> Trouble:
    status = error.status
    if not status.isdecimal():
        return Trouble(Fault.PROXY)
    return Trouble(Fault.UNREACHABLE if status[0] == "5" else Fault.PROXY, f"proxy_{status}")


def _links(error: BaseException | None, seen: set[int]) -> Iterator[BaseException]:
    """An exception and all that lies under it."""
    if error is None or id(error) in seen:
        return
    seen.add(id(error))
    yield error
    yield from _links(error.__cause__, seen)
    yield from _links(error.__context__, seen)
