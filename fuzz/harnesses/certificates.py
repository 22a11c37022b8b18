"""Certificates of any form, PKCS#7 among them, and the chains that are built of them."""

from __future__ import annotations

from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.hazmat.primitives.serialization.pkcs7 import serialize_certificates

from fuzz.harness import refusals, vector
from fuzz.trust import AT, TRUST
from lifecycle.pki.certificates import (
    certificate_name,
    has_topic,
    issuer_name,
    parse_certificates,
)
from lifecycle.pki.chain import complete_chain
from lifecycle.pki.pem import encode_pem
from lifecycle.pki.signing_certificate import check_signing_certificate

PARSERS = (
    "lifecycle.pki.certificates.parse_certificates",
    "lifecycle.pki.chain.complete_chain",
    "lifecycle.pki.signing_certificate.check_signing_certificate",
)


def one(data: bytes) -> None:
    """Names and a verdict for whatever can be read; its PEM is read as the same."""
    with refusals():
        found = parse_certificates(data)
        for certificate in found[:4]:
            f"{certificate_name(certificate)}{issuer_name(certificate)}".encode()
            has_topic(certificate)
            der = certificate.public_bytes(Encoding.DER)
            assert parse_certificates(encode_pem("CERTIFICATE", der).encode()) == (certificate,)
        findings = [
            *complete_chain(found[0], TRUST, found[1:], at=AT)[1],
            *check_signing_certificate(found[0], None, at=AT),
        ]
        for finding in findings:
            str(finding).encode()


def seeds() -> dict[str, bytes]:
    """PEM, DER, a chain, and PKCS#7."""
    chain = parse_certificates(vector("chain.pem"))
    return {
        "pem": vector("root.pem"),
        "der": chain[0].public_bytes(Encoding.DER),
        "two-der": b"".join(c.public_bytes(Encoding.DER) for c in chain[:2]),
        "pkcs7.der": serialize_certificates(list(chain[:1]), Encoding.DER),
        "pkcs7.pem": serialize_certificates(list(chain[:2]), Encoding.PEM),
        "vendor": vector("vendor.pem"),
    }
