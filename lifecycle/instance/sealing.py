"""Sealing: how private keys and device tokens lie in the vault.

AES-256-GCM under a data key of the vault's own. Each value is bound to its place (vault, kind
and row): a sealed value copied into another row, or another vault, does not open. The data key
itself is wrapped by a key from a passphrase (scrypt) or from a key file.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from lifecycle.errors import Refused, refuse

KEY_BYTES = 32
NONCE_BYTES = 12
SALT_BYTES = 16
_VERSION = b"\x01"
_DATA_KEY_KIND = "data key"


@dataclass(frozen=True, slots=True)
class ScryptCost:
    """What one guess at a passphrase costs: 32 MB of memory, a quarter of a second.

    The default is one of the equivalent settings of OWASP's Password Storage Cheat Sheet.
    """

    n: int = 2**15
    r: int = 8
    p: int = 3


RECOMMENDED = ScryptCost()


class Sealer:
    """Seals and opens the values of one vault.

    Args:
        key: the vault's data key, ``KEY_BYTES`` long.
        vault_id: the vault's identity; part of what every value is bound to.
    """

    def __init__(self, key: bytes, vault_id: str) -> None:
        self._cipher = AESGCM(key)
        self._vault_id = vault_id

    def seal(self, kind: str, row: str, value: bytes) -> bytes:
        """``value`` encrypted and bound to ``kind`` and ``row`` of this vault."""
        nonce = os.urandom(NONCE_BYTES)
        return _VERSION + nonce + self._cipher.encrypt(nonce, value, self._place(kind, row))

    def open(self, kind: str, row: str, sealed: bytes) -> bytes:
        """The value that ``seal`` was given.

        Raises:
            Refused: ``sealed_value_damaged``: it was changed, or sealed for another place.
        """
        nonce, body = sealed[1 : 1 + NONCE_BYTES], sealed[1 + NONCE_BYTES :]
        if sealed[:1] == _VERSION and len(nonce) == NONCE_BYTES:
            with contextlib.suppress(InvalidTag):
                return self._cipher.decrypt(nonce, body, self._place(kind, row))
        raise refuse(
            "sealed_value_damaged",
            f"The {kind} of “{row}” in the vault is damaged or was moved from elsewhere.",
            "Restore the vault from a backup.",
        )

    def _place(self, kind: str, row: str) -> bytes:
        return "\0".join(("pushcert vault", self._vault_id, kind, row)).encode()


@dataclass(frozen=True, slots=True)
class Wrapping:
    """A wrapped data key, and what is needed besides the secret to unwrap it.

    Attributes:
        sealed: the data key, sealed under the wrapping key.
        salt: for scrypt; empty where a key file is used.
        cost: for scrypt; None where a key file is used.
    """

    sealed: bytes = field(repr=False)
    salt: bytes = b""
    cost: ScryptCost | None = None


def new_data_key() -> bytes:
    """A fresh random data key, or a fresh content of a key file."""
    return os.urandom(KEY_BYTES)


def wrap_with_passphrase(
    data_key: bytes, passphrase: bytes, vault_id: str, cost: ScryptCost
) -> Wrapping:
    """``data_key`` wrapped so that only ``passphrase`` opens it; about 0.3 s by default."""
    salt = os.urandom(SALT_BYTES)
    wrapper = Sealer(_derive(passphrase, salt, cost), vault_id)
    return Wrapping(wrapper.seal(_DATA_KEY_KIND, "passphrase", data_key), salt, cost)


def wrap_with_key_file(data_key: bytes, key: bytes, vault_id: str) -> Wrapping:
    """``data_key`` wrapped so that only ``key``, the content of the key file, opens it."""
    return Wrapping(Sealer(key, vault_id).seal(_DATA_KEY_KIND, "key file", data_key))


def unwrap(wrapping: Wrapping, secret: bytes, vault_id: str) -> bytes:
    """The data key.

    Args:
        wrapping: as stored.
        secret: the passphrase, or the content of the key file.
        vault_id: the vault's identity.

    Raises:
        Refused: ``vault_passphrase_wrong`` or ``vault_key_wrong``.
    """
    if wrapping.cost is None:
        key, row = secret, "key file"
        wrong = refuse(
            "vault_key_wrong",
            "The vault.key file does not belong to this vault.",
            "Restore the vault.key that was made with this vault.",
        )
    else:
        key, row = _derive(secret, wrapping.salt, wrapping.cost), "passphrase"
        wrong = refuse(
            "vault_passphrase_wrong",
            "The passphrase does not open this vault.",
            "Check where the passphrase comes from; it must be the one the vault was made with.",
        )
    if len(key) != KEY_BYTES:
        raise wrong
    try:
        return Sealer(key, vault_id).open(_DATA_KEY_KIND, row, wrapping.sealed)
    except Refused:
        raise wrong from None


def _derive(passphrase: bytes, salt: bytes, cost: ScryptCost) -> bytes:
    return Scrypt(salt=salt, length=KEY_BYTES, n=cost.n, r=cost.r, p=cost.p).derive(passphrase)
