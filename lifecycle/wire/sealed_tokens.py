"""A canary token, sealed so that only one instance can open it (HPKE, RFC 9180).

The canary tenant's instance seals, the customer's instance opens; the vendor in between holds
bytes. Each seal is bound to the credential and the topic it is for.
"""

from __future__ import annotations

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite

from lifecycle.errors import refuse

_SUITE = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.CHACHA20_POLY1305)


def seal(token: bytes, sealing_key: bytes, credential_id: str, topic: str) -> bytes:
    """The token, readable with the private half of ``sealing_key`` (X25519, raw) alone.

    Raises:
        Refused: ``sealing_key_malformed``.
    """
    try:
        key = X25519PublicKey.from_public_bytes(sealing_key)
        return _SUITE.encrypt(token, key, info=_place(credential_id, topic))
    except ValueError:
        raise refuse(
            "sealing_key_malformed",
            "The instance's sealing key is no X25519 key that anything can be sealed to.",
            "Enrol with `pushcert instance init`, which makes a good one.",
        ) from None


def unseal(sealed: bytes, key: X25519PrivateKey, credential_id: str, topic: str) -> bytes:
    """The token.

    Raises:
        Refused: ``canary_seal_broken``: it was changed, or sealed for somebody else.
    """
    try:
        return _SUITE.decrypt(sealed, key, info=_place(credential_id, topic))
    except (InvalidTag, ValueError):
        raise refuse(
            "canary_seal_broken",
            "The canary token that the vendor passed on does not open.",
            "Ask your vendor to check the canary tenant's instance; probes wait until then.",
        ) from None


def _place(credential_id: str, topic: str) -> bytes:
    return b"pushcert canary token\0" + credential_id.encode() + b"\0" + topic.encode()
