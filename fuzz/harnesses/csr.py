"""CSRs, from a file of any form to the verdict."""

from __future__ import annotations

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding

from fuzz.harness import refusals, vector
from lifecycle.pki import der as asn1
from lifecycle.pki.csr import parse_csr, vet_csr
from lifecycle.pki.keys import load_private_key
from lifecycle.pki.usual_csr import is_sound_at_a_glance

PARSERS = (
    "lifecycle.pki.csr.parse_csr",
    "lifecycle.pki.csr.vet_csr",
    "lifecycle.pki.usual_csr.is_sound_at_a_glance",
)
WEIGHT = 2

_KEY = load_private_key(vector("customer.key"), None)
_SHA256_WITH_RSA = bytes.fromhex("300d06092a864886f70d01010b0500")
_SIGNED = b"S"


def one(data: bytes) -> None:
    """A CSR that was read is read again from its PEM, with the very same bytes; what is sound at
    a glance has no finding.

    Input that begins with ``S`` is what a CSR signs of itself, and is signed: only so does what
    stands behind the signature get mutated.
    """
    if data.startswith(_SIGNED):
        data = _signed(data[1:])
    sound = is_sound_at_a_glance(data)
    with refusals():
        csr = parse_csr(data)
        findings = vet_csr(csr)
        for finding in findings:
            str(finding).encode()
        assert parse_csr(csr.pem.encode()) == csr
        f"{csr.common_name}{csr.email}{csr.country}".encode()
        assert not sound or (csr.der == data and not findings)
        return
    assert not sound


def _signed(content: bytes) -> bytes:
    info = asn1.element(asn1.SEQUENCE, content)
    signature = _KEY.sign(info, padding.PKCS1v15(), hashes.SHA256())
    bits = asn1.element(asn1.BIT_STRING, b"\0", signature)
    return asn1.element(asn1.SEQUENCE, info, _SHA256_WITH_RSA, bits)


def seeds() -> dict[str, bytes]:
    """PEM and DER, and what is signed here."""
    der = vector("customer-csr.der")
    return {
        "der": der,
        "pem": vector("customer-csr.pem"),
        "crlf": vector("customer-csr-crlf.pem"),
        "truncated": der[:-20],
        "tail": der + b"\0\0",
        "changed": der.replace(b"Acme", b"Evil"),
        "key": vector("customer.key"),
        "signed": _SIGNED + asn1.first_inside(der)[4:],
    }
