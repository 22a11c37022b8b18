"""The active pair in the forms other software takes: PEM and PKCS#12.

This is the one way in which a private key leaves a vault, and only towards the customer.
"""

from __future__ import annotations

from pathlib import Path

from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, pkcs12

from lifecycle.boundary import Unobserved
from lifecycle.errors import refuse
from lifecycle.instance.paths import write_private
from lifecycle.instance.vault import Vault
from lifecycle.pki.keys import key_to_pem

_BOUNDARY = "export"


def export_pem(vault: Vault, passphrase: bytes | None = None) -> bytes:
    """Certificate, then private key (PKCS#8), as NanoMDM and others take them.

    Args:
        vault: the instance's vault.
        passphrase: encrypts the key; None leaves it readable to whoever has the file.

    Raises:
        Refused: ``no_active_certificate``, or what opening the key raises.
    """
    held = vault.require_active()
    key = key_to_pem(vault.private_key(held), passphrase)
    return held.certificate.pem.encode() + key


def export_pkcs12(vault: Vault, passphrase: bytes) -> bytes:
    """Certificate and key as PKCS#12, named after the certificate.

    Raises:
        Refused: ``no_active_certificate``, ``export_passphrase_missing``, or what opening the
            key raises.
    """
    if not passphrase:
        raise refuse(
            "export_passphrase_missing",
            "A PKCS#12 file is not written without a passphrase.",
            "Give one through an environment variable, a file or a command.",
        )
    held = vault.require_active()
    certificate = held.certificate
    return pkcs12.serialize_key_and_certificates(
        certificate.common_name.encode(),
        vault.private_key(held),
        certificate.certificate,
        None,
        BestAvailableEncryption(passphrase),
    )


def save(path: Path, exported: bytes) -> None:
    """Writes an export with mode 0600, whole or not at all; replaces what is there."""
    write_private(path, exported, Unobserved(), _BOUNDARY)
