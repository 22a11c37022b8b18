"""Fingerprints: how keys, certificates and device tokens are named without being shown."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, NewType

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes

Fingerprint = NewType("Fingerprint", str)
"""SHA-256 as 64 lower-case hexadecimal digits."""

_TOKEN_DOMAIN = b"pushcert device token\0"
_SHORT_DIGITS = 12


def fingerprint(data: bytes) -> Fingerprint:
    """SHA-256 over ``data``; for a certificate, over its DER (as Apple and openssl print it)."""
    return Fingerprint(hashlib.sha256(data).hexdigest())


def key_fingerprint(key: PublicKeyTypes) -> Fingerprint:
    """SHA-256 over the DER SubjectPublicKeyInfo of ``key``.

    The same for a key, its CSR and its certificate: comparing it is the key match.
    """
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    return fingerprint(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))


def token_fingerprint(token: bytes) -> Fingerprint:
    """SHA-256 over a device token in its raw bytes, kept apart from other uses by a prefix."""
    return fingerprint(_TOKEN_DOMAIN + token)


def short(fp: str) -> str:
    """The first 12 digits of a fingerprint, for people: ``3fa9c01b77de``."""
    return fp[:_SHORT_DIGITS]


def serial_hex(serial: int) -> str:
    """A serial number as Keychain Access and the portal show it: upper-case hex, even length."""
    digits = f"{serial:X}"
    return digits if len(digits) % 2 == 0 else f"0{digits}"
