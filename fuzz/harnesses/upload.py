"""The file that a customer uploads as what the portal gave them."""

from __future__ import annotations

from cryptography.hazmat.primitives.serialization import Encoding

from fuzz.harness import refusals, vector
from fuzz.trust import AT, TRUST
from lifecycle.pki.certificates import parse_certificates
from lifecycle.pki.push_certificate import Expected, PushCertificate, check_push_certificate
from lifecycle.pki.upload import read_upload

PARSERS = (
    "lifecycle.pki.upload.read_upload",
    "lifecycle.pki.push_certificate.PushCertificate.from_der",
    "lifecycle.pki.push_certificate.check_push_certificate",
)
_ACTIVE = read_upload(vector("MDM_ Example MDM_Certificate.pem")).certificate
_EXPECTED = Expected(frozenset({_ACTIVE.key_fingerprint}), _ACTIVE.topic, _ACTIVE)


def one(data: bytes) -> None:
    """The certificate, alone again, is the same; the verdict on it can be shown."""
    with refusals():
        PushCertificate.from_der(data)
    with refusals():
        upload = read_upload(data)
        certificate = upload.certificate
        assert PushCertificate.from_der(certificate.der) == certificate
        assert read_upload(certificate.pem.encode()).certificate == certificate
        f"{certificate.common_name}{certificate.issuer}{certificate.ocsp_url}".encode()
        for expected in (_EXPECTED, Expected()):
            wrong = check_push_certificate(certificate, expected, TRUST, upload.others, at=AT)
            for finding in wrong:
                str(finding).encode()


def seeds() -> dict[str, bytes]:
    """The portal's file, its DER, with a key pasted in, and what it is not."""
    pem = vector("MDM_ Example MDM_Certificate.pem")
    return {
        "pem": pem,
        "der": parse_certificates(pem)[0].public_bytes(Encoding.DER),
        "key-pasted": pem + vector("customer.key"),
        "with-ca": pem + vector("aai.pem"),
        "ca": vector("aai.pem"),
        "signing": vector("vendor.pem"),
        "request": vector("request.b64"),
    }
