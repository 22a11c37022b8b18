"""What a stage needs of the deployment that it plays on: embedded or distributed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from lifecycle.rehearsal.disclosure import Disclosure, Search, Secret
from lifecycle.vendor_plane import VendorPlane


@dataclass(frozen=True, slots=True)
class Uploaded:
    """What became of an upload that was accepted.

    Attributes:
        topic: of the certificate.
        setback: why it is not active yet; None if it is.
    """

    topic: str
    setback: str | None


class Boundary(Protocol):
    """The line between the planes, to be searched for what must not have crossed it."""

    @property
    def unseen(self) -> str | None:
        """What should be searched and cannot be, on this system; None: nothing."""
        ...

    def customers_secrets(self) -> list[Secret]:
        """Every private key of the instances and every device token, the canary's too."""
        ...

    def beyond_customers(self, search: Search) -> list[Disclosure]:
        """What of it is where customers' secrets must not be."""
        ...

    def vendors_secrets(self) -> list[Secret]:
        """The MDM signing keys."""
        ...

    def beyond_vendor(self, search: Search) -> list[Disclosure]:
        """What of it is where the signing key must not be."""
        ...


class Deployment(Protocol):
    """A vendor's plane and its customers' instances.

    ``plane`` is the vendor's, as ops have it in hand at the command line.
    """

    @property
    def plane(self) -> VendorPlane:
        """The vendor's plane."""
        ...

    @property
    def boundary(self) -> Boundary:
        """The line between its planes."""
        ...

    def join(self, slug: str) -> None:
        """A customer is in the registry: its instance comes into being."""
        ...

    def look(self) -> None:
        """Everybody does what is owed at this instant."""
        ...

    def upload(self, slug: str, data: bytes) -> Uploaded:
        """A customer's admin uploads a file. Raises ``Refused`` with every finding."""
        ...

    def take_in(self, slug: str, token_update: bytes) -> None:
        """A device's TokenUpdate message reaches the instance."""
        ...

    def held(self, slug: str) -> str:
        """The fingerprint of the certificate that the instance pushes with."""
        ...

    def lose_worker(self) -> bool:
        """Kills (SIGKILL) a worker between two writes; False if it ended before."""
        ...


def disclosures(boundary: Boundary) -> list[Disclosure]:
    """Everything that has crossed and must not."""
    return [
        *boundary.beyond_customers(Search(boundary.customers_secrets())),
        *boundary.beyond_vendor(Search(boundary.vendors_secrets())),
    ]
