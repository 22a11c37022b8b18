"""Files that a customer must not get past ``pushcert upload``, each with what it must be told.

Imported by file path; free of pytest. Built against one customer's state in a lab: ``Bench``.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    pkcs7,
    pkcs12,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from lifecycle.lab.authority import Authority, LabCa
from lifecycle.lab.serve import Lab


@dataclass(frozen=True)
class Bench:
    """What bad files are made of.

    Attributes:
        lab: issues what a wrong press of a button would issue.
        request: the customer's signed request (Base64).
        other_request: another customer's.
        active: the customer's active certificate, PEM.
        other_active: another customer's.
        csr: the customer's CSR, DER.
        signing_pem: the vendor's MDM signing certificate.
        account: the customer's Apple Account.
        serial: of the active certificate.
    """

    lab: Lab
    request: bytes
    other_request: bytes
    active: bytes
    other_active: bytes
    csr: bytes
    signing_pem: bytes
    account: str
    serial: str


@dataclass(frozen=True)
class BadUpload:
    """One bad file: a name, its bytes, and a code that its refusal must carry."""

    name: str
    data: bytes
    code: str

    def __repr__(self) -> str:
        return f"BadUpload({self.name})"


def bad_uploads(bench: Bench) -> Iterator[BadUpload]:
    """Every case. The key of a fresh certificate is the customer's own unless the case says so."""
    good = x509.load_pem_x509_certificate(
        bench.lab.portal.renew(bench.account, bench.request, bench.serial)
    )
    der = good.public_bytes(Encoding.DER)
    pem = good.public_bytes(Encoding.PEM)
    active = x509.load_pem_x509_certificate(bench.active)
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    yield from _other_files(bench, der, pem, key)
    yield from _wrong_certificates(bench, good, active)
    yield from _forged(bench, good, key)


def _other_files(bench: Bench, der: bytes, pem: bytes, key: RSAPrivateKey) -> Iterator[BadUpload]:
    key_pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    root = bench.lab.authority.root.certificate
    yield BadUpload("empty", b"", "file_empty")
    yield BadUpload("white space", b" \r\n\t\n", "file_empty")
    yield BadUpload("NUL bytes", b"\0" * 4096, "file_unknown")
    yield BadUpload(
        "web page saved as .pem",
        b"<!DOCTYPE html><html><body>Sign in</body></html>",
        "file_is_web_page",
    )
    yield BadUpload("key instead of certificate", key_pem, "file_is_private_key")
    yield BadUpload(
        "public key",
        key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        "file_is_public_key",
    )
    yield BadUpload("CSR, DER", bench.csr, "file_is_csr")
    yield BadUpload("CSR, PEM", _pem("CERTIFICATE REQUEST", bench.csr), "file_is_csr")
    yield BadUpload("request instead of certificate", bench.request, "file_is_request")
    yield BadUpload("request's property list", base64.b64decode(bench.request), "file_is_request")
    yield BadUpload("MDM signing certificate", bench.signing_pem, "signing_certificate")
    yield BadUpload("CA certificate", root.public_bytes(Encoding.PEM), "ca_certificate")
    yield BadUpload("two leaves", pem + bench.other_active, "several_certificates")
    yield BadUpload("truncated DER", der[:-40], "certificate_damaged")
    yield BadUpload("truncated PEM", pem[:400], "")
    yield BadUpload("something after the DER", der + b"<html>", "trailing_bytes")
    yield BadUpload("50 MB", b"0" * (50 * 1024 * 1024), "")
    yield BadUpload("JPEG", b"\xff\xd8\xff\xe0\x00\x10JFIF" + bytes(range(200)), "file_unknown")
    yield BadUpload("JSON", json.dumps({"certificate": "none"}).encode(), "file_unknown")
    yield BadUpload("UTF-16 text", "not a certificate".encode("utf-16"), "file_unknown")
    yield BadUpload(
        "PKCS#7 with CAs alone",
        pkcs7.serialize_certificates([root], Encoding.PEM),
        "ca_certificate",
    )
    yield BadUpload(
        "PKCS#12",
        pkcs12.serialize_key_and_certificates(
            b"mdm", key, _plain_certificate(key), None, NoEncryption()
        ),
        "file_is_pkcs12",
    )
    body = base64.b64encode(b"no certificate at all, only words").decode()
    yield BadUpload(
        "PEM around nonsense",
        f"-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----\n".encode(),
        "certificate_damaged",
    )
    yield BadUpload(
        "PEM whose Base64 is broken",
        b"-----BEGIN CERTIFICATE-----\n!!!!not base64!!!!\n-----END CERTIFICATE-----\n",
        "",
    )


def _wrong_certificates(
    bench: Bench, good: x509.Certificate, active: x509.Certificate
) -> Iterator[BadUpload]:
    portal, account = bench.lab.portal, bench.account
    yield BadUpload(
        "created instead of renewed", portal.create(account, bench.request), "topic_changed"
    )
    yield BadUpload(
        "made from another customer's request",
        portal.renew(account, bench.other_request, bench.serial),
        "key_mismatch",
    )
    yield BadUpload("last year's file: the active one", bench.active, "already_active")
    yield BadUpload("another customer's certificate", bench.other_active, "topic_changed")
    now = bench.lab.clock.now()
    yield BadUpload(
        "expired",
        _reissued(bench, good, now - timedelta(days=400), now - timedelta(days=35)),
        "certificate_expired",
    )
    yield BadUpload(
        "not yet valid",
        _reissued(bench, good, now + timedelta(days=3), now + timedelta(days=400)),
        "certificate_not_yet_valid",
    )
    yield BadUpload(
        "older than the active one",
        _reissued(bench, good, now - timedelta(days=99), now + timedelta(days=9)),
        "older_than_active",
    )
    yield BadUpload(
        "for another purpose",
        _reissued(bench, good, now, None, purpose=ExtendedKeyUsageOID.SERVER_AUTH),
        "not_client_auth",
    )
    yield BadUpload(
        "without a purpose", _reissued(bench, good, now, None, purpose=None), "not_client_auth"
    )
    yield BadUpload(
        "for an app, not for MDM",
        _reissued(bench, good, now, None, topic="com.example.app"),
        "topic_not_mdm",
    )
    yield BadUpload(
        "without a topic", _reissued(bench, good, now, None, topic=None), "topic_missing"
    )


def _forged(bench: Bench, good: x509.Certificate, key: RSAPrivateKey) -> Iterator[BadUpload]:
    now = bench.lab.clock.now()
    other = Authority(bench.lab.clock, 99)
    yield BadUpload(
        "of a foreign issuer",
        _reissued(bench, good, now, None, issuer=other.aai),
        "chain_certificate_missing",
    )
    yield BadUpload(
        "of an issuer that only has the right name",
        _reissued(
            bench, good, now, None, issuer=LabCa(bench.lab.authority.aai.certificate, other.aai.key)
        ),
        "",
    )
    yield BadUpload(
        "signed by itself",
        _reissued(bench, good, now, None, key=key, issuer=LabCa(_plain_certificate(key), key)),
        "key_mismatch",
    )
    yield BadUpload(
        "with an EC key",
        _reissued(bench, good, now, None, key=ec.generate_private_key(ec.SECP256R1())),
        "key_not_rsa",
    )
    yield BadUpload(
        "with a key of 1024 bits",
        _reissued(
            bench,
            good,
            now,
            None,
            key=rsa.generate_private_key(public_exponent=65537, key_size=1024),  # noqa: S505
        ),
        "key_too_short",
    )
    broken = bytearray(good.public_bytes(Encoding.DER))
    broken[-7] ^= 0xFF
    yield BadUpload("with a broken signature", bytes(broken), "")


def _reissued(
    bench: Bench,
    good: x509.Certificate,
    since: datetime,
    until: datetime | None,
    *,
    topic: str | None = "",
    purpose: x509.ObjectIdentifier | None = ExtendedKeyUsageOID.CLIENT_AUTH,
    key: RSAPrivateKey | ec.EllipticCurvePrivateKey | None = None,
    issuer: LabCa | None = None,
) -> bytes:
    """A certificate like ``good``, with one thing about it wrong; PEM."""
    ca = issuer or bench.lab.authority.aai
    subject = [a for a in good.subject if a.oid != NameOID.USER_ID]
    if topic is not None:
        own = str(good.subject.get_attributes_for_oid(NameOID.USER_ID)[0].value)
        subject.insert(0, x509.NameAttribute(NameOID.USER_ID, topic or own))
    public = good.public_key() if key is None else key.public_key()
    assert isinstance(public, rsa.RSAPublicKey | ec.EllipticCurvePublicKey)
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name(subject))
        .issuer_name(ca.certificate.subject)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(since)
        .not_valid_after(until or since + timedelta(days=365))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    )
    if purpose is not None:
        builder = builder.add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
    return builder.sign(ca.key, hashes.SHA256()).public_bytes(Encoding.PEM)


def _plain_certificate(key: RSAPrivateKey) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "somebody")])
    since = datetime.fromisoformat("2020-01-01T00:00:00+00:00")
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(since)
        .not_valid_after(since + timedelta(days=36500))
        .sign(key, hashes.SHA256())
    )


def _pem(label: str, der: bytes) -> bytes:
    body = base64.encodebytes(der).decode()
    return f"-----BEGIN {label}-----\n{body}-----END {label}-----\n".encode()
