"""A customer's instance on a machine of its own, put together from the configuration.

The composition root of the customers' plane in the distributed deployment. It makes outbound
calls only: to its vendor's server and to APNs.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from importlib.metadata import version
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx

from lifecycle.boundary import Unobserved, WriteObserver
from lifecycle.clock import Clock
from lifecycle.config import Config
from lifecycle.deploying import configured_targets
from lifecycle.errors import PushcertError, Refused, refuse
from lifecycle.instance import enrolment
from lifecycle.instance.agent import Agent
from lifecycle.instance.credentials import Enrolled
from lifecycle.instance.deploy.deployer import Deployer
from lifecycle.instance.outcomes import StepOutcome, UploadOutcome, Verification
from lifecycle.instance.sealed_canaries import SealedCanaries
from lifecycle.instance.vault import Vault
from lifecycle.passphrase import PassphraseSource
from lifecycle.pushing import configured_pushes
from lifecycle.secret import secret_source
from lifecycle.trust import configured_trust
from lifecycle.wire.enrolment import EnrolmentReceipt
from lifecycle.wire.http_link import HttpLink, open_client
from lifecycle.wire.messages import Work
from lifecycle.wire.vendors_time import VendorsTime


class Standalone:
    """One customer's instance. Use it as a context manager; its end closes the connections.

    Args:
        config: with ``instance.vendor``.
        clock: the host's, or the lab's.
        observer: told around every durable write.
        sleep: waits between attempts to reach the vendor, seconds.

    Attributes:
        clock: tells the vendor's time, as far as it is known.
        trust: what push certificates must chain to.
        pushes: the way to APNs.
    """

    def __init__(
        self,
        config: Config,
        clock: Clock,
        *,
        observer: WriteObserver | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.config = config
        self.clock = VendorsTime(clock)
        self.trust = configured_trust(config)
        self.pushes = configured_pushes(config, self.clock)
        self._observer: WriteObserver = observer or Unobserved()
        self._sleep = sleep
        self._client: httpx.Client | None = None
        self._version = version("pushcert")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connections to the vendor."""
        if self._client is not None:
            self._client.close()
            self._client = None

    @property
    def directory(self) -> Path:
        """Where the vault is; the credential is in it."""
        return self.config.path(self.config.instance.directory)

    @contextmanager
    def vault(self) -> Iterator[Vault]:
        """The instance's vault. Raises ``Refused``: it is not there, or cannot be used."""
        with Vault.open(self.directory, self._passphrase(), observer=self._observer) as vault:
            yield vault

    def make_vault(self) -> bool:
        """Makes the vault; True if it was not there. Raises as ``Vault.create``."""
        if Vault.exists(self.directory):
            return False
        Vault.create(self.directory, self._passphrase(), observer=self._observer).close()
        return True

    @contextmanager
    def link(self) -> Iterator[HttpLink]:
        """The line to the vendor, signed with the instance's credential.

        Raises:
            Refused: ``instance_not_enrolled``.
        """
        with self.vault() as vault:
            yield self._link(_enrolled(vault))

    @contextmanager
    def agent(self) -> Iterator[Agent]:
        """The instance's agent. Raises ``Refused``: ``instance_not_enrolled``."""
        with self.vault() as vault:
            link = self._link(_enrolled(vault))
            canaries = SealedCanaries(vault, lambda: link.work().canary)
            deployer = self._deployer(vault, link)
            yield Agent(vault, link, self.pushes, canaries, self.clock, self.trust, deployer)

    @contextmanager
    def deployer(self) -> Iterator[Deployer]:
        """The instance's deploy targets. Raises ``Refused``: ``instance_not_enrolled``."""
        with self.vault() as vault:
            yield self._deployer(vault, self._link(_enrolled(vault)))

    def _deployer(self, vault: Vault, link: HttpLink) -> Deployer:
        return Deployer(vault, link, configured_targets(self.config), self.clock, self.trust)

    def work(self) -> Work:
        """What the vendor wants of this instance, and how its books show it.

        Raises ``Unavailable``, ``Refused``."""
        with self.link() as link:
            return link.work()

    def step(self) -> StepOutcome:
        """Does what the vendor wants now, after a change of keys if that is due.

        Raises ``Unavailable``, ``Refused``."""
        with self.agent() as agent:
            try:
                self.change_keys_if_due()
            except PushcertError:
                agent.deploy()  # what is on this machine needs no vendor
                raise
        with self.agent() as agent:
            return agent.step()

    def upload(self, data: bytes, accept_new_topic: str | None = None) -> UploadOutcome:
        """Takes a certificate from the portal; see ``Agent.upload``."""
        with self.agent() as agent:
            # A new certificate is judged by the vendor's time, which its answer brings. What
            # keeps it from answering the upload meets as well, and says so.
            with suppress(PushcertError):
                agent.work()
            return agent.upload(data, accept_new_topic)

    def verify(self) -> Verification:
        """Has the isolation checked now. Raises ``Unavailable``, ``Refused``."""
        with self.agent() as agent:
            outcome = agent.check_isolation()
        standing = self.work().standing
        if "evidence_sent" not in outcome.codes:
            why = "There is no active certificate to check."
            return Verification("", None, why, failed=standing is None or not standing.paused)
        if standing is None or standing.verdict is None:
            return Verification("", None, "The vendor has not judged the evidence yet.")
        return Verification("", standing.verdict, standing.verdict_why or "")

    def enrol(self, code: str) -> EnrolmentReceipt:
        """Makes this the instance that the code was made for.

        One that is known already stays what it is, and the code is not used.

        Raises:
            Refused: the vendor does not take the code; nothing has changed.
            Unavailable: it cannot be reached; the same code again goes on.
        """
        with self.vault() as vault:
            current = vault.credentials.current()
            if current is not None and (known := self._known_as(current)) is not None:
                return known
            link = self._link(None)
            return enrolment.enrol(vault, link, code, self.clock.now(), self._version)

    def enrolled(self) -> Enrolled | None:
        """The credential in use, or None."""
        with self.vault() as vault:
            return vault.credentials.current()

    def change_keys_if_due(self) -> bool:
        """Changes the credential's keys once they are old; True if they were changed."""
        every = timedelta(days=self.config.instance.rotate_days)
        with self.vault() as vault:
            current = _enrolled(vault)
            if not enrolment.rotation_is_due(current, every, self.clock.now()):
                return False
        self.change_keys()
        return True

    def change_keys(self) -> str:
        """Changes the credential's keys; gives the new credential's id.

        Raises ``Unavailable``, ``Refused``."""
        with self.vault() as vault:
            current = _enrolled(vault)
            return enrolment.change_keys(
                vault, self._link(current), current, self.clock.now(), self._version
            )

    def _known_as(self, current: Enrolled) -> EnrolmentReceipt | None:
        """As what the vendor knows these keys; None if it does not, or no longer."""
        try:
            standing = self._link(current).work().standing
        except Refused as refused:
            if set(refused.codes) <= {"credential_unknown", "credential_revoked"}:
                return None
            raise
        if standing is None:
            return None
        return EnrolmentReceipt(
            credential_id=current.credential_id,
            vendor=standing.vendor,
            customer=standing.customer,
        )

    def _link(self, enrolled: Enrolled | None) -> HttpLink:
        signer = None if enrolled is None else enrolled.signer
        return HttpLink(self._open_client(), self.clock, signer, self._sleep)

    def _open_client(self) -> httpx.Client:
        if self._client is None:
            section = self.config.instance
            if section.vendor is None:
                raise refuse(
                    "instance_without_vendor",
                    "The configuration names no vendor for this instance.",
                    "Set it up with `pushcert instance init --vendor URL --code CODE`.",
                )
            self._client = open_client(
                section.vendor,
                ca_file=None if section.ca_file is None else self.config.path(section.ca_file),
                proxy=section.proxy,
                timeout=section.timeout_seconds,
                version=self._version,
            )
        return self._client

    def _passphrase(self) -> PassphraseSource | None:
        return secret_source(self.config, self.config.instance.passphrase)


def _enrolled(vault: Vault) -> Enrolled:
    found = vault.credentials.current()
    if found is None:
        raise refuse(
            "instance_not_enrolled",
            "The vendor does not know this instance yet.",
            "Ask your vendor for an invitation and run `pushcert instance init` with its code.",
        )
    return found
