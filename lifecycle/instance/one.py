"""One customer's instance, wherever it runs: what commands and pages work with."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Protocol

from lifecycle.clock import Clock
from lifecycle.instance.agent import Agent
from lifecycle.instance.deploy.deployer import Deployer
from lifecycle.instance.outcomes import UploadOutcome, Verification
from lifecycle.instance.pushes import Pushes
from lifecycle.instance.vault import Vault
from lifecycle.pki.chain import TrustStore


class OneInstance(Protocol):
    """An instance in an embedded deployment, or on a machine of its own.

    What is opened is closed at the end of its block; nothing stays open between.
    """

    @property
    def clock(self) -> Clock:
        """Tells the time."""
        ...

    @property
    def pushes(self) -> Pushes:
        """The way to APNs."""
        ...

    @property
    def trust(self) -> TrustStore:
        """What push certificates must chain to."""
        ...

    def deployer(self) -> AbstractContextManager[Deployer]:
        """Its deploy targets. Raises ``Refused``."""
        ...

    def vault(self) -> AbstractContextManager[Vault]:
        """Its vault. Raises ``Refused``."""
        ...

    def agent(self) -> AbstractContextManager[Agent]:
        """Its agent, with the line to the vendor. Raises ``Refused``."""
        ...

    def upload(self, data: bytes, accept_new_topic: str | None = None) -> UploadOutcome:
        """Takes a certificate from the portal; see ``Agent.upload``."""
        ...

    def verify(self) -> Verification:
        """Has its isolation checked now. Raises ``Unavailable``, ``Refused``."""
        ...
