"""Private keys: PKCS#8 and PKCS#1, PEM and DER, encrypted in the new way and the old."""

from __future__ import annotations

from functools import lru_cache

from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from fuzz.harness import refusals, vector
from lifecycle.pki import keys
from lifecycle.pki.fingerprints import key_fingerprint
from lifecycle.pki.keys import key_to_pem, load_private_key

PARSERS = ("lifecycle.pki.keys.load_private_key",)
_PASSPHRASE = b"correct horse"

# Half of the inputs have an intact key, whose check takes 50 ms: each is checked once.
keys._load = lru_cache(maxsize=256)(keys._load)


def one(data: bytes) -> None:
    """With a passphrase and without; a key that was read is the same when it is written."""
    for passphrase in (None, _PASSPHRASE):
        with refusals():
            key = load_private_key(data, passphrase)
            again = load_private_key(key_to_pem(key, None), None, trusted=True)
            assert key_fingerprint(again.public_key()) == key_fingerprint(key.public_key())


def seeds() -> dict[str, bytes]:
    """The customer's throwaway key in all forms, and an elliptic curve's header."""
    key = load_private_key(vector("customer.key"), None)
    locked = BestAvailableEncryption(_PASSPHRASE)
    old = PrivateFormat.TraditionalOpenSSL
    return {
        "pem": vector("customer.key"),
        "pkcs1.pem": key.private_bytes(Encoding.PEM, old, NoEncryption()),
        "pkcs1.der": key.private_bytes(Encoding.DER, old, NoEncryption()),
        "pkcs8.der": key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()),
        "locked.der": key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, locked),
        "locked.pem": key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, locked),
        "dek-info.pem": key.private_bytes(Encoding.PEM, old, locked),
        "with-certificate": vector("customer.key") + vector("root.pem"),
    }
