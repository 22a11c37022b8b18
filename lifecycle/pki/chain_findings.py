"""How the findings about a chain are worded: which certificate, what about it, what to do."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from cryptography import x509

from lifecycle.errors import Finding
from lifecycle.pki.certificates import certificate_name, issuer_name

_APPLE_AUTHORITY = "https://www.apple.com/certificateauthority/"


def date_findings(certificate: x509.Certificate, at: datetime) -> Iterator[Finding]:
    """What is wrong with the certificate's dates at ``at``; nothing if they hold."""
    name = certificate_name(certificate)
    if at > certificate.not_valid_after_utc:
        yield Finding(
            "chain_certificate_expired",
            f"“{name}” expired on {certificate.not_valid_after_utc:%Y-%m-%d}.",
            f"Get its successor from the one who issued it (Apple's CAs: {_APPLE_AUTHORITY}).",
        )
    if at < certificate.not_valid_before_utc:
        yield Finding(
            "chain_certificate_not_yet_valid",
            f"“{name}” is valid only from {certificate.not_valid_before_utc:%Y-%m-%d %H:%M} UTC.",
            "Check this machine's clock; if it is right, wait until then.",
        )


def root_untrusted(root: x509.Certificate) -> Finding:
    """The path ends at a root nobody trusts."""
    return Finding(
        "chain_root_untrusted",
        f"The chain ends at “{certificate_name(root)}”, which is not a trusted root.",
        "Use a certificate from Apple, or name this root in the configuration if it is yours.",
    )


def issuer_not_ca(certificate: x509.Certificate, issuer: x509.Certificate) -> Finding:
    """The issuer exists, and may not issue."""
    return Finding(
        "chain_issuer_not_ca",
        f"“{certificate_name(certificate)}” was signed by “{certificate_name(issuer)}”, "
        "which may not issue it: it is no CA, or not for so long a chain.",
        "Use a certificate that Apple issued.",
    )


def signature_invalid(certificate: x509.Certificate) -> Finding:
    """The issuer that is named exists, and did not sign."""
    return Finding(
        "chain_signature_invalid",
        f"“{certificate_name(certificate)}” names “{issuer_name(certificate)}” as its issuer, "
        "but that key did not sign it: the file is damaged or forged.",
        "Download the certificate again from where it was issued.",
    )


def signature_weak(certificate: x509.Certificate) -> Finding:
    """The issuer signed, over a hash that no longer counts."""
    return Finding(
        "chain_signature_weak",
        f"“{certificate_name(certificate)}” is signed over SHA-1, which proves nothing any more.",
        "Use a certificate that Apple issued lately.",
    )


def missing_issuer(
    certificate: x509.Certificate, key_identifier: bytes | None, *, look_alike: bool
) -> Finding:
    """The next certificate of the path is not there; says which it is."""
    key = f" with key identifier {key_identifier.hex(':').upper()}" if key_identifier else ""
    note = " (one of that name is known, but with another key)" if look_alike else ""
    return Finding(
        "chain_certificate_missing",
        f"The issuer of “{certificate_name(certificate)}” is missing: "
        f"“{issuer_name(certificate)}”{key}{note}.",
        f"Download it (Apple's are at {_APPLE_AUTHORITY}) and give it along as a chain file.",
    )
