"""A push certificate with its private key, in the forms that other software takes. Pure.

    render(pair, Form.P12, Options(passphrase=b"…", encryption=Pkcs12Encryption.LEGACY))

Which software wants which: ``docs/deploying.md``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.hashes import SHA1, SHA256
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    pkcs12,
)
from cryptography.hazmat.primitives.serialization.pkcs12 import PBES

from lifecycle.errors import refuse
from lifecycle.pki.pem import encode_pem
from lifecycle.pki.push_certificate import PushCertificate

PBKDF2_ROUNDS = 600_000
"""OWASP's Password Storage Cheat Sheet, for PBKDF2 with HMAC-SHA-256."""
LEGACY_ROUNDS = 2_048
"""What OpenSSL 1.1 and Keychain Access write; some old readers take no more."""


class Form(StrEnum):
    """What is written."""

    CERTIFICATE = "certificate"
    """The certificate alone, PEM."""
    CHAIN = "chain"
    """The certificate and the intermediates above it, PEM; without the root."""
    KEY = "key"
    """The private key alone, PEM."""
    PEM = "pem"
    """The certificate, then the private key, in one file."""
    P12 = "p12"
    """PKCS#12: certificate, intermediates and key."""

    @property
    def is_secret(self) -> bool:
        """True if the private key is in it."""
        return self in (Form.KEY, Form.PEM, Form.P12)


class KeyFormat(StrEnum):
    """How a private key is written in PEM."""

    PKCS8 = "pkcs8"
    """``PRIVATE KEY``: RFC 5958, what software of today reads."""
    PKCS1 = "pkcs1"
    """``RSA PRIVATE KEY``: RFC 8017, A.1.2; MicroMDM and other old software read nothing else."""


class Pkcs12Encryption(StrEnum):
    """How a PKCS#12 file is encrypted."""

    MODERN = "modern"
    """AES-256 under PBKDF2 with SHA-256 (RFC 8018): OpenSSL 3, Java 17, macOS 15."""
    LEGACY = "legacy"
    """Triple DES under SHA-1 (RFC 7292, appendix B): for what cannot read the other."""


@dataclass(frozen=True)
class Pair:
    """A push certificate and what belongs to it. The key is not in the ``repr``.

    Attributes:
        certificate, key: which belong together.
        intermediates: the CA certificates above it, the root left out; empty where they are
            not known.
    """

    certificate: PushCertificate
    key: RSAPrivateKey = field(repr=False)
    intermediates: tuple[x509.Certificate, ...] = ()


@dataclass(frozen=True)
class Options:
    """How the secret part is written.

    Attributes:
        passphrase: encrypts the key; None leaves it readable to whoever has the file.
        key_format: of a key in PEM.
        encryption: of a PKCS#12 file.
    """

    passphrase: bytes | None = field(default=None, repr=False)
    key_format: KeyFormat = KeyFormat.PKCS8
    encryption: Pkcs12Encryption = Pkcs12Encryption.MODERN


def render(pair: Pair, form: Form, options: Options = Options()) -> bytes:
    """``pair`` as ``form``.

    Raises:
        Refused: ``export_passphrase_missing`` (PKCS#12 without one), ``chain_unknown`` (the
            intermediates are not known).
    """
    match form:
        case Form.CERTIFICATE:
            return pair.certificate.pem.encode()
        case Form.CHAIN:
            return _chain(pair)
        case Form.KEY:
            return _key(pair.key, options)
        case Form.PEM:
            return pair.certificate.pem.encode() + _key(pair.key, options)
        case Form.P12:
            return _pkcs12(pair, options)


def _chain(pair: Pair) -> bytes:
    if not pair.intermediates:
        raise refuse(
            "chain_unknown",
            f"The CA certificate above “{pair.certificate.common_name}” is not known here.",
            "Add the CA that issued it to trust.extra in config.toml.",
        )
    above = "".join(
        encode_pem("CERTIFICATE", c.public_bytes(Encoding.DER)) for c in pair.intermediates
    )
    return (pair.certificate.pem + above).encode()


def _key(key: RSAPrivateKey, options: Options) -> bytes:
    form = PrivateFormat.PKCS8
    if options.key_format is KeyFormat.PKCS1:
        form = PrivateFormat.TraditionalOpenSSL
    encryption: KeySerializationEncryption = NoEncryption()
    if options.passphrase:
        encryption = BestAvailableEncryption(options.passphrase)
    return key.private_bytes(Encoding.PEM, form, encryption)


def _pkcs12(pair: Pair, options: Options) -> bytes:
    if not options.passphrase:
        raise refuse(
            "export_passphrase_missing",
            "A PKCS#12 file is not written without a passphrase.",
            "Give one through an environment variable, a file or a command.",
        )
    builder = PrivateFormat.PKCS12.encryption_builder()
    if options.encryption is Pkcs12Encryption.LEGACY:
        builder = (
            builder.kdf_rounds(LEGACY_ROUNDS)
            .key_cert_algorithm(PBES.PBESv1SHA1And3KeyTripleDESCBC)
            .hmac_hash(SHA1())  # noqa: S303 - the format's own, where nothing else is read
        )
    else:
        builder = (
            builder.kdf_rounds(PBKDF2_ROUNDS)
            .key_cert_algorithm(PBES.PBESv2SHA256AndAES256CBC)
            .hmac_hash(SHA256())
        )
    return pkcs12.serialize_key_and_certificates(
        pair.certificate.common_name.encode(),
        pair.key,
        pair.certificate.certificate,
        pair.intermediates or None,
        builder.build(options.passphrase),
    )
