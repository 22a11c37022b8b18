"""The key that signs the documents of isolation runs; by default Ed25519, made by ``init``."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from lifecycle.errors import Refused, refuse
from lifecycle.passphrase import PassphraseSource, resolve
from lifecycle.pki.fingerprints import Fingerprint, key_fingerprint

Buffer = Any
"""Bytes, or a map of a file: documents may be larger than what should be in memory."""

_Private = ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
_Public = ed25519.Ed25519PublicKey | rsa.RSAPublicKey | ec.EllipticCurvePublicKey


@dataclass(frozen=True, slots=True)
class EvidenceKey:
    """A private key for signing documents; it does not show in the ``repr``."""

    key: _Private = field(repr=False)

    @property
    def public_pem(self) -> bytes:
        """The public key, as an auditor gets it."""
        return self.key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

    @property
    def fingerprint(self) -> Fingerprint:
        """SHA-256 of the public key's SubjectPublicKeyInfo."""
        return key_fingerprint(self.key.public_key())

    def sign(self, data: Buffer) -> bytes:
        """A detached signature: Ed25519, else PKCS#1 v1.5 or ECDSA (DER) over SHA-256."""
        if isinstance(self.key, ed25519.Ed25519PrivateKey):
            return self.key.sign(data)
        if isinstance(self.key, rsa.RSAPrivateKey):
            return self.key.sign(data, padding.PKCS1v15(), hashes.SHA256())
        return self.key.sign(data, ec.ECDSA(hashes.SHA256()))


def make_evidence_key(path: Path) -> EvidenceKey:
    """Makes an Ed25519 key in a new file (0600).

    Raises:
        FileExistsError: there is a file already; a key is never replaced.
    """
    made = EvidenceKey(ed25519.Ed25519PrivateKey.generate())
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    pem = made.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(pem)
        file.flush()
        os.fsync(file.fileno())
    return made


def load_evidence_key(path: Path, passphrase: PassphraseSource | None) -> EvidenceKey:
    """Reads the key.

    Raises:
        Refused: ``evidence_key_missing``, ``evidence_key_unreadable``,
            ``evidence_key_unsuitable``, or what ``resolve`` raises.
    """
    try:
        key = load_pem_private_key(path.read_bytes(), resolve(passphrase))
    except FileNotFoundError:
        raise refuse(
            "evidence_key_missing",
            f"There is no key {path} to sign evidence with.",
            "Run `pushcert init` (with the folder of config.toml); it makes one.",
        ) from None
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm):
        raise refuse(
            "evidence_key_unreadable",
            f"{path} cannot be read as a private key in PEM with the passphrase configured.",
            "Mend evidence.key or evidence.passphrase in config.toml.",
        ) from None
    strong_rsa = isinstance(key, rsa.RSAPrivateKey) and key.key_size >= 2048
    if isinstance(key, ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey) or strong_rsa:
        return EvidenceKey(key)  # type: ignore[arg-type]
    raise refuse(
        "evidence_key_unsuitable",
        f"{path} holds a key of a kind that evidence is not signed with.",
        "Use Ed25519, an elliptic curve, or RSA of 2048 bits or more.",
    )


def verify_signature(public_pem: bytes, signature: bytes, data: Buffer) -> Fingerprint:
    """Checks a detached signature; gives the key's fingerprint.

    Raises:
        Refused: ``public_key_unreadable``, ``evidence_signature_wrong``.
    """
    try:
        key = load_pem_public_key(public_pem)
    except (ValueError, UnsupportedAlgorithm):
        raise refuse(
            "public_key_unreadable",
            "The public key is not one in PEM.",
            "Take the .pub.pem file that the vendor published.",
        ) from None
    try:
        if isinstance(key, ed25519.Ed25519PublicKey):
            key.verify(signature, data)
        elif isinstance(key, rsa.RSAPublicKey):
            key.verify(signature, data, padding.PKCS1v15(), hashes.SHA256())
        elif isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(signature, data, ec.ECDSA(hashes.SHA256()))
        else:
            return _no_such_kind()
    except InvalidSignature:
        raise _wrong_signature() from None
    return key_fingerprint(key)


def _wrong_signature() -> Refused:
    return refuse(
        "evidence_signature_wrong",
        "The signature does not belong to this document and this public key.",
        "The document was changed, or signed with another key: ask the vendor for both.",
    )


def _no_such_kind() -> Fingerprint:
    raise _wrong_signature()
