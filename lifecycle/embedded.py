"""The embedded deployment: both planes on one machine, in one process, the boundary kept.

The composition root of everything that is not distributed: built by ``cli`` from the
configuration, by the rehearsal from the lab's, and by nobody else. The planes still talk
through ``VendorLink`` alone, in bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from lifecycle.apns.client import RetryPolicy
from lifecycle.apns.gateway import Gateway
from lifecycle.boundary import WriteObserver
from lifecycle.clock import Clock
from lifecycle.config import Config
from lifecycle.errors import PushcertError
from lifecycle.instance.agent import Agent
from lifecycle.instance.apns_pushes import ApnsPushes
from lifecycle.instance.canaries import CanarySource, NoCanary, RingCanaries, VaultCanaries
from lifecycle.instance.outcomes import UploadOutcome
from lifecycle.instance.vault import Vault
from lifecycle.passphrase import PassphraseSource
from lifecycle.secret import secret_source
from lifecycle.signing import configured_signer
from lifecycle.trust import configured_trust
from lifecycle.vendor import store
from lifecycle.vendor.check_orders import order_isolation_check
from lifecycle.vendor.desk import Desk
from lifecycle.vendor.facts import CustomerKind, Verdict
from lifecycle.vendor.outbox import DeliverySummary
from lifecycle.vendor.revocation import OcspGateway
from lifecycle.vendor.signers import remind_of_signer
from lifecycle.vendor.worker import TickSummary, Worker
from lifecycle.vendor_side import VendorSide
from lifecycle.wire.memory import MemoryLink


@dataclass(frozen=True, slots=True)
class Tick:
    """What one tick did: the worker's part, and the mail that went out."""

    work: TickSummary
    mail: DeliverySummary


@dataclass(frozen=True, slots=True)
class Verification:
    """The outcome of one customer's isolation check.

    Attributes:
        verdict: None if no check was made.
        why: a sentence.
        failed: a check should have been made and could not be.
    """

    slug: str
    verdict: Verdict | None
    why: str
    failed: bool = False


class Embedded(VendorSide):
    """Both planes, put together from one configuration.

    Args:
        config: the configuration.
        clock: the host's, or the lab's.
        observer: told around every durable write of either plane.
        tap: sees the bytes of every message between the planes.
    """

    def __init__(
        self,
        config: Config,
        clock: Clock,
        *,
        observer: WriteObserver | None = None,
        tap: Callable[[bytes], None] | None = None,
    ) -> None:
        super().__init__(config, clock, observer=observer)
        self._tap = tap
        self.trust = configured_trust(config)
        self.signer = configured_signer(config, self.observer)
        self.gateway = Gateway(
            config.apns.host,
            config.apns.port,
            None if config.apns.ca_file is None else config.path(config.apns.ca_file),
            config.apns.proxy,
        )
        self.pushes = ApnsPushes(
            self.gateway,
            clock,
            RetryPolicy(
                attempts=config.apns.attempts,
                base=config.apns.backoff_seconds,
                timeout=config.apns.timeout_seconds,
            ),
        )
        self.worker = Worker(
            self.database,
            clock,
            self.policy,
            self.signer,
            self,
            OcspGateway(self.trust, clock, config.revocation.timeout_seconds),
            self.notices,
        )

    def vault_directory(self, slug: str) -> Path:
        """Where the vault of this customer's instance is."""
        return self.config.path(self.config.vault.directory) / slug

    @contextmanager
    def vault(self, slug: str) -> Iterator[Vault]:
        """The customer's vault, made on first use. Raises ``Refused``."""
        directory = self.vault_directory(slug)
        if Vault.exists(directory):
            vault = self._open_vault(directory)
        else:
            with self.database.reading() as session:
                store.customer_by_slug(session, slug)  # no vault for a mistyped slug
            directory.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            vault = Vault.create(directory, self._vault_passphrase(), observer=self.observer)
        with vault:
            yield vault

    def desk(self, slug: str) -> Desk:
        """The vendor's side of the link for this customer."""
        return Desk(self.database, slug, self.clock, self.trust, self.notices)

    @contextmanager
    def agent(self, slug: str) -> Iterator[Agent]:
        """The agent of the customer's instance, on its vault and its link to the vendor."""
        with self.vault(slug) as vault:
            yield Agent(
                vault,
                MemoryLink(self.desk(slug), self._tap),
                self.pushes,
                self._canaries(slug),
                self.clock,
                self.trust,
            )

    def nudge(self, slug: str) -> None:
        """Lets the customer's instance do what the vendor wants of it (``InstanceGateway``)."""
        with self.agent(slug) as agent:
            agent.step()

    def upload(self, slug: str, data: bytes, accept_new_topic: str | None = None) -> UploadOutcome:
        """Takes the certificate from the portal into the customer's instance, and goes on.

        Raises:
            Refused: with every finding; nothing was written on either side.
        """
        with self.agent(slug) as agent:
            outcome = agent.upload(data, accept_new_topic)
        self.worker.drive(slug)
        return outcome

    def verify(self, slug: str) -> Verification:
        """Checks one customer's isolation now. Raises ``Refused`` for an unknown slug."""
        now = self.clock.now()
        with self.database.transaction() as session:
            customer = store.customer_by_slug(session, slug)
            check = order_isolation_check(session, customer, at=now)
        if check is None:
            return Verification(slug, None, "There is no active certificate to check.")
        try:
            self.nudge(slug)
        except PushcertError as fault:
            # One instance that cannot work must not keep the others from being checked.
            return Verification(slug, None, str(fault), failed=True)
        with self.database.reading() as session:
            latest = store.latest_check(session, store.customer_by_slug(session, slug))
        if latest is None or latest.id != check.id or latest.verdict is None:
            return Verification(slug, None, "The instance sent no evidence.", failed=True)
        return Verification(slug, Verdict(latest.verdict), latest.why or "")

    def tick(self, *, stop: Callable[[], bool] = lambda: False) -> Tick:
        """Does everything that is owed now, on both planes, and sends the mail.

        Raises:
            Unavailable: the vendor's database cannot be used.
        """
        work = self.worker.tick(stop=stop)
        remind_of_signer(self.database, self.policy.ladder, self.notices, self.clock.now())
        self.write_digest()
        return Tick(work, self.send_mail())

    def _vault_passphrase(self) -> PassphraseSource | None:
        return secret_source(self.config, self.config.vault.passphrase)

    def _open_vault(self, directory: Path) -> Vault:
        return Vault.open(directory, self._vault_passphrase(), observer=self.observer)

    def _canaries(self, slug: str) -> CanarySource:
        own = self.vault_directory(slug)
        if self.config.isolation.other_tenant == "ring":
            vaults = (path for path in own.parent.iterdir() if Vault.exists(path))
            return RingCanaries(vaults, own, self._open_vault)
        with self.database.reading() as session:
            tenants = store.slugs_of_kind(session, CustomerKind.CANARY)
        others = [tenant for tenant in tenants if tenant != slug]
        if not others:
            return NoCanary()
        return VaultCanaries(self.vault_directory(others[0]), self._open_vault)
