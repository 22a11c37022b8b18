"""How an instance proves who it is: it signs each request with its own key.

The signature is a JSON Web Token (RFC 7519) with EdDSA over Ed25519 (RFC 8037), bound to the
method, the path and the body, as RFC 9449 binds its proofs. It travels as ``Authorization:
Bearer …``. Why not mutual TLS: a proxy that ends TLS before the vendor's server, or one that a
customer's network puts before the internet, would break it or have to be trusted with it.

A signature is good for ``TOLERANCE`` around the vendor's clock. An instance whose clock is off is
told the vendor's time and signs by that. Doing a request twice does what doing it once does, so
nothing is gained by repeating one that was seen.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import jwt
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

TOLERANCE = timedelta(minutes=5)
SCHEME = "Bearer"
_ALGORITHM = "EdDSA"
MAX_LENGTH = 2048
"""A signature of ours has about 400 characters."""
_CREDENTIAL = re.compile(r"[\x21-\x7e]{1,64}")
"""Ours are hexadecimal; nothing else may come near a database."""


@dataclass(frozen=True, slots=True)
class RequestSigner:
    """Signs what an instance asks.

    Attributes:
        credential_id: by which the vendor knows the key.
        key: the instance's own; never leaves it.
    """

    credential_id: str
    key: Ed25519PrivateKey = field(repr=False)

    def sign(self, method: str, path: str, body: bytes, at: datetime) -> str:
        """The value of the ``Authorization`` header.

        Args:
            method: upper case.
            path: from ``/v1`` on, whatever stands before it on the way.
            body: the bytes that travel; empty for none.
            at: the vendor's time as far as it is known, aware.
        """
        claims = {"iat": int(at.timestamp()), **_bound(method, path, body)}
        token = jwt.encode(
            claims, self.key, algorithm=_ALGORITHM, headers={"kid": self.credential_id}
        )
        return f"{SCHEME} {token}"


class SignatureRejected(Exception):
    """A signature that proves nothing. ``code`` says why; the text is for the log."""

    def __init__(self, code: str, why: str) -> None:
        super().__init__(why)
        self.code = code


def claimed_credential(header: str | None) -> tuple[str, str]:
    """The credential that a request says it is signed with, and the token; nothing is proven.

    Raises:
        SignatureRejected: ``signature_missing``, ``signature_malformed``.
    """
    scheme, _, token = (header or "").partition(" ")
    if not token or scheme.lower() != SCHEME.lower():
        raise SignatureRejected("signature_missing", "no signature")
    if len(token) > MAX_LENGTH:
        raise SignatureRejected("signature_malformed", "too long")
    try:
        kid = jwt.get_unverified_header(token).get("kid")
    except jwt.InvalidTokenError as error:
        raise SignatureRejected("signature_malformed", type(error).__name__) from None
    if not isinstance(kid, str) or _CREDENTIAL.fullmatch(kid) is None:
        raise SignatureRejected("signature_malformed", "no kid")
    return kid, token


def check(
    token: str, public_key: bytes, method: str, path: str, body: bytes, now: datetime
) -> None:
    """Checks that the holder of ``public_key`` (Ed25519, raw) signed this very request.

    Raises:
        SignatureRejected: ``signature_wrong``, or ``clock_skew`` for one that is right but was
            not made within ``TOLERANCE`` of ``now``.
    """
    try:
        claims: dict[str, Any] = jwt.decode(
            token,
            Ed25519PublicKey.from_public_bytes(public_key),
            algorithms=[_ALGORITHM],
            options={"require": ["iat", *_NAMES], "verify_iat": False},
        )
    except jwt.InvalidTokenError as error:
        raise SignatureRejected("signature_wrong", type(error).__name__) from None
    for name, value in _bound(method, path, body).items():
        if claims[name] != value:
            raise SignatureRejected("signature_wrong", f"{name} differs")
    made = claims["iat"]
    # Compared as integers: a float has no room for what a signer may write there.
    if not isinstance(made, int) or abs(made - int(now.timestamp())) > TOLERANCE.total_seconds():
        raise SignatureRejected("clock_skew", "signed at another time")


_NAMES = ("htm", "htu", "hb")


def _bound(method: str, path: str, body: bytes) -> dict[str, str]:
    return dict(zip(_NAMES, (method, path, hashlib.sha256(body).hexdigest()), strict=True))


def possession(key: Ed25519PrivateKey, credential_id: str, public_key: bytes) -> bytes:
    """Proves, with a new key, that whoever holds it wants it in the place of a credential's."""
    return key.sign(_possession(credential_id, public_key))


def proves_possession(proof: bytes, credential_id: str, public_key: bytes) -> bool:
    """Whether ``possession`` made this proof with the private half of ``public_key``."""
    try:
        key = Ed25519PublicKey.from_public_bytes(public_key)
        key.verify(proof, _possession(credential_id, public_key))
    except (InvalidSignature, ValueError):
        return False
    return True


def _possession(credential_id: str, public_key: bytes) -> bytes:
    return b"pushcert new credential\0" + credential_id.encode() + b"\0" + public_key
