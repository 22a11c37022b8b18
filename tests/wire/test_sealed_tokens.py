"""A canary token reaches one instance and nobody in between."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from lifecycle.errors import Refused
from lifecycle.wire.sealed_tokens import seal, unseal

TOPIC = "com.apple.mgmt.External.0a4d8f1e-1111-4c22-9a33-5d6e7f809101"
TOKEN = bytes(range(32))
KEY = X25519PrivateKey.generate()
PUBLIC = KEY.public_key().public_bytes_raw()


def test_the_holder_of_the_key_opens_it() -> None:
    assert unseal(seal(TOKEN, PUBLIC, "c1", TOPIC), KEY, "c1", TOPIC) == TOKEN


def test_the_seal_shows_nothing_and_is_never_the_same_twice() -> None:
    first, second = (seal(TOKEN, PUBLIC, "c1", TOPIC) for _ in range(2))
    assert first != second
    assert TOKEN not in first


@pytest.mark.parametrize(
    ("key", "credential", "topic"),
    [
        (X25519PrivateKey.generate(), "c1", TOPIC),
        (KEY, "c2", TOPIC),
        (KEY, "c1", TOPIC + "0"),
    ],
)
def test_nobody_else_and_for_nothing_else(
    key: X25519PrivateKey, credential: str, topic: str
) -> None:
    with pytest.raises(Refused) as refused:
        unseal(seal(TOKEN, PUBLIC, "c1", TOPIC), key, credential, topic)
    assert refused.value.codes == ("canary_seal_broken",)


@pytest.mark.parametrize("change", [0, 31, 32, -1])
def test_a_changed_seal_does_not_open(change: int) -> None:
    sealed = bytearray(seal(TOKEN, PUBLIC, "c1", TOPIC))
    sealed[change] ^= 1
    for broken in (bytes(sealed), bytes(sealed[:20]), b""):
        with pytest.raises(Refused):
            unseal(broken, KEY, "c1", TOPIC)


@pytest.mark.parametrize("key", [bytes(32), b"short", (1).to_bytes(32, "little")])
def test_a_key_that_nothing_can_be_sealed_to_is_refused(key: bytes) -> None:
    with pytest.raises(Refused) as refused:
        seal(TOKEN, key, "c1", TOPIC)
    assert refused.value.codes == ("sealing_key_malformed",)
