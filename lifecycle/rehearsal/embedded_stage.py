"""The embedded deployment of a rehearsal, and its boundary."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lifecycle.boundary import WriteObserver
from lifecycle.config import CONFIG_NAME, load_config
from lifecycle.embedded import Embedded
from lifecycle.registry_database import configured_password
from lifecycle.rehearsal import victim
from lifecycle.rehearsal.deployment import Uploaded
from lifecycle.rehearsal.disclosure import Disclosure, Search, Secret
from lifecycle.rehearsal.secrets_held import keys_in
from lifecycle.rehearsal.surroundings import OPS, VENDOR, Surroundings
from lifecycle.vendor.migrations import upgrade
from lifecycle.vendor_plane import VendorPlane

KILL_AT = 6


class EmbeddedDeployment:
    """Both planes in this process (``Deployment``).

    Args:
        lab: around it; its directory is the vendor's.
        observer: handed to both planes.
        database: the registry's URL; None: SQLite, in the lab's directory.

    Attributes:
        embedded: the planes.
        crossed: the bytes of every message between them.
    """

    embedded: Embedded

    def __init__(
        self, lab: Surroundings, observer: WriteObserver | None, database: str | None = None
    ) -> None:
        self._lab = lab
        self._observer = observer
        self.crossed: list[bytes] = []
        (lab.directory / CONFIG_NAME).write_text(
            f'[vendor]\nname = "{VENDOR}"\nops = ["{OPS}"]\n'
            f'database = "{database or "sqlite:///vendor.sqlite"}"\n\n'
            f"{lab.of_apple}\n{lab.of_mail}"
        )
        self.reopen()

    def reopen(self) -> None:
        """Opens the deployment as a new process would."""
        config = load_config(self._lab.directory / CONFIG_NAME)
        upgrade(config.database_url, password=configured_password(config))
        self.embedded = Embedded(
            config, self._lab.clock, observer=self._observer, tap=self.crossed.append
        )

    @property
    def plane(self) -> VendorPlane:
        """See ``Deployment.plane``."""
        return self.embedded

    @property
    def boundary(self) -> EmbeddedBoundary:
        """See ``Deployment.boundary``."""
        return EmbeddedBoundary(self._lab, self)

    def join(self, slug: str) -> None:
        """See ``Deployment.join``; the vault is made on first use."""

    def look(self) -> None:
        """See ``Deployment.look``."""
        self.embedded.tick()

    def upload(self, slug: str, data: bytes) -> Uploaded:
        """See ``Deployment.upload``."""
        outcome = self.embedded.upload(slug, data)
        setback = None if outcome.setback is None else outcome.setback.message
        return Uploaded(str(outcome.certificate.topic), setback)

    def take_in(self, slug: str, token_update: bytes) -> None:
        """See ``Deployment.take_in``."""
        with self.embedded.vault(slug) as vault:
            vault.import_devices(token_update, self._lab.clock.now())

    def held(self, slug: str) -> str:
        """See ``Deployment.held``."""
        with self.embedded.vault(slug) as vault:
            return str(vault.require_active().certificate.fingerprint)

    def lose_worker(self) -> bool:
        """See ``Deployment.lose_worker``."""
        return victim.lose(self._lab.directory, self._lab.clock.now(), KILL_AT)


class EmbeddedBoundary:
    """The line through one machine (``Boundary``): the vaults, and everything else.

    Args:
        lab: of the rehearsal.
        deployment: to be searched.
    """

    def __init__(self, lab: Surroundings, deployment: EmbeddedDeployment) -> None:
        self._lab = lab
        self._deployment = deployment
        self._vaults = lab.directory / "instances"

    unseen = None

    def vendors_files(self) -> list[Path]:
        """Everything on the vendor's side: all but the vaults and the signing key."""
        return sorted(
            path
            for path in self._lab.directory.iterdir()
            if path.name not in ("instances", "signer")
        )

    def customers_secrets(self) -> list[Secret]:
        """See ``Boundary.customers_secrets``."""
        secrets = [Secret(f"device token {n}", token) for n, token in enumerate(self._lab.tokens)]
        vaults = sorted(self._vaults.iterdir()) if self._vaults.exists() else []
        for path in vaults:
            with self._deployment.embedded.vault(path.name) as vault:
                secrets += keys_in(vault, path.name)
        return secrets

    def beyond_customers(self, search: Search) -> list[Disclosure]:
        """See ``Boundary.beyond_customers``."""
        return [
            *search.in_files(self.vendors_files()),
            *search.in_bytes("a message between the planes", self.wire),
        ]

    def vendors_secrets(self) -> list[Secret]:
        """See ``Boundary.vendors_secrets``."""
        return [
            secret
            for key in self._lab.signing_keys
            for secret in Secret.of_key("the MDM signing key", key)
        ]

    def beyond_vendor(self, search: Search) -> list[Disclosure]:
        """See ``Boundary.beyond_vendor``."""
        return [
            *search.in_files([self._vaults]),
            *search.in_bytes("a message between the planes", self.wire),
        ]

    @property
    def wire(self) -> bytes:
        """Every message that has crossed between the planes, one a line."""
        return b"\n".join(self._deployment.crossed)


@contextmanager
def deploy_embedded(
    lab: Surroundings, observer: WriteObserver | None = None, database: str | None = None
) -> Iterator[EmbeddedDeployment]:
    """Makes the deployment, and closes it again."""
    deployment = EmbeddedDeployment(lab, observer, database)
    try:
        yield deployment
    finally:
        deployment.embedded.close()
