"""The vectors, and CAs of the test's own making, for all tests of lifecycle/pki."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from lifecycle.pki.chain import Chain, TrustStore, complete_chain, parse_certificates
from lifecycle.pki.keys import load_private_key

VECTORS = Path(__file__).parents[1] / "vectors"
WHEN_VECTORS_ARE_VALID = datetime(2027, 6, 1, tzinfo=UTC)

Vector = Callable[[str], bytes]
OpenSsl = Callable[..., bytes]
SigningKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey


@dataclass(frozen=True)
class Issued:
    """A certificate and the key it was made for."""

    certificate: x509.Certificate
    key: SigningKey


def issue(
    name: str,
    by: Issued | None = None,
    *,
    key: SigningKey | None = None,
    ca: bool = True,
    path_length: int | None = None,
    unit: str = "",
    first: datetime = datetime(2020, 1, 1, tzinfo=UTC),
    last: datetime = datetime(2040, 1, 1, tzinfo=UTC),
    key_identifiers: bool = True,
    key_cert_sign: bool | None = None,
) -> Issued:
    """A certificate with CN ``name``, issued by ``by`` (None: by itself)."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.COMMON_NAME, name),
            *([x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, unit)] if unit else []),
        ]
    )
    signer = by.key if by else key
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(by.certificate.subject if by else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(first)
        .not_valid_after(last)
        .add_extension(x509.BasicConstraints(ca, path_length), critical=True)
    )
    if key_cert_sign is not None:
        usage = dict.fromkeys(
            (
                "content_commitment",
                "key_encipherment",
                "data_encipherment",
                "key_agreement",
                "crl_sign",
                "encipher_only",
                "decipher_only",
            ),
            False,
        )
        builder = builder.add_extension(
            x509.KeyUsage(digital_signature=True, key_cert_sign=key_cert_sign, **usage),
            critical=True,
        )
    if key_identifiers:
        builder = builder.add_extension(
            x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False
        ).add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()),
            critical=False,
        )
    return Issued(builder.sign(signer, hashes.SHA256()), key)


@pytest.fixture(scope="session")
def issuing() -> Callable[..., Issued]:
    """``issue``, for tests: conftest is not importable under importlib mode."""
    return issue


@pytest.fixture(scope="session")
def openssl() -> OpenSsl:
    """Runs the openssl command line, the foreign check; a failure of it fails the test."""

    def run(*arguments: str | Path, stdin: bytes = b"") -> bytes:
        return subprocess.run(
            ["openssl", *arguments], input=stdin, check=True, capture_output=True
        ).stdout

    return run


@pytest.fixture(scope="session")
def vectors() -> Path:
    """The folder of the vectors, made with openssl and plistlib alone."""
    return VECTORS


@pytest.fixture(scope="session")
def vector() -> Vector:
    """Reads one vector by its file name."""
    return lambda name: (VECTORS / name).read_bytes()


@pytest.fixture(scope="session")
def vector_time() -> datetime:
    """An instant at which all certificates of the vectors are valid."""
    return WHEN_VECTORS_ARE_VALID


@pytest.fixture(scope="session")
def vector_trust(vector: Vector) -> TrustStore:
    """A store of the vectors' root and intermediates alone."""
    return TrustStore.of(
        c for name in ("root.pem", "wwdr.pem", "aai.pem") for c in parse_certificates(vector(name))
    )


@pytest.fixture(scope="session")
def vendor_key(vector: Vector) -> rsa.RSAPrivateKey:
    """The key of the vectors' MDM signing certificate."""
    return load_private_key(vector("vendor.key"), None)


@pytest.fixture(scope="session")
def customer_key(vector: Vector) -> rsa.RSAPrivateKey:
    """The key that the vectors' CSR and push certificate are made for."""
    return load_private_key(vector("customer.key"), None)


@pytest.fixture(scope="session")
def vendor_chain(vector: Vector, vector_trust: TrustStore, vector_time: datetime) -> Chain:
    """The chain of the vectors' MDM signing certificate."""
    (leaf,) = parse_certificates(vector("vendor.pem"))
    chain, findings = complete_chain(leaf, vector_trust, at=vector_time)
    assert chain is not None
    assert findings == ()
    return chain
