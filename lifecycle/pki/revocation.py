"""Revocation by OCSP (RFC 6960): the question and the answer, no network.

A nonce is not sent: Apple's responder, like most, answers from a cache (RFC 5019).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from cryptography.x509.oid import ExtendedKeyUsageOID

from lifecycle.errors import Refused, refuse
from lifecycle.pki.certificates import UNREADABLE, extension, issued_by

CLOCK_SKEW = timedelta(minutes=5)
"""How far the responder's clock may be ahead of ours."""


@dataclass(frozen=True, slots=True)
class RevocationStatus:
    """What the issuer says. ``revoked_at`` (UTC) is set when ``revoked`` is."""

    revoked: bool
    known: bool = True
    revoked_at: datetime | None = None


def build_ocsp_request(certificate: x509.Certificate, issuer: x509.Certificate) -> bytes:
    """The question about ``certificate``, as DER. SHA-1 names the issuer (RFC 5019, 2.1.1)."""
    builder = ocsp.OCSPRequestBuilder().add_certificate(
        certificate,
        issuer,
        hashes.SHA1(),  # noqa: S303  (an identifier that responders index by, no protection)
    )
    return builder.build().public_bytes(Encoding.DER)


def read_ocsp_response(
    data: bytes, certificate: x509.Certificate, issuer: x509.Certificate, *, at: datetime
) -> RevocationStatus:
    """Checks an answer and reads it.

    Args:
        data: DER, as received.
        certificate, issuer: the ones that were asked about.
        at: aware UTC; the answer must be in force then.

    Raises:
        Refused: ``ocsp_unreadable``, ``ocsp_unsuccessful``, ``ocsp_other_certificate``,
            ``ocsp_signature_invalid``, ``ocsp_out_of_date``.
    """
    try:
        response = ocsp.load_der_ocsp_response(data)
        if response.response_status is not ocsp.OCSPResponseStatus.SUCCESSFUL:
            raise _unusable(
                "ocsp_unsuccessful", f"The responder answered {response.response_status.name}."
            )
        _require_about(response, certificate, issuer)
        _require_signed(response, issuer, at)
        _require_current(response, at)
        status = response.certificate_status
        revoked_at = response.revocation_time_utc
    except UNREADABLE:
        raise _unusable("ocsp_unreadable", "The responder's answer cannot be read.") from None
    revoked = status is ocsp.OCSPCertStatus.REVOKED
    return RevocationStatus(
        revoked=revoked,
        known=status is not ocsp.OCSPCertStatus.UNKNOWN,
        revoked_at=revoked_at if revoked else None,
    )


def _require_about(
    response: ocsp.OCSPResponse, certificate: x509.Certificate, issuer: x509.Certificate
) -> None:
    asked = ocsp.load_der_ocsp_request(build_ocsp_request(certificate, issuer))
    if response.serial_number != asked.serial_number or (
        response.hash_algorithm.name == asked.hash_algorithm.name
        and (response.issuer_key_hash, response.issuer_name_hash)
        != (asked.issuer_key_hash, asked.issuer_name_hash)
    ):
        raise _unusable("ocsp_other_certificate", "The answer is about another certificate.")


def _require_signed(response: ocsp.OCSPResponse, issuer: x509.Certificate, at: datetime) -> None:
    signers = [issuer, *(c for c in response.certificates if _may_answer_for(c, issuer, at))]
    if not any(_signed_by(response, signer) for signer in signers):
        raise _unusable(
            "ocsp_signature_invalid", "The answer was not signed by the issuer or its responder."
        )


def _may_answer_for(certificate: x509.Certificate, issuer: x509.Certificate, at: datetime) -> bool:
    """RFC 6960, 4.2.2.2: issued by the same CA, for OCSP signing, and in force."""
    usage = extension(certificate, x509.ExtendedKeyUsage)
    return (
        usage is not None
        and ExtendedKeyUsageOID.OCSP_SIGNING in usage
        and certificate.not_valid_before_utc <= at < certificate.not_valid_after_utc
        and issued_by(certificate, issuer)
    )


def _signed_by(response: ocsp.OCSPResponse, signer: x509.Certificate) -> bool:
    key, algorithm = signer.public_key(), response.signature_hash_algorithm
    signature, signed = response.signature, response.tbs_response_bytes
    if algorithm is None:
        return False
    try:
        if isinstance(key, rsa.RSAPublicKey):
            key.verify(signature, signed, padding.PKCS1v15(), algorithm)
        elif isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(signature, signed, ec.ECDSA(algorithm))
        else:
            return False
    except InvalidSignature:
        return False
    return True


def _require_current(response: ocsp.OCSPResponse, at: datetime) -> None:
    until = response.next_update_utc
    if response.this_update_utc > at + CLOCK_SKEW or (until is not None and until < at):
        raise _unusable("ocsp_out_of_date", "The answer is not in force now.")


def _unusable(code: str, message: str) -> Refused:
    return refuse(code, message, "The responder is asked again later.")
