"""The embedded deployment: both planes on one machine, in one process, the boundary kept.

The composition root of everything that is not distributed: built by ``cli`` from the
configuration, by the rehearsal from the lab's, and by nobody else. The planes still talk
through ``VendorLink`` alone, in bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import structlog

from lifecycle.boundary import Watch, WriteObserver, ignore
from lifecycle.clock import Clock
from lifecycle.config import Config
from lifecycle.deploying import configured_targets, targets_by_customer
from lifecycle.errors import PushcertError, Refused, refuse
from lifecycle.instance.agent import Agent
from lifecycle.instance.canaries import CanarySource, NoCanary, RingCanaries, VaultCanaries
from lifecycle.instance.deploy.deployer import Deployer
from lifecycle.instance.outcomes import UploadOutcome, Verification
from lifecycle.instance.pushes import Pushes
from lifecycle.instance.vault import Vault
from lifecycle.passphrase import PassphraseSource
from lifecycle.pki.chain import TrustStore
from lifecycle.pushing import configured_gateway, configured_pushes
from lifecycle.secret import secret_source
from lifecycle.vendor import deployments, store
from lifecycle.vendor.check_orders import order_isolation_check
from lifecycle.vendor.facts import CustomerKind
from lifecycle.vendor_plane import Tick, VendorPlane
from lifecycle.wire.link import VendorLink
from lifecycle.wire.memory import MemoryLink

log = structlog.get_logger(__name__)


class Embedded(VendorPlane):
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
        super().__init__(config, clock, observer=observer, instances=self)
        self._tap = tap
        self.gateway = configured_gateway(config)
        self.pushes = configured_pushes(config, clock)

    def vault_directory(self, slug: str) -> Path:
        """Where the vault of this customer's instance is."""
        return self.config.path(self.config.vault.directory) / slug

    def is_remote(self, slug: str) -> bool:
        """True if the customer's instance runs elsewhere. Raises ``Refused``: unknown slug."""
        with self.database.reading() as session:
            return store.customer_by_slug(session, slug).remote

    @contextmanager
    def vault(self, slug: str) -> Iterator[Vault]:
        """The customer's vault, made on first use. Raises ``Refused``."""
        directory = self.vault_directory(slug)
        if Vault.exists(directory):
            vault = self._open_vault(directory)
        else:
            if self.is_remote(slug):  # and no vault for a mistyped slug
                raise _elsewhere(slug)
            directory.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            vault = Vault.create(directory, self._vault_passphrase(), observer=self.observer)
        with vault:
            yield vault

    @contextmanager
    def agent(self, slug: str, operator: str | None = None) -> Iterator[Agent]:
        """The agent of the customer's instance, on its vault and its link to the vendor."""
        with self.vault(slug) as vault:
            link = MemoryLink(self.desk(slug, operator), self._tap)
            yield Agent(
                vault,
                link,
                self.pushes,
                self._canaries(slug),
                self.clock,
                self.trust,
                self._deployer(slug, vault, link),
            )

    @contextmanager
    def deployer(self, slug: str) -> Iterator[Deployer]:
        """The deploy targets of the customer's instance."""
        with self.vault(slug) as vault:
            yield self._deployer(slug, vault, MemoryLink(self.desk(slug), self._tap))

    def _deployer(self, slug: str, vault: Vault, link: VendorLink) -> Deployer:
        return Deployer(vault, link, configured_targets(self.config, slug), self.clock, self.trust)

    def instance(self, slug: str) -> EmbeddedInstance:
        """This customer's instance. Raises ``Refused`` for an unknown slug, or a remote one."""
        if self.is_remote(slug):
            raise _elsewhere(slug)
        return EmbeddedInstance(self, slug)

    def nudge(self, slug: str) -> None:
        """Lets the customer's instance do what the vendor wants of it (``InstanceGateway``).

        One that runs on a machine of its own asks by itself.
        """
        if self.is_remote(slug):
            return
        with self.agent(slug) as agent:
            agent.step()

    def upload(
        self,
        slug: str,
        data: bytes,
        accept_new_topic: str | None = None,
        operator: str | None = None,
    ) -> UploadOutcome:
        """Takes the certificate from the portal into the customer's instance, and goes on.

        Args:
            data: the file, whatever it is.
            accept_new_topic: the new topic, typed out; None refuses a changed one.
            operator: who typed it, for the audit log; None: the customer's own people.

        Raises:
            Refused: with every finding; nothing was written on either side.
        """
        with self.agent(slug, operator) as agent:
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
        if self.is_remote(slug):
            return Verification(slug, None, "Ordered; the instance probes when it asks next.")
        try:
            self.nudge(slug)
        except PushcertError as fault:
            # One instance that cannot work must not keep the others from being checked.
            return Verification(slug, None, str(fault), failed=True)
        with self.database.reading() as session:
            latest = store.latest_check(session, store.customer_by_slug(session, slug))
        if latest is None or latest.id != check.id or latest.verdict is None:
            return Verification(slug, None, "The instance sent no evidence.", failed=True)
        return Verification(slug, latest.verdict, latest.why or "")

    def tick(self, *, stop: Callable[[], bool] = lambda: False, watch: Watch = ignore) -> Tick:
        """See ``VendorPlane.tick``; then the deploy targets, so that no mail waits for one."""
        done = super().tick(stop=stop, watch=watch)
        self.deploy_owed(stop=stop)
        return done

    def deploy_owed(self, *, stop: Callable[[], bool] = lambda: False) -> None:
        """Lets every instance look after its deploy targets whose turn it is.

        A server that gives no answer costs one wait, not one for each customer: whoever comes
        after the first that met it has a turn at the next tick.
        """
        targets = targets_by_customer(self.config)
        with self.database.reading() as session:
            slugs = deployments.due(session, targets, self.clock.now())
        down: set[str] = set()
        for slug in slugs:
            if stop() or (targets and down >= set(targets)):
                return
            if not Vault.exists(self.vault_directory(slug)):
                continue  # its certificate was recorded, and its key is elsewhere
            try:
                with self.deployer(slug) as deployer:
                    done = deployer.run(set(targets) - down if down else ())
            except PushcertError as fault:
                log.warning("deploying_failed", customer=slug, code=fault.code)
                continue
            for one in done:
                if one.outcome == "failed":
                    log.warning("deploying_failed", customer=slug, target=one.target, code=one.code)
            down |= {one.target for one in done if one.temporary}

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


@dataclass(frozen=True, slots=True)
class EmbeddedInstance:
    """One customer's instance in an embedded deployment (``OneInstance``)."""

    embedded: Embedded
    slug: str

    @property
    def clock(self) -> Clock:
        """The deployment's."""
        return self.embedded.clock

    @property
    def pushes(self) -> Pushes:
        """The way to APNs."""
        return self.embedded.pushes

    @property
    def trust(self) -> TrustStore:
        """What push certificates must chain to."""
        return self.embedded.trust

    def deployer(self) -> AbstractContextManager[Deployer]:
        """See ``OneInstance.deployer``."""
        return self.embedded.deployer(self.slug)

    def vault(self) -> AbstractContextManager[Vault]:
        """See ``OneInstance.vault``."""
        return self.embedded.vault(self.slug)

    def agent(self) -> AbstractContextManager[Agent]:
        """See ``OneInstance.agent``."""
        return self.embedded.agent(self.slug)

    def upload(self, data: bytes, accept_new_topic: str | None = None) -> UploadOutcome:
        """See ``OneInstance.upload``."""
        return self.embedded.upload(self.slug, data, accept_new_topic)

    def verify(self) -> Verification:
        """See ``OneInstance.verify``."""
        return self.embedded.verify(self.slug)


def _elsewhere(slug: str) -> Refused:
    return refuse(
        "instance_elsewhere",
        f"The instance of '{slug}' runs on a machine of its own; its vault is there.",
        "Run the command there, without --customer.",
    )
