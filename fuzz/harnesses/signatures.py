"""The header that signs a request of an instance."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from fuzz.harness import joined, split
from lifecycle.wire.signatures import (
    RequestSigner,
    SignatureRejected,
    check,
    claimed_credential,
    possession,
    proves_possession,
)

PARSERS = (
    "lifecycle.wire.signatures.claimed_credential",
    "lifecycle.wire.signatures.check",
    "lifecycle.wire.signatures.proves_possession",
)
LONGEST = 2300
WEIGHT = 2
_KEY = Ed25519PrivateKey.from_private_bytes(b"\x07" * 32)
_PUBLIC = _KEY.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
_NOW = datetime(2027, 6, 1, tzinfo=UTC)
_SIGNED = b"S"


def one(data: bytes) -> None:
    """Rejected or let in; the credential is fit to be looked up in any database.

    Input that begins with ``S`` is header and claims, and is signed with the right key: only so
    does what stands behind the signature get mutated.
    """
    header = data.decode("latin-1")
    if data.startswith(_SIGNED):
        header = _signed(*split(data[1:], 2))
    try:
        credential, token = claimed_credential(header)
        assert "\0" not in credential
        credential.encode()
        check(token, _PUBLIC, "GET", "/v1/work", b"", _NOW)
    except SignatureRejected as rejected:
        str(rejected).encode()
    proof, public_key = data[:64], data[64:96]
    if proves_possession(proof, "c-1", public_key):
        assert proof == possession(_KEY, "c-1", _PUBLIC)


def _signed(header: bytes, claims: bytes) -> str:
    body = b".".join(base64.urlsafe_b64encode(part).rstrip(b"=") for part in (header, claims))
    signature = base64.urlsafe_b64encode(_KEY.sign(body)).rstrip(b"=")
    return f"Bearer {(body + b'.' + signature).decode()}"


def seeds() -> dict[str, bytes]:
    """A good one, and good ones before they are signed."""
    signer = RequestSigner("c-1", _KEY)
    good = signer.sign("GET", "/v1/work", b"", _NOW)
    head, claims, _ = (
        base64.urlsafe_b64decode(part + "==") for part in good.removeprefix("Bearer ").split(".")
    )
    late = json.dumps({**json.loads(claims), "iat": 10**20}).encode()
    return {
        "good": good.encode(),
        "none": b"Bearer e30.e30.",
        "signed": _SIGNED + joined(head, claims),
        "late": _SIGNED + joined(head, late),
        "kid": _SIGNED + joined(b'{"alg":"EdDSA","kid":"\\u00e9"}', claims),
        "possession": possession(_KEY, "c-1", _PUBLIC) + _PUBLIC,
    }
