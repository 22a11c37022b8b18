"""Files that are no CSR to be signed, each a named case with the findings it must get.

Imported by file path from several test directories, so free of pytest and of fixtures. Keys are
made once per process.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    pkcs7,
    pkcs12,
)
from cryptography.x509.oid import NameOID

from lifecycle.pki import der
from lifecycle.pki.chain import Chain
from lifecycle.pki.csr import build_csr, parse_csr
from lifecycle.pki.pem import encode_pem
from lifecycle.pki.request import KeySigner, sign_request

FIFTY_MEGABYTES = 50 * 1024 * 1024

_SHA256_WITH_RSA = "06092a864886f70d01010b"
_SHA1_WITH_RSA = "06092a864886f70d010105"
_MD5_WITH_RSA = "06092a864886f70d010104"
_RSA_ENCRYPTION = "06092a864886f70d010101"


@dataclass(frozen=True)
class BadFile:
    """One bad file.

    Attributes:
        name: of the case.
        data: the content of the file.
        codes: of all findings it must get, in any order.
    """

    name: str
    data: bytes
    codes: frozenset[str]

    def __repr__(self) -> str:
        return f"BadFile({self.name})"


@functools.cache
def bad_csrs() -> tuple[BadFile, ...]:
    """Every case, in a fixed order."""
    return tuple(BadFile(name, data, frozenset(codes)) for name, data, codes in _cases())


_Case = tuple[str, bytes, tuple[str, ...]]


def _cases() -> Iterator[_Case]:
    yield from _no_csr_at_all()
    yield from _damaged()
    yield from _unfit()


def _no_csr_at_all() -> Iterator[_Case]:
    key_pem = _key().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    key_der = _key().private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    pkcs1_der = _key().private_bytes(Encoding.DER, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    sealed = _key().private_bytes(
        Encoding.DER, PrivateFormat.PKCS8, BestAvailableEncryption(b"not told")
    )
    public = _key().public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    certificate = _certificate()
    certificate_pem = certificate.public_bytes(Encoding.PEM)
    request = sign_request(parse_csr(_good()), KeySigner(_key()), Chain((certificate,)))
    page = b"<!DOCTYPE html>\n<html><head><title>Sign In</title></head><body>403</body></html>"
    bundle = pkcs12.serialize_key_and_certificates(b"x", _key(), certificate, None, NoEncryption())
    pile = pkcs7.serialize_certificates([certificate], Encoding.DER)
    yield "empty", b"", ("csr_file_empty",)
    yield "white_space_only", b"\r\n \t\r\n", ("csr_file_empty",)
    yield "byte_order_mark_only", b"\xef\xbb\xbf", ("csr_file_empty",)
    yield "html_page", page, ("csr_missing",)
    yield "private_key_pem", key_pem, ("csr_missing",)
    yield "private_key_pkcs8_der", key_der, ("csr_missing",)
    yield "private_key_pkcs1_der", pkcs1_der, ("csr_missing",)
    yield "private_key_encrypted_der", sealed, ("csr_missing",)
    yield "public_key_pem", public, ("csr_missing",)
    yield "certificate_pem", certificate_pem, ("csr_missing",)
    yield "certificate_der", certificate.public_bytes(Encoding.DER), ("csr_missing",)
    yield "certificate_labelled_as_csr", _relabelled(certificate), ("csr_missing",)
    yield "request_base64", request.encode().encode(), ("csr_missing",)
    yield "request_plist", request.plist(), ("csr_missing",)
    yield "pkcs12", bundle, ("csr_missing",)
    yield "pkcs7_der", pile, ("csr_missing",)
    yield "prose_in_utf16", "Please find attached…".encode("utf-16"), ("csr_missing",)
    yield "certificate_in_utf16", certificate_pem.decode().encode("utf-16"), ("csr_missing",)
    yield "nul_bytes", bytes(4096), ("csr_missing",)
    yield "zip_archive", b"PK\x03\x04\x14\0\0\0\x08\0" + bytes(range(256)), ("csr_missing",)
    yield "fifty_megabytes", b"A" * FIFTY_MEGABYTES, ("csr_too_large",)
    yield "fifty_megabytes_after_a_csr", _pem(_good()).ljust(FIFTY_MEGABYTES), ("csr_too_large",)


def _damaged() -> Iterator[_Case]:
    good = _good()
    pem = _pem(good)
    key_pem = _key().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    middle = len(pem) // 2
    yield "key_beside_the_csr", pem + key_pem, ("csr_with_private_key",)
    yield "two_csrs", pem + pem, ("csr_ambiguous",)
    yield "truncated_der", good[:-100], ("csr_truncated",)
    yield "truncated_der_in_pem", _pem(good[:-100]), ("csr_truncated",)
    yield "truncated_pem", pem[:middle], ("pem_truncated",)
    yield "trailing_garbage", good + b"garbage", ("csr_trailing_data",)
    yield "trailing_garbage_in_pem", _pem(good + b"\0"), ("csr_trailing_data",)
    yield "wrong_base64", pem[:middle] + b"*?*" + pem[middle + 3 :], ("pem_damaged",)
    yield "nul_byte_in_the_base64", pem[:middle] + b"\0" + pem[middle:], ("pem_damaged",)
    yield "empty_block", _pem(b""), ("pem_damaged",)
    yield "not_a_sequence", _pem(b"\x04\x03abc"), ("csr_damaged",)
    yield "der_of_nothing_known", der.element(der.SEQUENCE, bytes(300)), ("csr_damaged",)
    yield "flipped_bit_in_signature", good[:-1] + bytes([good[-1] ^ 1]), ("csr_signature_invalid",)
    yield "subject_changed", good.replace(b"Acme", b"Evil"), ("csr_signature_invalid",)


def _unfit() -> Iterator[_Case]:
    exponent_3 = rsa.generate_private_key(public_exponent=3, key_size=2048)
    yield "ec_key", _built(ec.generate_private_key(ec.SECP256R1())), ("csr_key_not_rsa",)
    yield "ed25519_key", _built_ed25519(), ("csr_key_not_rsa",)
    yield "rsa_1024", _built(_short_key()), ("csr_key_too_short",)
    yield "public_exponent_3", _built(exponent_3), ("csr_key_exponent",)
    yield "public_exponent_even", _with_numbers(exponent=65536), ("csr_key_unreadable",)
    yield (
        "rsa_9000",
        _with_numbers(modulus=(1 << 8999) + 1),
        ("csr_key_too_long", "csr_signature_invalid"),
    )
    yield "ca_wanted", _built(_key(), x509.BasicConstraints(True, None)), ("csr_wants_ca",)
    yield "certificate_signing_wanted", _built(_key(), _signing_usage()), ("csr_wants_ca",)
    yield "subject_of_a_bit_string", _with_bit_string_subject(), ("csr_damaged",)
    yield "extensions_unreadable", _with_broken_extensions(), ("csr_extensions_unreadable",)
    yield "subject_empty", _built(_key(), subject=x509.Name([])), ("csr_subject_empty",)
    yield "signed_with_sha1", _signed_by_hand(_SHA1_WITH_RSA, "sha1"), ("csr_signature_algorithm",)
    yield "signed_with_md5", _signed_by_hand(_MD5_WITH_RSA, "md5"), ("csr_signature_algorithm",)
    yield "signed_with_pss", _built(_key(), pss=True), ("csr_signature_algorithm",)
    yield (
        "everything_at_once",
        _built(_short_key(), x509.BasicConstraints(True, None), subject=x509.Name([]), pss=True),
        ("csr_key_too_short", "csr_signature_algorithm", "csr_wants_ca", "csr_subject_empty"),
    )


@functools.cache
def _key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@functools.cache
def _short_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=1024)  # noqa: S505 - the case itself


@functools.cache
def _good() -> bytes:
    return build_csr(_key(), email="it@acme.example", common_name="Acme Corp").der


def _subject() -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Acme Corp")])


def _pem(csr_der: bytes) -> bytes:
    return encode_pem("CERTIFICATE REQUEST", csr_der).encode()


def _certificate() -> x509.Certificate:
    return (
        x509.CertificateBuilder()
        .subject_name(_subject())
        .issuer_name(_subject())
        .public_key(_key().public_key())
        .serial_number(0x5EED)
        .not_valid_before(datetime(2020, 1, 1, tzinfo=UTC))
        .not_valid_after(datetime(2090, 1, 1, tzinfo=UTC))
        .sign(_key(), hashes.SHA256())
    )


def _relabelled(certificate: x509.Certificate) -> bytes:
    return _pem(certificate.public_bytes(Encoding.DER))


def _built(
    key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey,
    *extensions: x509.ExtensionType,
    subject: x509.Name | None = None,
    pss: bool = False,
) -> bytes:
    builder = x509.CertificateSigningRequestBuilder().subject_name(
        _subject() if subject is None else subject
    )
    for extension in extensions:
        builder = builder.add_extension(extension, critical=True)
    pad = padding.PSS(padding.MGF1(hashes.SHA256()), 32) if pss else None
    return builder.sign(key, hashes.SHA256(), rsa_padding=pad).public_bytes(Encoding.PEM)


def _built_ed25519() -> bytes:
    builder = x509.CertificateSigningRequestBuilder().subject_name(_subject())
    return builder.sign(ed25519.Ed25519PrivateKey.generate(), None).public_bytes(Encoding.PEM)


def _signing_usage() -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )


def _signed_by_hand(
    algorithm: str,
    digest: str,
    *,
    subject: bytes | None = None,
    spki: bytes | None = None,
    attributes: bytes = b"",
) -> bytes:
    """A CSR assembled from DER, for what cryptography refuses to build."""
    if spki is None:
        spki = _key().public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    info = der.element(
        der.SEQUENCE,
        der.element(der.INTEGER, b"\0"),
        _subject().public_bytes() if subject is None else subject,
        spki,
        der.element(der.CONTEXT_0, attributes),
    )
    hashed = hashlib.new(digest, info, usedforsecurity=False).digest()
    kinds: dict[str, type[hashes.SHA256 | hashes.SHA1 | hashes.MD5]] = {
        "sha256": hashes.SHA256,
        "sha1": hashes.SHA1,
        "md5": hashes.MD5,
    }
    signature = _key().sign(hashed, padding.PKCS1v15(), Prehashed(kinds[digest]()))
    return _pem(
        der.element(
            der.SEQUENCE,
            info,
            der.element(der.SEQUENCE, bytes.fromhex(algorithm), der.element(der.NULL)),
            der.element(der.BIT_STRING, b"\0", signature),
        )
    )


def _with_numbers(*, modulus: int | None = None, exponent: int = 65537) -> bytes:
    modulus = modulus or _key().public_key().public_numbers().n
    octets = [n.to_bytes(n.bit_length() // 8 + 1, "big") for n in (modulus, exponent)]
    numbers = der.element(der.SEQUENCE, *(der.element(der.INTEGER, n) for n in octets))
    spki = der.element(
        der.SEQUENCE,
        der.element(der.SEQUENCE, bytes.fromhex(_RSA_ENCRYPTION), der.element(der.NULL)),
        der.element(der.BIT_STRING, b"\0", numbers),
    )
    return _signed_by_hand(_SHA256_WITH_RSA, "sha256", spki=spki)


def _with_bit_string_subject() -> bytes:
    # cryptography answers this one with a TypeError, not with a ValueError.
    utf8, bits = bytes((der.UTF8_STRING,)), bytes((der.BIT_STRING,))
    subject = _subject().public_bytes().replace(utf8 + b"\x09Acme", bits + b"\x09Acme")
    return _signed_by_hand(_SHA256_WITH_RSA, "sha256", subject=subject)


def _with_broken_extensions() -> bytes:
    extension_request = bytes.fromhex("06092a864886f70d01090e")
    basic_constraints = bytes.fromhex("0603551d13")
    broken = der.element(der.SEQUENCE, basic_constraints, der.element(0x04, b"no DER"))
    wanted = der.element(der.SET, der.element(der.SEQUENCE, broken))
    attribute = der.element(der.SEQUENCE, extension_request, wanted)
    return _signed_by_hand(_SHA256_WITH_RSA, "sha256", attributes=attribute)
