"""Where the vaults of a machine's instances are."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lifecycle.passphrase import PassphraseSource


@dataclass(frozen=True, slots=True)
class Vaults:
    """Where the instances are.

    Attributes:
        directory: holds a vault for each customer, named after its slug.
        passphrase: of the vaults, if they have one.
        canaries: slugs of the vendor's own canary tenants; None where customers who consented
            probe each other ("ring").
    """

    directory: Path
    passphrase: PassphraseSource | None
    canaries: tuple[str, ...] | None
