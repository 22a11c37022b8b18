"""The vendor's plane with its signer and its worker: what `run` and `tick` are made of.

In the distributed deployment this is the whole of it: instances ask by themselves, and no vault
is on this machine. ``Embedded`` adds the customers' plane.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from lifecycle.boundary import Watch, WriteObserver, ignore
from lifecycle.clock import Clock
from lifecycle.config import Config
from lifecycle.signing import configured_signer
from lifecycle.trust import configured_trust
from lifecycle.vendor.desk import Desk
from lifecycle.vendor.outbox import DeliverySummary
from lifecycle.vendor.revocation import OcspGateway
from lifecycle.vendor.signers import remind_of_signer
from lifecycle.vendor.telling import TELLS
from lifecycle.vendor.worker import InstanceGateway, TickSummary, Worker
from lifecycle.vendor_side import VendorSide


@dataclass(frozen=True, slots=True)
class Tick:
    """What one tick did: the worker's part, and the mail that went out."""

    work: TickSummary
    mail: DeliverySummary


class AskingInstances:
    """The ``InstanceGateway`` of the distributed deployment: instances ask by themselves."""

    def nudge(self, slug: str) -> None:
        """Does nothing."""


class VendorPlane(VendorSide):
    """The vendor's plane, put together from the configuration; see ``VendorSide``.

    Args:
        config: the configuration.
        clock: the host's, or the lab's.
        observer: told around every durable write.
        instances: reaches the customers' instances; None where they ask by themselves.

    Attributes:
        trust: what certificates must chain to.
        signer: the MDM signing certificate and key.
        worker: does what is owed.
    """

    def __init__(
        self,
        config: Config,
        clock: Clock,
        *,
        observer: WriteObserver | None = None,
        instances: InstanceGateway | None = None,
    ) -> None:
        super().__init__(config, clock, observer=observer)
        self.trust = configured_trust(config)
        self.signer = configured_signer(config, self.observer)
        self.worker = Worker(
            self.database,
            clock,
            self.policy,
            self.signer,
            instances or AskingInstances(),
            OcspGateway(self.trust, clock, config.revocation.timeout_seconds),
            self.notices,
        )

    def desk(self, slug: str, operator: str | None = None) -> Desk:
        """The vendor's side of the link for this customer.

        Args:
            operator: who of vendor ops speaks for the instance, for the audit log.
        """
        return Desk(
            self.database,
            slug,
            self.clock,
            self.trust,
            self.notices,
            policy=self.policy,
            operator=operator,
        )

    def tick(self, *, stop: Callable[[], bool] = lambda: False, watch: Watch = ignore) -> Tick:
        """Does everything that is owed now, and sends the mail.

        Args:
            stop: asked between customers; True ends the tick after the one in hand.
            watch: told how far it is.

        Raises:
            Unavailable: the vendor's database cannot be used.
        """
        return self._told(self.worker.tick(stop=stop, watch=watch), watch)

    def remind(self, *, watch: Watch = ignore) -> Tick:
        """Tells everybody what they are to be told now, and does nothing else that is owed.

        Raises:
            Unavailable: the vendor's database cannot be used.
        """
        return self._told(self.worker.tick(only=TELLS, watch=watch), watch)

    def _told(self, work: TickSummary, watch: Watch) -> Tick:
        remind_of_signer(self.database, self.policy.ladder, self.notices, self.clock.now())
        self.write_digest()
        return Tick(work, self.send_mail(watch))
