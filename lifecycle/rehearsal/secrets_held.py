"""The secrets in a vault, to be searched for elsewhere. They show nowhere."""

from __future__ import annotations

import binascii

from lifecycle.instance.paths import key_path
from lifecycle.instance.vault import Vault
from lifecycle.rehearsal.disclosure import Secret


def keys_in(vault: Vault, name: str) -> list[Secret]:
    """Every private key in it: of certificates, of credentials, and the vault's own."""
    secrets: list[Secret] = []
    for fingerprint in vault.keys.fingerprints():
        secrets += Secret.of_key(f"key of {name}", vault.keys.private_key(fingerprint))
    for keys in vault.credentials.all():
        secrets += [
            Secret(f"credential of {name} (signing)", keys.signing.private_bytes_raw()),
            Secret(f"credential of {name} (sealing)", keys.sealing.private_bytes_raw()),
        ]
    own = key_path(vault.directory)
    if own.exists():
        secrets.append(Secret(f"vault key of {name}", binascii.unhexlify(own.read_bytes().strip())))
    return secrets
