"""The other tenant of an isolation check: whose topic and token must be out of reach.

By default a canary tenant that the vendor owns, so that no customer's token is shown to
another customer's instance. A ring over consenting customers is the alternative.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Protocol

from lifecycle.apns.probes import OtherTenant
from lifecycle.instance.vault import Vault
from lifecycle.pki.topic import Topic

OpenVault = Callable[[Path], Vault]
"""Opens a vault; the caller closes it."""


class CanarySource(Protocol):
    """Finds another tenant to probe against.

    An implementer must never give a tenant with ``own_topic``: that push would get through,
    and rightly. It must give a token only of a tenant that agreed to it.
    """

    def other_tenant(self, own_topic: Topic) -> OtherTenant | None:
        """Topic and token of another tenant; None if there is none.

        Raises ``Refused`` if its vault cannot be opened."""
        ...


class NoCanary:
    """The source where no canary tenant is configured: every check is inconclusive."""

    def other_tenant(self, own_topic: Topic) -> OtherTenant | None:  # noqa: ARG002
        """Always None."""
        return None


class VaultCanaries:
    """The canary tenant that the vendor owns, read from its vault.

    Args:
        directory: its vault.
        open_vault: opens it.
    """

    def __init__(self, directory: Path, open_vault: OpenVault = Vault.open) -> None:
        self._directory = directory
        self._open = open_vault

    def other_tenant(self, own_topic: Topic) -> OtherTenant | None:
        """See ``CanarySource.other_tenant``; None for the canary tenant itself."""
        if not Vault.exists(self._directory):
            return None
        with self._open(self._directory) as vault:
            return _tenant(vault, own_topic)


class RingCanaries:
    """Customers that agreed to probe each other: each one probes the next, by name.

    Args:
        vaults: directories of all customers' vaults.
        own: the directory of the vault that probes; it must have consented as well.
        open_vault: opens a vault.
    """

    def __init__(
        self, vaults: Iterable[Path], own: Path, open_vault: OpenVault = Vault.open
    ) -> None:
        self._own = own
        self._open = open_vault
        others = sorted(path for path in set(vaults) if path != own)
        self._next = [p for p in others if p > own] + [p for p in others if p < own]

    def other_tenant(self, own_topic: Topic) -> OtherTenant | None:
        """See ``CanarySource.other_tenant``; the first after us that consents and can."""
        with self._open(self._own) as vault:
            if not vault.consents_to_ring():
                return None
        for directory in self._next:
            with self._open(directory) as vault:
                tenant = _tenant(vault, own_topic) if vault.consents_to_ring() else None
            if tenant is not None:
                return tenant
        return None


def _tenant(vault: Vault, own_topic: Topic) -> OtherTenant | None:
    active = vault.active()
    if active is None or active.certificate.topic == own_topic:
        return None
    topic = active.certificate.topic
    for known in vault.devices.reachable(topic, 1):
        return OtherTenant(topic, vault.devices.open(known.udid).token)
    return None
