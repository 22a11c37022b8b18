"""The boundary of a distributed rehearsal: files, processes, and every byte in between."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from lifecycle.instance.vault import Vault
from lifecycle.rehearsal.disclosure import Disclosure, Search, Secret
from lifecycle.rehearsal.processes import can_be_seen, open_files, search_process
from lifecycle.rehearsal.secrets_held import keys_in
from lifecycle.rehearsal.surroundings import Surroundings
from lifecycle.vendor_plane import VendorPlane

BACKUP = "backup.sqlite"


class DistributedBoundary:
    """What is searched after a distributed year (``Boundary``).

    Args:
        lab: of the rehearsal.
        plane: the vendor's, to make a backup with.
        vaults: the customers' vaults, by slug.
        pids: of the vendor's processes, by name.
    """

    def __init__(
        self,
        lab: Surroundings,
        plane: VendorPlane,
        vaults: Mapping[str, Path],
        pids: Mapping[str, int],
    ) -> None:
        self._lab = lab
        self._plane = plane
        self._vaults = vaults
        self._pids = pids
        self._vendor = plane.config.base
        self._recording = lab.directory / "recording"

    @property
    def unseen(self) -> str | None:
        """What could not be searched on this system; None: nothing was left out."""
        if all(can_be_seen(pid) for pid in self._pids.values()):
            return None
        return "the vendor's processes (this system does not show their memory)"

    def vendors_files(self) -> list[Path]:
        """All that the vendor's machine keeps but the signing key: database, logs, config, and
        a backup that is made now."""
        self._back_up()
        return sorted(path for path in self._vendor.iterdir() if path.name != "signer")

    def customers_secrets(self) -> list[Secret]:
        """See ``Boundary.customers_secrets``."""
        secrets = [Secret(f"device token {n}", token) for n, token in enumerate(self._lab.tokens)]
        for slug, directory in self._vaults.items():
            with Vault.open(directory) as vault:
                secrets += keys_in(vault, slug)
        return secrets

    def beyond_customers(self, search: Search) -> list[Disclosure]:
        """See ``Boundary.beyond_customers``: the vendor's files and processes, and the wire."""
        found = search.in_files([*self.vendors_files(), self._recording])
        for name, pid in self._pids.items():
            if can_be_seen(pid):
                found += search_process(name, pid, search)
        return found

    def vendors_secrets(self) -> list[Secret]:
        """See ``Boundary.vendors_secrets``."""
        return [
            secret
            for key in self._lab.signing_keys
            for secret in Secret.of_key("the MDM signing key", key)
        ]

    def beyond_vendor(self, search: Search) -> list[Disclosure]:
        """See ``Boundary.beyond_vendor``: instances, the wire, and what serves customers."""
        found = search.in_files([self._lab.directory / "instances", self._recording])
        serve = self._pids["serve"]
        if can_be_seen(serve):
            found += search_process("serve", serve, search)
            found += [
                Disclosure("the open files of serve", file.name, "open")
                for file in open_files(serve)
                if self._vendor / "signer" in file.parents
            ]
        return found

    def _back_up(self) -> None:
        backup = self._vendor / BACKUP
        backup.unlink(missing_ok=True)
        with self._plane.database.engine.connect() as connection:
            connection.exec_driver_sql("ROLLBACK")
            connection.exec_driver_sql("VACUUM INTO ?", (str(backup),))
