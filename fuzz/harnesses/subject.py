"""What a vendor wants in the subject of a CSR: checked, written by hand, read by cryptography."""

from __future__ import annotations

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

from fuzz.harness import joined, refusals, split, vector
from lifecycle.pki import der
from lifecycle.pki.csr import parse_csr
from lifecycle.pki.keys import load_private_key
from lifecycle.pki.subject import check_subject, subject_der

PARSERS = ("lifecycle.pki.subject.check_subject", "lifecycle.pki.subject.subject_values")
LONGEST = 1024
WEIGHT = 3

_SPKI = (
    load_private_key(vector("customer.key"), None)
    .public_key()
    .public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
)
_SHA256_WITH_RSA = bytes.fromhex("300d06092a864886f70d01010b0500")


def one(data: bytes) -> None:
    """Round trip: what passes the check comes out of the CSR as it went in."""
    email, name, country = (part.decode("utf-8", "replace") for part in split(data, 3))
    findings = check_subject(email=email, common_name=name, country=country)
    for finding in findings:
        str(finding).encode()
    if findings:
        return
    subject = subject_der(email=email, common_name=name, country=country)
    info = der.element(
        der.SEQUENCE, der.element(der.INTEGER, b"\0"), subject, _SPKI, der.element(der.CONTEXT_0)
    )
    unsigned = der.element(
        der.SEQUENCE, info, _SHA256_WITH_RSA, der.element(der.BIT_STRING, b"\0", b"\1" * 256)
    )
    with refusals():
        csr = parse_csr(unsigned)
        assert (csr.email, csr.common_name, csr.country) == (email, name, country)
        assert csr.parsed.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value == name
        return
    raise AssertionError("a subject that passes the check makes a CSR that is refused")


def seeds() -> dict[str, bytes]:
    """Names in several scripts."""
    return {
        "latin": joined(b"it@example.com", b"Acme", b"US"),
        "japanese": joined(b"it@xn--r8jz45g.jp", "日本の会社".encode(), b"JP"),
        "long": joined(b"a@b", "é".encode() * 64, b"DE"),
        "wrong": joined("ü@x.de".encode(), b"", b"de"),
    }
