"""The stage: a real deployment in a directory, with the lab in Apple's place.

Everything a vendor has is here and is used as a vendor uses it: config.toml, the registry (in
SQLite, unless another is given), the signer's directory, vaults, SMTP. The lab's portal is visited
as a customer's admin visits Apple's, with the request from the mail.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from lifecycle.boundary import WriteObserver
from lifecycle.embedded import Embedded
from lifecycle.lab.clock import LabClock, MovableClock
from lifecycle.pki.keys import generate_key
from lifecycle.rehearsal.deployment import Deployment, Uploaded
from lifecycle.rehearsal.embedded_stage import EmbeddedDeployment, deploy_embedded
from lifecycle.rehearsal.surroundings import OPS, START, VENDOR, Surroundings
from lifecycle.vendor import registry, store
from lifecycle.vendor.facts import CustomerKind
from lifecycle.vendor.store import CustomerRecord
from lifecycle.vendor_plane import VendorPlane

CANARY = "vendor-canary"
CANARY_ACCOUNT = "push@vendor.example"

Deploy = Callable[[Surroundings], AbstractContextManager[Deployment]]


class Stage:
    """A deployment and the lab around it.

    Args:
        directory: an empty folder; everything is kept in it.
        seed: fixes topics, serials and everybody's habits.
        observer: handed to the embedded deployment.
        clock: told by all of it; stands at ``START``.
        database: the registry's URL, where the deployment is the embedded one; None: SQLite.
        deploy: makes another deployment in the embedded one's place.
    """

    deployment: Deployment

    def __init__(
        self,
        directory: Path,
        seed: int,
        *,
        observer: WriteObserver | None = None,
        clock: MovableClock | None = None,
        database: str | None = None,
        deploy: Deploy | None = None,
    ) -> None:
        self.directory = directory
        self.lab = Surroundings(directory, seed, clock or LabClock(START))
        self.clock = self.lab.clock
        self.rng = self.lab.rng
        self.authority = self.lab.authority
        self.portal = self.lab.portal
        self.gateway = self.lab.gateway
        self.mailbox = self.lab.mailbox
        self._deploy: Deploy = deploy or (lambda lab: deploy_embedded(lab, observer, database))

    @contextmanager
    def open(self) -> Iterator[Stage]:
        """Starts gateway and mail server, makes the deployment, and takes all down again."""
        with self.lab.running(), self._deploy(self.lab) as self.deployment:
            yield self

    @property
    def plane(self) -> VendorPlane:
        """The vendor's plane, as ops have it in hand."""
        return self.deployment.plane

    @property
    def embedded(self) -> Embedded:
        """Both planes, where they are embedded."""
        return self._embedded.embedded

    def reopen(self) -> None:
        """Opens the embedded deployment as a new process would."""
        self._embedded.reopen()

    @property
    def _embedded(self) -> EmbeddedDeployment:
        if not isinstance(self.deployment, EmbeddedDeployment):
            raise TypeError("this stage's deployment is not embedded")
        return self.deployment

    def import_signer(self, days: int) -> None:
        """The vendor gets an MDM signing certificate for ``days`` days and imports it."""
        key = generate_key()
        self.lab.signing_keys.append(key)
        certificate = self.authority.issue_signing_certificate(key.public_key(), VENDOR, days=days)
        self.plane.signer.install(certificate, key, (), self.plane.trust, at=self.clock.now())
        self.plane.worker.register_signer()

    def add_customer(
        self, slug: str, name: str, email: str, apple_account: str, *, canary: bool = False
    ) -> None:
        """Ops adds a customer to the registry."""
        kind = CustomerKind.CANARY if canary else CustomerKind.CUSTOMER
        new = registry.NewCustomer(slug, name, email, apple_account, kind)
        with self.plane.database.transaction() as session:
            registry.add(session, new, at=self.clock.now(), actor="operator:rehearsal")
        self.deployment.join(slug)

    def record(self, slug: str) -> CustomerRecord:
        """The customer's rows and facts now."""
        with self.plane.database.reading() as session:
            return store.load(session, store.customer_by_slug(session, slug))

    def look(self) -> None:
        """Everybody does what is owed at this instant."""
        self.deployment.look()

    def upload(self, slug: str, data: bytes) -> Uploaded:
        """A customer's admin uploads a file. Raises ``Refused`` with every finding."""
        return self.deployment.upload(slug, data)

    def enrol_device(self, slug: str) -> bytes:
        """A device enrols: APNs gives it a token, and its TokenUpdate reaches the instance."""
        active = self.record(slug).active
        if active is None:
            raise ValueError(f"{slug} has no certificate to enrol devices under")
        self.deployment.take_in(slug, self.lab.new_device(active.topic))
        return self.lab.tokens[-1]

    def advance_to(self, day: int, hour: int) -> None:
        """Moves the clock to an hour (UTC) of a day of the year, counted from 0."""
        self.lab.advance_to(day, hour)


__all__ = ["CANARY", "CANARY_ACCOUNT", "OPS", "START", "VENDOR", "Stage"]
