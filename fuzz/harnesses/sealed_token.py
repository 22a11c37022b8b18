"""A canary token, sealed with HPKE, and the message that brings it."""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from fuzz.harness import refusals
from lifecycle.apns.token import DeviceToken
from lifecycle.wire.sealed_tokens import seal, unseal

PARSERS = ("lifecycle.wire.sealed_tokens.unseal", "lifecycle.wire.sealed_tokens.seal")
LONGEST = 512
_KEY = X25519PrivateKey.from_private_bytes(b"\x09" * 32)
_PUBLIC = _KEY.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
_PLACE = ("c-1", "com.apple.mgmt.External.x")


def one(data: bytes) -> None:
    """A seal opens to what was sealed, or is refused; so is a key that is none."""
    with refusals():
        DeviceToken.from_bytes(unseal(data, _KEY, *_PLACE))
    with refusals():
        seal(b"token", data, *_PLACE)
    assert unseal(seal(data, _PUBLIC, *_PLACE), _KEY, *_PLACE) == data


def seeds() -> dict[str, bytes]:
    """A good seal, half of one, a low-order key."""
    sealed = seal(b"\x01" * 32, _PUBLIC, *_PLACE)
    return {"good": sealed, "half": sealed[:40], "empty": b"", "zeros": b"\0" * 32, "key": _PUBLIC}
