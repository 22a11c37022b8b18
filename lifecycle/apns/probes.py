"""The four test pushes that show what a push certificate can reach, and what it cannot.

The foreign and unknown ones carry a random push magic: should one get through, it wakes no
device. What each must answer is for the vendor's plane to judge.
"""

from __future__ import annotations

import random
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from lifecycle.apns.client import RetryPolicy, send
from lifecycle.apns.gateway import Gateway
from lifecycle.apns.identity import ClientIdentity
from lifecycle.apns.push import Answer, Push
from lifecycle.apns.token import DeviceToken, PushMagic
from lifecycle.pki.topic import Topic
from lifecycle.wire.messages import Probe, ProbeAnswer


@dataclass(frozen=True, slots=True)
class OtherTenant:
    """A topic and a device token that must be out of reach."""

    topic: Topic
    token: DeviceToken


def probe_pushes(
    topic: Topic,
    token: DeviceToken,
    push_magic: PushMagic,
    other: OtherTenant,
    rng: random.Random,
) -> dict[Probe, Push]:
    """The pushes of one isolation check, the own one first.

    Args:
        topic, token, push_magic: of the customer's own canary.
        other: the other tenant.
        rng: makes the unknown token, the push magics and the ids.
    """
    unknown = DeviceToken.from_bytes(rng.randbytes(32))
    addressed = {
        Probe.OWN: (token, topic, push_magic),
        Probe.FOREIGN_TOKEN: (other.token, topic, PushMagic.random(rng)),
        Probe.FOREIGN_TOPIC: (other.token, other.topic, PushMagic.random(rng)),
        Probe.UNKNOWN_TOKEN: (unknown, topic, PushMagic.random(rng)),
    }
    return {
        probe: Push(to, under, magic, uuid.UUID(int=rng.getrandbits(128), version=4))
        for probe, (to, under, magic) in addressed.items()
    }


def run_probes(
    identity: ClientIdentity,
    gateway: Gateway,
    pushes: dict[Probe, Push],
    now: Callable[[], datetime],
    *,
    retry: RetryPolicy | None = None,
) -> tuple[ProbeAnswer, ...]:
    """Makes the probes on one connection; one answer for each, in order."""
    answers = send(identity, gateway, list(pushes.values()), retry=retry)
    return tuple(
        as_probe_answer(probe, push, answer, now())
        for (probe, push), answer in zip(pushes.items(), answers, strict=True)
    )


def as_probe_answer(probe: Probe, push: Push, answer: Answer, at: datetime) -> ProbeAnswer:
    """An answer as evidence: no token in it."""
    return ProbeAnswer(
        probe=probe,
        topic=push.topic,
        token_fingerprint=answer.token_fingerprint,
        status=answer.status,
        reason=answer.reason,
        fault=answer.fault,
        apns_id=answer.apns_id,
        at=at,
    )
