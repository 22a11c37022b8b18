"""What makes a CSR unfit to be signed."""

from __future__ import annotations

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from cryptography.x509.oid import SignatureAlgorithmOID

from lifecycle.errors import Finding
from lifecycle.pki.certificates import UNREADABLE
from lifecycle.pki.digest_info import PKCS1_V15

MIN_KEY_BITS = 2048
MAX_KEY_BITS = 8192
MIN_PUBLIC_EXPONENT = 65537

_NEW_KEY = f"Make a new RSA key of {MIN_KEY_BITS} bits and a CSR with it."

_SIGNATURES = {
    SignatureAlgorithmOID.RSA_WITH_SHA256: hashes.SHA256(),
    SignatureAlgorithmOID.RSA_WITH_SHA384: hashes.SHA384(),
    SignatureAlgorithmOID.RSA_WITH_SHA512: hashes.SHA512(),
}


def vet(
    request: x509.CertificateSigningRequest,
    info: bytes,
    key: PublicKeyTypes,
    *,
    has_subject: bool,
) -> tuple[Finding, ...]:
    """Everything that is wrong with ``request``.

    Args:
        info: its CertificationRequestInfo, DER as received.
        key: the key of the CSR, loaded once for everything that is looked at in it.
        has_subject: whether any attribute of the subject has a value.

    Codes: ``csr_key_not_rsa``, ``csr_key_too_short``, ``csr_key_too_long``,
    ``csr_key_exponent``, ``csr_signature_algorithm``, ``csr_signature_invalid``,
    ``csr_wants_ca``, ``csr_extensions_unreadable``, ``csr_subject_empty``.
    """
    rest = _extension_findings(request)
    if not has_subject:
        rest += (_subject_missing(),)
    if not isinstance(key, RSAPublicKey):
        # The key has to be made anew, and the signature with it.
        return (_key_not_rsa(), *rest)
    return _key_findings(key) + _signature_findings(request, info, key) + rest


def _key_findings(key: RSAPublicKey) -> tuple[Finding, ...]:
    bits, exponent = key.key_size, key.public_numbers().e
    if MIN_KEY_BITS <= bits <= MAX_KEY_BITS and exponent >= MIN_PUBLIC_EXPONENT:
        return ()
    found = []
    if bits < MIN_KEY_BITS:
        message = f"The RSA key has {bits} bits; at least {MIN_KEY_BITS} are needed."
        found.append(Finding("csr_key_too_short", message, _NEW_KEY))
    if bits > MAX_KEY_BITS:
        message = f"The RSA key has {bits} bits; at most {MAX_KEY_BITS} are taken."
        found.append(Finding("csr_key_too_long", message, _NEW_KEY))
    if exponent < MIN_PUBLIC_EXPONENT:
        message = f"The RSA key has the public exponent {exponent}, which is not safe."
        found.append(Finding("csr_key_exponent", message, f"{_NEW_KEY} Its exponent is 65537."))
    return tuple(found)


def _signature_findings(
    request: x509.CertificateSigningRequest, info: bytes, key: RSAPublicKey
) -> tuple[Finding, ...]:
    algorithm = _SIGNATURES.get(request.signature_algorithm_oid)
    if algorithm is None:
        return (
            Finding(
                "csr_signature_algorithm",
                "The CSR is not signed with SHA-256 and RSA (PKCS#1 v1.5).",
                "Make it again with SHA-256, e.g. openssl req -new -sha256.",
            ),
        )
    try:
        # As ``request.is_signature_valid`` does it, which would load the key once more.
        key.verify(request.signature, info, PKCS1_V15, algorithm)
    except (InvalidSignature, *UNREADABLE):
        return (
            Finding(
                "csr_signature_invalid",
                "The CSR's own signature does not hold: it was changed or damaged after it was"
                " made.",
                "Make or export the CSR again.",
            ),
        )
    return ()


def _extension_findings(request: x509.CertificateSigningRequest) -> tuple[Finding, ...]:
    try:
        asked = request.extensions
        wanted = [extension.value for extension in asked] if len(asked) else ()
    except UNREADABLE:
        return (
            Finding(
                "csr_extensions_unreadable",
                "The extensions that the CSR asks for cannot be read.",
                "Make the CSR again without extensions; none are needed.",
            ),
        )
    if wanted and any(_asks_for_ca(value) for value in wanted):
        return (
            Finding(
                "csr_wants_ca",
                "The CSR asks for a CA certificate.",
                "Make it again without CA:TRUE and without certificate signing as a key usage.",
            ),
        )
    return ()


def _key_not_rsa() -> Finding:
    return Finding("csr_key_not_rsa", "The key of the CSR is not an RSA key.", _NEW_KEY)


def _subject_missing() -> Finding:
    return Finding(
        "csr_subject_empty",
        "The CSR has no subject.",
        "Make it again with an e-mail address and a name.",
    )


def _asks_for_ca(value: x509.ExtensionType) -> bool:
    if isinstance(value, x509.BasicConstraints):
        return value.ca
    return isinstance(value, x509.KeyUsage) and value.key_cert_sign
