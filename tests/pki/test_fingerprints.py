"""Fingerprints agree with openssl and keep tokens apart."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import Encoding

from lifecycle.pki.chain import parse_certificates
from lifecycle.pki.csr import parse_csr
from lifecycle.pki.fingerprints import (
    fingerprint,
    key_fingerprint,
    serial_hex,
    short,
    token_fingerprint,
)

PUSH_CERTIFICATE = "MDM_ Example MDM_Certificate.pem"


def test_certificate_fingerprint_is_the_one_openssl_prints(
    vector: Callable[[str], bytes], vectors: Path, openssl: Callable[..., bytes]
) -> None:
    (certificate,) = parse_certificates(vector(PUSH_CERTIFICATE))
    printed = openssl(
        "x509", "-in", vectors / PUSH_CERTIFICATE, "-noout", "-fingerprint", "-sha256"
    ).decode()
    assert fingerprint(certificate.public_bytes(Encoding.DER)) == (
        printed.strip().split("=")[1].replace(":", "").lower()
    )


def test_key_csr_and_certificate_have_the_same_key_fingerprint(
    vector: Callable[[str], bytes], customer_key: RSAPrivateKey
) -> None:
    (certificate,) = parse_certificates(vector(PUSH_CERTIFICATE))
    key = customer_key.public_key()
    assert key_fingerprint(key) == parse_csr(vector("customer-csr.pem")).key_fingerprint
    assert key_fingerprint(key) == key_fingerprint(certificate.public_key())


def test_key_fingerprint_is_over_the_subject_public_key_info(
    vector: Callable[[str], bytes], vectors: Path, openssl: Callable[..., bytes]
) -> None:
    der = openssl("pkey", "-in", vectors / "customer.key", "-pubout", "-outform", "DER")
    assert parse_csr(vector("customer-csr.der")).key_fingerprint == fingerprint(der)


def test_token_fingerprint_is_no_plain_hash_of_the_token() -> None:
    token = bytes(range(32))
    assert token_fingerprint(token) == (
        hashlib.sha256(b"pushcert device token\0" + token).hexdigest()
    )
    assert token_fingerprint(token) != fingerprint(token)


def test_short_is_the_first_twelve_digits() -> None:
    assert short(fingerprint(b"")) == "e3b0c44298fc"


@pytest.mark.parametrize(
    ("serial", "shown"),
    [(0, "00"), (0xA, "0A"), (0xABC, "0ABC"), (0x1E36FA, "1E36FA")],
)
def test_serial_is_upper_case_and_of_even_length(serial: int, shown: str) -> None:
    assert serial_hex(serial) == shown


def test_serial_is_the_one_openssl_prints(
    vector: Callable[[str], bytes], vectors: Path, openssl: Callable[..., bytes]
) -> None:
    (certificate,) = parse_certificates(vector(PUSH_CERTIFICATE))
    printed = openssl("x509", "-in", vectors / PUSH_CERTIFICATE, "-noout", "-serial").decode()
    assert serial_hex(certificate.serial_number) == printed.strip().split("=")[1]
