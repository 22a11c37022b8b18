"""What makes a CSR unfit to be signed."""

from __future__ import annotations

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.x509.oid import SignatureAlgorithmOID

from lifecycle.errors import Finding
from lifecycle.pki.certificates import UNREADABLE

MIN_KEY_BITS = 2048
MAX_KEY_BITS = 8192
MIN_PUBLIC_EXPONENT = 65537

_SIGNATURES = frozenset(
    {
        SignatureAlgorithmOID.RSA_WITH_SHA256,
        SignatureAlgorithmOID.RSA_WITH_SHA384,
        SignatureAlgorithmOID.RSA_WITH_SHA512,
    }
)


def vet(request: x509.CertificateSigningRequest, *, has_subject: bool) -> tuple[Finding, ...]:
    """Everything that is wrong with ``request``, whose key must be one that can be loaded.

    Args:
        has_subject: whether any attribute of the subject has a value.

    Codes: ``csr_key_not_rsa``, ``csr_key_too_short``, ``csr_key_too_long``,
    ``csr_key_exponent``, ``csr_signature_algorithm``, ``csr_signature_invalid``,
    ``csr_wants_ca``, ``csr_extensions_unreadable``, ``csr_subject_empty``.
    """
    return (
        *_key_findings(request),
        *_signature_findings(request),
        *_extension_findings(request),
        *(() if has_subject else (_subject_missing(),)),
    )


def _key_findings(request: x509.CertificateSigningRequest) -> tuple[Finding, ...]:
    key = request.public_key()
    remedy = f"Make a new RSA key of {MIN_KEY_BITS} bits and a CSR with it."
    if not isinstance(key, RSAPublicKey):
        return (Finding("csr_key_not_rsa", "The key of the CSR is not an RSA key.", remedy),)
    found = []
    if key.key_size < MIN_KEY_BITS:
        message = f"The RSA key has {key.key_size} bits; at least {MIN_KEY_BITS} are needed."
        found.append(Finding("csr_key_too_short", message, remedy))
    if key.key_size > MAX_KEY_BITS:
        message = f"The RSA key has {key.key_size} bits; at most {MAX_KEY_BITS} are taken."
        found.append(Finding("csr_key_too_long", message, remedy))
    exponent = key.public_numbers().e
    if exponent < MIN_PUBLIC_EXPONENT:
        message = f"The RSA key has the public exponent {exponent}, which is not safe."
        found.append(Finding("csr_key_exponent", message, f"{remedy} Its exponent is 65537."))
    return tuple(found)


def _signature_findings(request: x509.CertificateSigningRequest) -> tuple[Finding, ...]:
    if not isinstance(request.public_key(), RSAPublicKey):
        return ()  # the key has to be made anew, and the CSR with it
    if request.signature_algorithm_oid not in _SIGNATURES:
        return (
            Finding(
                "csr_signature_algorithm",
                "The CSR is not signed with SHA-256 and RSA (PKCS#1 v1.5).",
                "Make it again with SHA-256, e.g. openssl req -new -sha256.",
            ),
        )
    if _self_signature_holds(request):
        return ()
    return (
        Finding(
            "csr_signature_invalid",
            "The CSR's own signature does not hold: it was changed or damaged after it was made.",
            "Make or export the CSR again.",
        ),
    )


def _self_signature_holds(request: x509.CertificateSigningRequest) -> bool:
    try:
        return request.is_signature_valid
    except UNREADABLE:
        return False


def _extension_findings(request: x509.CertificateSigningRequest) -> tuple[Finding, ...]:
    try:
        wanted = [extension.value for extension in request.extensions]
    except UNREADABLE:
        return (
            Finding(
                "csr_extensions_unreadable",
                "The extensions that the CSR asks for cannot be read.",
                "Make the CSR again without extensions; none are needed.",
            ),
        )
    if any(_asks_for_ca(value) for value in wanted):
        return (
            Finding(
                "csr_wants_ca",
                "The CSR asks for a CA certificate.",
                "Make it again without CA:TRUE and without certificate signing as a key usage.",
            ),
        )
    return ()


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
