"""What a request proves, and what it does not."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st

from lifecycle.wire.signatures import (
    TOLERANCE,
    RequestSigner,
    SignatureRejected,
    check,
    claimed_credential,
    possession,
    proves_possession,
)

NOW = datetime(2027, 3, 1, 12, 0, tzinfo=UTC)
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PUBLIC = KEY.public_key().public_bytes_raw()
SIGNER = RequestSigner("c" * 32, KEY)


def token(at: datetime = NOW) -> str:
    return claimed_credential(SIGNER.sign("POST", "/v1/csr", b"{}", at))[1]


def rejected(found: str, **differs: Any) -> str:
    asked: dict[str, Any] = {"method": "POST", "path": "/v1/csr", "body": b"{}", "now": NOW}
    asked |= {"public_key": PUBLIC, **differs}
    with pytest.raises(SignatureRejected) as caught:
        check(found, **asked)
    return caught.value.code


def test_the_request_that_was_signed_is_let_in() -> None:
    check(token(), PUBLIC, "POST", "/v1/csr", b"{}", NOW)


@pytest.mark.parametrize(
    "differs",
    [
        {"method": "GET"},
        {"path": "/v1/certificate"},
        {"body": b"{ }"},
        {"public_key": Ed25519PrivateKey.generate().public_key().public_bytes_raw()},
    ],
)
def test_another_request_or_another_key_is_not(differs: dict[str, object]) -> None:
    assert rejected(token(), **differs) == "signature_wrong"


@pytest.mark.parametrize(
    "off", [TOLERANCE + timedelta(seconds=1), -TOLERANCE - timedelta(seconds=1)]
)
def test_a_signature_of_another_time_says_that_it_is_the_time(off: timedelta) -> None:
    assert rejected(token(at=NOW + off)) == "clock_skew"
    check(token(at=NOW + off * 0.98), PUBLIC, "POST", "/v1/csr", b"{}", NOW)


def test_a_wrong_signature_of_another_time_is_told_nothing_about_the_time() -> None:
    other = Ed25519PrivateKey.generate().public_key().public_bytes_raw()
    assert rejected(token(at=NOW - timedelta(days=1)), public_key=other) == "signature_wrong"


@pytest.mark.parametrize("algorithm", ["none", "HS256"])
def test_no_other_algorithm_is_taken_whatever_the_token_says(algorithm: str) -> None:
    _, payload, signature = token().split(".")
    header = base64.urlsafe_b64encode(
        json.dumps({"alg": algorithm, "kid": "c" * 32, "typ": "JWT"}).encode()
    ).rstrip(b"=")
    assert rejected(f"{header.decode()}.{payload}.{signature}") == "signature_wrong"
    assert rejected(f"{header.decode()}.{payload}.") == "signature_wrong"


@pytest.mark.parametrize("missing", ["htm", "htu", "hb", "iat"])
def test_a_token_that_leaves_something_unbound_is_refused(missing: str) -> None:
    import jwt

    claims = jwt.decode(token(), options={"verify_signature": False})
    del claims[missing]
    forged = jwt.encode(claims, KEY, algorithm="EdDSA", headers={"kid": "c" * 32})
    assert rejected(forged) == "signature_wrong"


@pytest.mark.parametrize(
    ("header", "code"),
    [
        (None, "signature_missing"),
        ("", "signature_missing"),
        ("Basic dTpw", "signature_missing"),
        ("Bearer", "signature_missing"),
        ("Bearer x", "signature_malformed"),
        ("Bearer " + "a" * 3000, "signature_malformed"),
        ("Bearer e30.e30.e30", "signature_malformed"),
    ],
)
def test_what_is_no_signature_at_all(header: str | None, code: str) -> None:
    with pytest.raises(SignatureRejected) as caught:
        claimed_credential(header)
    assert caught.value.code == code


@given(st.text(max_size=200))
def test_no_header_breaks_the_parser(text: str) -> None:
    try:
        credential, found = claimed_credential(f"Bearer {text}")
    except SignatureRejected:
        return
    with pytest.raises(SignatureRejected):
        check(found, PUBLIC, "GET", "/v1/work", b"", NOW)
    assert credential


def test_neither_a_repr_nor_an_error_shows_the_key() -> None:
    secret = KEY.private_bytes_raw()
    assert secret.hex() not in repr(SIGNER)
    assert repr(secret) not in repr(SIGNER)


def test_the_signature_is_a_jwt_that_other_software_reads() -> None:
    header, payload, signature = token().split(".")
    pad = "=="
    public = Ed25519PublicKey.from_public_bytes(PUBLIC)
    public.verify(base64.urlsafe_b64decode(signature + pad), f"{header}.{payload}".encode())
    assert json.loads(base64.urlsafe_b64decode(header + pad))["alg"] == "EdDSA"
    assert set(json.loads(base64.urlsafe_b64decode(payload + pad))) == {"iat", "htm", "htu", "hb"}


def test_possession_is_proven_for_one_credential_and_one_key() -> None:
    proof = possession(KEY, "old", PUBLIC)
    other = Ed25519PrivateKey.generate().public_key().public_bytes_raw()
    assert proves_possession(proof, "old", PUBLIC)
    assert not proves_possession(proof, "another", PUBLIC)
    assert not proves_possession(proof, "old", other)
    assert not proves_possession(b"", "old", PUBLIC)
    assert not proves_possession(proof, "old", b"short")
