"""Pushes through APNs: the ``Pushes`` of a real instance."""

from __future__ import annotations

import random
import secrets
import uuid
from collections.abc import Sequence
from datetime import timedelta

from lifecycle.apns.client import RetryPolicy, send
from lifecycle.apns.gateway import Gateway
from lifecycle.apns.identity import ClientIdentity
from lifecycle.apns.probes import OtherTenant, probe_pushes, run_probes
from lifecycle.apns.push import Push
from lifecycle.clock import Clock
from lifecycle.instance.devices import Device
from lifecycle.instance.pushes import Credential, DeviceAnswer
from lifecycle.wire.messages import ProbeAnswer

KEPT_FOR = timedelta(days=1)
"""How long APNs keeps a wake-up for a device that is offline."""


class ApnsPushes:
    """See ``Pushes``.

    Args:
        gateway: APNs.
        clock: dates the answers.
        retry: how often a push is tried.
        rng: makes the unknown token and the foreign push magics.
    """

    def __init__(
        self,
        gateway: Gateway,
        clock: Clock,
        retry: RetryPolicy | None = None,
        rng: random.Random | None = None,
    ) -> None:
        self._gateway = gateway
        self._clock = clock
        self._retry = retry
        self._rng = rng or secrets.SystemRandom()

    def push(self, credential: Credential, devices: Sequence[Device]) -> tuple[DeviceAnswer, ...]:
        """See ``Pushes.push``."""
        now = self._clock.now()
        pushes = [
            Push(d.token, d.topic, d.push_magic, uuid.uuid4(), now + KEPT_FOR) for d in devices
        ]
        answers = send(_identity(credential), self._gateway, pushes, retry=self._retry)
        return tuple(
            DeviceAnswer(
                udid=device.udid,
                topic=device.topic,
                token_fingerprint=answer.token_fingerprint,
                status=answer.status,
                reason=answer.reason,
                fault=answer.fault,
                apns_id=answer.apns_id,
                at=self._clock.now(),
                gone_since=answer.timestamp,
            )
            for device, answer in zip(devices, answers, strict=True)
        )

    def probe(
        self, credential: Credential, own: Device, other: OtherTenant
    ) -> tuple[ProbeAnswer, ...]:
        """See ``Pushes.probe``."""
        pushes = probe_pushes(own.topic, own.token, own.push_magic, other, self._rng)
        return run_probes(
            _identity(credential), self._gateway, pushes, self._clock.now, retry=self._retry
        )


def _identity(credential: Credential) -> ClientIdentity:
    return ClientIdentity(credential.certificate.certificate, credential.key)
