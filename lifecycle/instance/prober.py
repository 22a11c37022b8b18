"""Isolation checks of many instances from one process: the instances' side of a sweep.

What leaves it is ``Evidence``: fingerprints and answers, no key and no token.
"""

from __future__ import annotations

import asyncio
import random
import secrets
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from lifecycle.apns.gateway import Gateway
from lifecycle.apns.identity import ClientIdentity
from lifecycle.apns.pace import Pace
from lifecycle.apns.probes import OtherTenant, probe, probe_pushes
from lifecycle.apns.retry import RetryPolicy
from lifecycle.clock import Clock
from lifecycle.errors import PushcertError, Refused
from lifecycle.instance.probe_kit import LeaveToVault, ProbeKit, read_kit
from lifecycle.instance.vaults import Vaults
from lifecycle.wire.messages import Evidence, Probe

if TYPE_CHECKING:
    from lifecycle.instance.canaries import CanarySource

CANARY_KEPT = 60.0
"""Seconds after which the canary tenant is read again: it renews, and devices come and go."""
_NO_FINGERPRINT = "0" * 64


class Prober:
    """Makes isolation checks, many at a time.

    Args:
        vaults: where they are.
        gateway, retry, pace: as for ``ApnsClient``.
        clock: dates the answers.
        rng: makes unknown tokens and foreign push magics.
        monotonic: seconds, for what is kept for a while.
    """

    def __init__(
        self,
        vaults: Vaults,
        gateway: Gateway,
        retry: RetryPolicy,
        pace: Pace,
        clock: Clock,
        rng: random.Random | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._vaults = vaults
        self._gateway = gateway
        self._retry = retry
        self._pace = pace
        self._clock = clock
        self._rng = rng or secrets.SystemRandom()
        self._monotonic = monotonic
        self._canary: tuple[float, str, OtherTenant] | None = None

    async def check(self, slug: str, check_id: int) -> Evidence:
        """Probes with the customer's active certificate. What goes wrong is the ``fault``."""
        evidence = await self._quickly(slug, check_id)
        if evidence is None:
            return await asyncio.to_thread(self._thoroughly, slug, check_id)
        return evidence

    async def _quickly(self, slug: str, check_id: int) -> Evidence | None:
        """None where it takes more than reading a vault and probing once."""
        try:
            kit = read_kit(self._vaults.directory / slug, self._vaults.passphrase)
            other = self._other_tenant(slug)
        except LeaveToVault:
            return None
        if other.topic == kit.topic:
            return None
        evidence = await self._probe(kit, other, check_id)
        own = next(a for a in evidence.answers if a.probe is Probe.OWN)
        # A canary that is gone must be noted, and the next one tried.
        gone = own.status == 410 or own.reason == "BadDeviceToken"
        return None if gone else evidence

    async def _probe(self, kit: ProbeKit, other: OtherTenant, check_id: int) -> Evidence:
        answers = await probe(
            ClientIdentity(kit.certificate, kit.key),
            self._gateway,
            probe_pushes(kit.topic, kit.token, kit.push_magic, other, self._rng),
            self._clock.now,
            retry=self._retry,
            pace=self._pace,
        )
        return Evidence(
            check_id=check_id,
            fingerprint=kit.fingerprint,
            answers=answers,
            token_fingerprints=kit.token_fingerprints,
        )

    def _other_tenant(self, slug: str) -> OtherTenant:
        chosen = next((c for c in self._vaults.canaries or () if c != slug), None)
        if chosen is None:
            raise LeaveToVault
        now = self._monotonic()
        if self._canary is None or self._canary[1] != chosen or now - self._canary[0] > CANARY_KEPT:
            kit = read_kit(self._vaults.directory / chosen, self._vaults.passphrase)
            self._canary = (now, chosen, OtherTenant(kit.topic, kit.token))
        return self._canary[2]

    def _thoroughly(self, slug: str, check_id: int) -> Evidence:
        """As the agent does it, with every sentence that a vault has for its troubles."""
        from lifecycle.instance.apns_pushes import ApnsPushes
        from lifecycle.instance.probing import gather
        from lifecycle.instance.vault import Vault

        directory = self._vaults.directory / slug
        try:
            with Vault.open(directory, self._vaults.passphrase) as vault:
                pushes = ApnsPushes(self._gateway, self._clock, self._retry)
                return gather(vault, check_id, pushes, self._source(slug))
        except PushcertError as error:
            fault = error.codes[0] if isinstance(error, Refused) else error.code
            return Evidence(check_id=check_id, fingerprint=_NO_FINGERPRINT, fault=fault)

    def _source(self, slug: str) -> CanarySource:
        from lifecycle.instance.canaries import NoCanary, RingCanaries, VaultCanaries
        from lifecycle.instance.vault import Vault

        root = self._vaults.directory

        def opened(directory: Path) -> Vault:
            return Vault.open(directory, self._vaults.passphrase)

        if self._vaults.canaries is None:
            vaults = (path for path in root.iterdir() if Vault.exists(path))
            return RingCanaries(vaults, root / slug, opened)
        chosen = next((c for c in self._vaults.canaries if c != slug), None)
        return NoCanary() if chosen is None else VaultCanaries(root / chosen, opened)
