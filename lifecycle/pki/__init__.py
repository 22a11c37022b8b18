"""Certificates, CSRs and push certificate requests as pure functions: no I/O, no clock.

What is offered here is documented in docs/library.md and stays as it is; the rest of the package
is pushcert's own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lifecycle.exports import offer

if TYPE_CHECKING:
    from lifecycle.pki.certificates import certificate_name, parse_certificates
    from lifecycle.pki.chain import Chain, TrustStore, complete_chain
    from lifecycle.pki.csr import Csr, build_csr, parse_csr, read_csr, vet_csr
    from lifecycle.pki.fingerprints import (
        Fingerprint,
        fingerprint,
        key_fingerprint,
        serial_hex,
        token_fingerprint,
    )
    from lifecycle.pki.inspection import Inspection, inspect
    from lifecycle.pki.keys import generate_key, key_to_pem, load_pkcs12, load_private_key
    from lifecycle.pki.push_certificate import Expected, PushCertificate, check_push_certificate
    from lifecycle.pki.request import (
        KeySigner,
        PushCertRequest,
        SignsCsr,
        check_request,
        decode_request,
        sign_request,
    )
    from lifecycle.pki.revocation import RevocationStatus, build_ocsp_request, read_ocsp_response
    from lifecycle.pki.signing_certificate import check_signing_certificate
    from lifecycle.pki.topic import Topic
    from lifecycle.pki.upload import Upload, read_upload
else:
    __getattr__, __dir__ = offer(
        __name__,
        {
            "certificates": ("certificate_name", "parse_certificates"),
            "chain": ("Chain", "TrustStore", "complete_chain"),
            "csr": ("Csr", "build_csr", "parse_csr", "read_csr", "vet_csr"),
            "fingerprints": (
                "Fingerprint",
                "fingerprint",
                "key_fingerprint",
                "serial_hex",
                "token_fingerprint",
            ),
            "inspection": ("Inspection", "inspect"),
            "keys": ("generate_key", "key_to_pem", "load_pkcs12", "load_private_key"),
            "push_certificate": ("Expected", "PushCertificate", "check_push_certificate"),
            "request": (
                "KeySigner",
                "PushCertRequest",
                "SignsCsr",
                "check_request",
                "decode_request",
                "sign_request",
            ),
            "revocation": ("RevocationStatus", "build_ocsp_request", "read_ocsp_response"),
            "signing_certificate": ("check_signing_certificate",),
            "topic": ("Topic",),
            "upload": ("Upload", "read_upload"),
        },
    )

__all__ = [
    "Chain",
    "Csr",
    "Expected",
    "Fingerprint",
    "Inspection",
    "KeySigner",
    "PushCertRequest",
    "PushCertificate",
    "RevocationStatus",
    "SignsCsr",
    "Topic",
    "TrustStore",
    "Upload",
    "build_csr",
    "build_ocsp_request",
    "certificate_name",
    "check_push_certificate",
    "check_request",
    "check_signing_certificate",
    "complete_chain",
    "decode_request",
    "fingerprint",
    "generate_key",
    "inspect",
    "key_fingerprint",
    "key_to_pem",
    "load_pkcs12",
    "load_private_key",
    "parse_certificates",
    "parse_csr",
    "read_csr",
    "read_ocsp_response",
    "read_upload",
    "serial_hex",
    "sign_request",
    "token_fingerprint",
    "vet_csr",
]
