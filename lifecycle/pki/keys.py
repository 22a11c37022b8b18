"""Private keys: made, loaded, written. No error raised here carries key or passphrase bytes."""

from __future__ import annotations

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    load_der_private_key,
    load_pem_private_key,
    pkcs12,
)

from lifecycle.errors import Finding, Refused, raise_for, refuse
from lifecycle.pki.kinds import PKCS5_OID, FileKind, kind_of
from lifecycle.pki.pem import pem_blocks
from lifecycle.pki.work_factor import MAX_KEY_BYTES, cost_findings, too_long

KEY_BITS = 2048
PUBLIC_EXPONENT = 65537
MAX_KEY_FILE_BYTES = 256 * 1024


def generate_key() -> RSAPrivateKey:
    """A fresh RSA key of 2048 bits, exponent 65537: what the portal takes (FACTS.md)."""
    return generate_private_key(public_exponent=PUBLIC_EXPONENT, key_size=KEY_BITS)


def load_private_key(
    data: bytes, passphrase: bytes | None, *, trusted: bool = False
) -> RSAPrivateKey:
    """The one RSA private key in ``data``.

    Args:
        data: PEM (PKCS#8, PKCS#1, encrypted or not; certificates beside it are ignored) or
            DER.
        passphrase: None or empty for a key that is not encrypted; ignored if it is not.
        trusted: skips the mathematical check of the key, which takes about 50 ms. Only for
            bytes that our own vault made and sealed with authentication.

    Raises:
        Refused: ``private_key_missing``, ``private_key_ambiguous``, ``private_key_encrypted``,
            ``passphrase_wrong``, ``private_key_damaged``, ``private_key_not_rsa``,
            ``private_key_too_short``, ``private_key_too_long``, ``key_derivation_too_costly``,
            or what ``pem_blocks`` raises. Never carries any byte of ``data`` or ``passphrase``.
    """
    if len(data) > MAX_KEY_FILE_BYTES:
        raise _missing("too big to be a private key")
    source, is_pem = _key_source(data)
    raise_for(_cost_findings(source, is_pem=is_pem))
    try:
        key = _load(source, passphrase or None, is_pem=is_pem, trusted=trusted)
    except TypeError:
        # cryptography's only TypeErrors here: a passphrase is needed, or given without need.
        if not passphrase:
            raise refuse(
                "private_key_encrypted",
                "The private key is encrypted, and no passphrase was given.",
                "Give its passphrase through an environment variable, a file or a command.",
            ) from None
        return load_private_key(data, None, trusted=trusted)
    except UnsupportedAlgorithm:
        raise _unreadable(source, is_pem=is_pem, passphrase=None) from None
    except ValueError:
        raise _unreadable(source, is_pem=is_pem, passphrase=passphrase) from None
    return _require_rsa(key)


def key_to_pem(key: RSAPrivateKey, passphrase: bytes | None) -> bytes:
    """``key`` as PKCS#8 PEM, encrypted if there is a passphrase (None: not encrypted)."""
    encryption: KeySerializationEncryption = (
        BestAvailableEncryption(passphrase) if passphrase else NoEncryption()
    )
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)


def load_pkcs12(
    data: bytes, passphrase: bytes | None
) -> tuple[RSAPrivateKey, x509.Certificate, tuple[x509.Certificate, ...]]:
    """Key, its certificate, and the other certificates of a PKCS#12 file (``.p12``, ``.pfx``).

    Raises:
        Refused: ``pkcs12_unreadable`` (wrong passphrase or damaged; the format does not tell
            the two apart), ``pkcs12_incomplete`` (no key or no certificate),
            ``pkcs12_too_large``, ``key_derivation_too_costly``, ``private_key_too_long``,
            ``private_key_not_rsa``, ``private_key_too_short``.
    """
    if len(data) > MAX_KEY_FILE_BYTES:
        raise refuse(
            "pkcs12_too_large",
            f"The PKCS#12 file has {len(data):,} bytes; at most {MAX_KEY_FILE_BYTES:,} are read.",
            "Export the one certificate with its private key.",
        )
    raise_for(cost_findings(data))
    try:
        key, leaf, others = pkcs12.load_key_and_certificates(data, passphrase or None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise refuse(
            "pkcs12_unreadable",
            "The PKCS#12 file cannot be opened: the passphrase is wrong or the file is damaged.",
            "Check the passphrase; if it is right, export the file again where it came from.",
        ) from None
    if key is None or leaf is None:
        lacks = "private key" if key is None else "certificate"
        raise refuse(
            "pkcs12_incomplete",
            f"The PKCS#12 file has no {lacks} in it.",
            "In Keychain Access, choose the certificate with its private key together, "
            "then export both as .p12.",
        )
    return _require_rsa(key), leaf, tuple(others)


def _key_source(data: bytes) -> tuple[bytes, bool]:
    blocks = pem_blocks(data)
    keys = [block for block in blocks if block.label.endswith("PRIVATE KEY")]
    if len(keys) > 1:
        raise refuse(
            "private_key_ambiguous",
            f"The file holds {len(keys)} private keys.",
            "Leave only the one that belongs to the certificate.",
        )
    if keys:
        return keys[0].text, True
    kind = kind_of(data)
    if not blocks and kind in (FileKind.PRIVATE_KEY, FileKind.BINARY):
        return data, False
    raise _missing(kind.value)


def _cost_findings(source: bytes, *, is_pem: bool) -> tuple[Finding, ...]:
    der = pem_blocks(source)[0].der if is_pem else source
    if len(der) > MAX_KEY_BYTES:
        return (too_long(len(der)),)
    return cost_findings(der)


def _load(source: bytes, passphrase: bytes | None, *, is_pem: bool, trusted: bool) -> object:
    load = load_pem_private_key if is_pem else load_der_private_key
    return load(source, passphrase, unsafe_skip_rsa_key_validation=trusted)


def _require_rsa(key: object) -> RSAPrivateKey:
    if not isinstance(key, RSAPrivateKey):
        raise _not_rsa()
    if key.key_size < KEY_BITS:
        raise refuse(
            "private_key_too_short",
            f"The RSA key has {key.key_size} bits; at least {KEY_BITS} are needed.",
            "Make a new key and a new CSR.",
        )
    return key


def _unreadable(source: bytes, *, is_pem: bool, passphrase: bytes | None) -> Refused:
    encrypted = b"ENCRYPTED" in source if is_pem else PKCS5_OID in source[:32]
    if passphrase and encrypted:
        return refuse(
            "passphrase_wrong",
            "The passphrase does not open the private key.",
            "Check the passphrase and where it is read from.",
        )
    return refuse(
        "private_key_damaged",
        "The private key is damaged or in a form that is not known.",
        "Take it again from where it was made, as PEM (PKCS#8).",
    )


def _missing(what: str) -> Refused:
    return refuse(
        "private_key_missing",
        f"This is not a private key: it is {what}.",
        "Give the PEM or DER file with the private key, or a PKCS#12 file where one is taken.",
    )


def _not_rsa() -> Refused:
    return refuse(
        "private_key_not_rsa",
        "The private key is not an RSA key; Apple's process works with RSA only.",
        f"Make an RSA key of {KEY_BITS} bits and a CSR with it.",
    )
