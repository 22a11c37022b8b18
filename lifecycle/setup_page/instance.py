"""What the setup page needs of the instance that it belongs to."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Protocol

from lifecycle.clock import Clock
from lifecycle.instance.agent import Agent
from lifecycle.instance.vault import Vault


class SetupInstance(Protocol):
    """One customer's instance, opened anew for each use, from whatever thread wants it.

    An implementer gives every caller a vault and a link of their own; two may be in use at the
    same time, beside those of `instance run` or `run`. A caller keeps none of them.
    """

    @property
    def clock(self) -> Clock:
        """Tells the time."""
        ...

    def vault(self) -> AbstractContextManager[Vault]:
        """The instance's vault. Raises ``Refused`` when it cannot be used."""
        ...

    def agent(self) -> AbstractContextManager[Agent]:
        """Its agent, with a line to the vendor. Raises ``Refused``, ``Unavailable``."""
        ...
