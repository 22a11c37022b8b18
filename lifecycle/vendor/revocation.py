"""Asks a push certificate's issuer, by OCSP, whether it has been revoked."""

from __future__ import annotations

import httpx
from cryptography import x509

from lifecycle.clock import Clock
from lifecycle.errors import Refused, Unavailable
from lifecycle.pki.chain import TrustStore, complete_chain
from lifecycle.pki.push_certificate import PushCertificate
from lifecycle.pki.revocation import (
    RevocationStatus,
    build_ocsp_request,
    read_ocsp_response,
)

MAX_RESPONSE = 64 * 1024


class OcspGateway:
    """A ``RevocationGateway`` over HTTP (RFC 6960, appendix A: POST).

    Args:
        trust: to find the issuer's certificate.
        clock: judges the dates of the answer.
        timeout: seconds for connecting and for each read.
    """

    def __init__(self, trust: TrustStore, clock: Clock, timeout: float) -> None:
        self._trust = trust
        self._clock = clock
        self._timeout = timeout

    def ask(self, certificate: bytes) -> RevocationStatus:
        """See ``RevocationGateway.ask``."""
        push = PushCertificate.from_der(certificate)
        if push.ocsp_url is None:
            raise Unavailable("The certificate names no OCSP responder.")
        issuer = self._issuer(push)
        try:
            with httpx.stream(
                "POST",
                push.ocsp_url,
                content=build_ocsp_request(push.certificate, issuer),
                headers={"Content-Type": "application/ocsp-request"},
                timeout=self._timeout,
            ) as response:
                response.raise_for_status()
                body = b""
                for chunk in response.iter_bytes():
                    body += chunk
                    if len(body) > MAX_RESPONSE:
                        raise Unavailable("The OCSP responder's answer is far too large.")
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise Unavailable(
                f"The OCSP responder {push.ocsp_url} gave no answer ({type(error).__name__})."
            ) from None
        try:
            return read_ocsp_response(body, push.certificate, issuer, at=self._clock.now())
        except Refused as error:
            raise Unavailable(f"The OCSP responder's answer is unusable: {error}") from None

    def _issuer(self, push: PushCertificate) -> x509.Certificate:
        chain, _ = complete_chain(push.certificate, self._trust, at=self._clock.now())
        if chain is None or len(chain.certificates) < 2:
            raise Unavailable("The issuer's certificate is not known, so it cannot be asked.")
        return chain.certificates[1]
