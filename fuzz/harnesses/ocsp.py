"""Answers of an OCSP responder."""

from __future__ import annotations

from datetime import timedelta

from cryptography.hazmat.primitives.hashes import SHA1, SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp

from fuzz.harness import refusals, vector
from fuzz.trust import AT
from lifecycle.pki.certificates import parse_certificates
from lifecycle.pki.keys import load_private_key
from lifecycle.pki.revocation import read_ocsp_response

PARSERS = ("lifecycle.pki.revocation.read_ocsp_response",)
_CERTIFICATE = parse_certificates(vector("MDM_ Example MDM_Certificate.pem"))[0]
_ISSUER = parse_certificates(vector("aai.pem"))[0]


def one(data: bytes) -> None:
    """A status or a refusal."""
    with refusals():
        read_ocsp_response(data, _CERTIFICATE, _ISSUER, at=AT)


def seeds() -> dict[str, bytes]:
    """Good, revoked, with a certificate in it, and unsuccessful."""
    key = load_private_key(vector("aai.key"), None)
    found = {}
    for status in (ocsp.OCSPCertStatus.GOOD, ocsp.OCSPCertStatus.REVOKED):
        revoked = status is ocsp.OCSPCertStatus.REVOKED
        builder = (
            ocsp.OCSPResponseBuilder()
            .add_response(
                cert=_CERTIFICATE,
                issuer=_ISSUER,
                algorithm=SHA1(),
                cert_status=status,
                this_update=AT - timedelta(hours=1),
                next_update=AT + timedelta(days=1),
                revocation_time=AT - timedelta(days=1) if revoked else None,
                revocation_reason=None,
            )
            .responder_id(ocsp.OCSPResponderEncoding.HASH, _ISSUER)
        )
        signed = builder.sign(key, SHA256())
        found[status.name.lower()] = signed.public_bytes(Encoding.DER)
        signed = builder.certificates([_ISSUER]).sign(key, SHA256())
        found[f"{status.name.lower()}-with-certificate"] = signed.public_bytes(Encoding.DER)
    unsuccessful = ocsp.OCSPResponseBuilder.build_unsuccessful(ocsp.OCSPResponseStatus.TRY_LATER)
    found["try-later"] = unsuccessful.public_bytes(Encoding.DER)
    return found
