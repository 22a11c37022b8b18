"""The vendor's MDM signing certificate: can requests be signed with it now?"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes

from lifecycle.errors import Finding, Severity
from lifecycle.pki.certificates import UNREADABLE, certificate_name, extension, has_topic
from lifecycle.pki.fingerprints import key_fingerprint

MIN_KEY_BITS = 2048
NAME_PREFIX = "MDM Vendor:"
_RIGHT_FILE = (
    "Use the certificate that the developer portal issued for “MDM CSR”, and the key of its CSR."
)


def check_signing_certificate(
    certificate: x509.Certificate, key: PublicKeyTypes | None, *, at: datetime | None
) -> tuple[Finding, ...]:
    """Everything that keeps a certificate from signing push certificate requests.

    Args:
        certificate: the leaf. Its chain is ``complete_chain``'s to judge.
        key: the public half of the key that is to sign; None: not compared.
        at: aware UTC; None: dates are not judged.

    Returns:
        Findings with the codes ``signing_key_unreadable``, ``signing_key_mismatch``,
        ``signing_key_not_rsa``, ``signing_key_too_short``, ``signing_certificate_is_ca``,
        ``signing_certificate_is_push``,
        ``signing_not_allowed``, ``signing_certificate_expired``,
        ``signing_certificate_not_yet_valid``, and the note ``signing_certificate_name``.
    """
    return (*_key_findings(certificate, key), *_use_findings(certificate), *_dates(certificate, at))


def key_mismatch() -> Finding:
    """The finding about a key that is another certificate's."""
    return Finding(
        "signing_key_mismatch",
        "The private key does not belong to the signing certificate.",
        "Give the key that the certificate's CSR was made with.",
    )


def _key_findings(certificate: x509.Certificate, key: PublicKeyTypes | None) -> Iterator[Finding]:
    try:
        own = certificate.public_key()
    except UNREADABLE:
        yield Finding(
            "signing_key_unreadable", "The signing certificate's key cannot be read.", _RIGHT_FILE
        )
        return
    if not isinstance(own, RSAPublicKey):
        yield Finding(
            "signing_key_not_rsa", "The signing certificate's key is not an RSA key.", _RIGHT_FILE
        )
        return
    if own.key_size < MIN_KEY_BITS:
        yield Finding(
            "signing_key_too_short",
            f"The signing certificate's key has {own.key_size} bits; {MIN_KEY_BITS} are needed.",
            "Make a new CSR with a longer key and get a new MDM signing certificate.",
        )
    if key is not None and key_fingerprint(key) != key_fingerprint(own):
        yield key_mismatch()


def _use_findings(certificate: x509.Certificate) -> Iterator[Finding]:
    constraints = extension(certificate, x509.BasicConstraints)
    if constraints is not None and constraints.ca:
        yield Finding(
            "signing_certificate_is_ca",
            f"“{certificate_name(certificate)}” is a CA certificate.",
            _RIGHT_FILE,
        )
    if has_topic(certificate):
        yield Finding(
            "signing_certificate_is_push",
            f"“{certificate_name(certificate)}” is a push certificate.",
            _RIGHT_FILE,
        )
    usage = extension(certificate, x509.KeyUsage)
    if usage is not None and not usage.digital_signature:
        yield Finding(
            "signing_not_allowed", "The certificate's key may not make signatures.", _RIGHT_FILE
        )
    if not certificate_name(certificate).startswith(NAME_PREFIX):
        yield Finding(
            "signing_certificate_name",
            f"“{certificate_name(certificate)}” is not called “{NAME_PREFIX} …” as Apple's MDM"
            " signing certificates are.",
            _RIGHT_FILE,
            Severity.NOTE,
        )


def _dates(certificate: x509.Certificate, at: datetime | None) -> Iterator[Finding]:
    if at is None:
        return
    if certificate.not_valid_after_utc <= at:
        yield Finding(
            "signing_certificate_expired",
            f"The signing certificate expired on {certificate.not_valid_after_utc:%Y-%m-%d}; the"
            " portal refuses what is signed with it.",
            "Get a new MDM signing certificate from the developer portal.",
        )
    if certificate.not_valid_before_utc > at:
        yield Finding(
            "signing_certificate_not_yet_valid",
            "The signing certificate is not valid before"
            f" {certificate.not_valid_before_utc:%Y-%m-%d %H:%M} UTC.",
            "Check the clock of this machine, or wait until then.",
        )
