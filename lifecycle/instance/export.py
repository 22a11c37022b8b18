"""The active pair, out of the vault, for the customer's other software.

This and deploying (``lifecycle.instance.deploy``) are the ways in which a private key leaves a
vault, and both lead to the customer only.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from lifecycle.boundary import Unobserved
from lifecycle.instance.paths import write_private
from lifecycle.instance.vault import Vault
from lifecycle.pki.chain import TrustStore, complete_chain
from lifecycle.pki.pair import Pair

_BOUNDARY = "export"


def active_pair(vault: Vault, trust: TrustStore, now: datetime) -> Pair:
    """The active certificate with its key, and the intermediates above it if they are known.

    Args:
        vault: the instance's vault.
        trust: where the intermediates come from.
        now: of several chains, one that is valid then.

    Raises:
        Refused: ``no_active_certificate``, or what opening the key raises.
    """
    held = vault.require_active()
    chain, _ = complete_chain(held.certificate.certificate, trust, at=now, leaf_dates=False)
    return Pair(
        held.certificate,
        vault.private_key(held),
        () if chain is None else chain.issuers[:-1],
    )


def save(path: Path, exported: bytes) -> None:
    """Writes an export with mode 0600, whole or not at all; replaces what is there."""
    write_private(path, exported, Unobserved(), _BOUNDARY)
