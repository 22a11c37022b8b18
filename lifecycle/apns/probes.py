"""The four test pushes that show what a push certificate can reach, and what it cannot.

The foreign and unknown ones carry a random push magic: should one get through, it wakes no
device. What each must answer is for the vendor's plane to judge.
"""

from __future__ import annotations

import asyncio
import random
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

from lifecycle.apns.client import ApnsClient, RetryPolicy, Sleep
from lifecycle.apns.gateway import Gateway
from lifecycle.apns.identity import ClientIdentity
from lifecycle.apns.pace import Pace
from lifecycle.apns.push import Answer, Push
from lifecycle.apns.token import DeviceToken, PushMagic
from lifecycle.errors import InternalFault
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

    Raises:
        InternalFault: the other tenant has the customer's own topic; a push that rightly gets
            through would look like a breach.
    """
    if other.topic == topic:
        raise InternalFault("The other tenant of an isolation check is the customer itself.")
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


async def probe(
    identity: ClientIdentity,
    gateway: Gateway,
    pushes: Mapping[Probe, Push],
    now: Callable[[], datetime],
    *,
    retry: RetryPolicy | None = None,
    pace: Pace | None = None,
    sleep: Sleep = asyncio.sleep,
    rng: random.Random | None = None,
) -> tuple[ProbeAnswer, ...]:
    """Makes the probes on one connection, all in flight together; one answer for each, in order.

    Args:
        identity, gateway: whose certificate, and where to.
        pushes: as ``probe_pushes`` made them.
        now: dates the answers, once all have come.
        retry, pace, sleep, rng: as for ``ApnsClient``.

    Raises:
        Refused: ``apns_ca_unreadable``.
    """
    async with ApnsClient(
        identity, gateway, retry=retry, pace=pace, sleep=sleep, rng=rng
    ) as client:
        answers = await client.push_all(list(pushes.values()))
    at = now()
    return tuple(
        as_probe_answer(probe, push, answer, at)
        for (probe, push), answer in zip(pushes.items(), answers, strict=True)
    )


def run_probes(
    identity: ClientIdentity,
    gateway: Gateway,
    pushes: Mapping[Probe, Push],
    now: Callable[[], datetime],
    *,
    retry: RetryPolicy | None = None,
    sleep: Sleep = asyncio.sleep,
    rng: random.Random | None = None,
) -> tuple[ProbeAnswer, ...]:
    """``probe``, from code that is not asynchronous and where no event loop runs."""
    return asyncio.run(probe(identity, gateway, pushes, now, retry=retry, sleep=sleep, rng=rng))


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
