"""The four probes of an isolation check, against the lab's gateway."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest

from lifecycle.apns.client import RetryPolicy
from lifecycle.apns.gateway import Gateway
from lifecycle.apns.identity import ClientIdentity
from lifecycle.apns.probes import OtherTenant, probe_pushes, run_probes
from lifecycle.apns.push import Push
from lifecycle.apns.token import DeviceToken, PushMagic
from lifecycle.errors import InternalFault
from lifecycle.lab.faults import Fault
from lifecycle.lab.gateway import ApnsGateway
from lifecycle.pki.topic import Topic
from lifecycle.wire.messages import Evidence, Probe, ProbeAnswer

TOPIC = Topic("com.apple.mgmt.External.0f3a7f7e-6f5e-4d8a-9b1f-2c6a3e5d7b90")
OTHER = Topic("com.apple.mgmt.External.99999999-8888-4777-8666-555555555555")
HASTY = RetryPolicy(attempts=2, base=0.001, cap=0.002, timeout=20.0)
START = datetime(2026, 11, 1, tzinfo=UTC)


@dataclass
class Check:
    """A customer's canary, another tenant's, and the probes between them."""

    own: DeviceToken
    magic: PushMagic
    other: OtherTenant
    pushes: dict[Probe, Push]


@pytest.fixture
def check(lab: ApnsGateway) -> Check:
    own = DeviceToken.from_bytes(lab.register_device(TOPIC))
    other = OtherTenant(OTHER, DeviceToken.from_bytes(lab.register_device(OTHER)))
    magic = PushMagic("own magic")
    pushes = probe_pushes(TOPIC, own, magic, other, random.Random(1))  # noqa: S311
    return Check(own, magic, other, pushes)


@pytest.fixture
def run(
    identity: ClientIdentity, lab_gateway: Gateway
) -> Callable[[dict[Probe, Push]], tuple[ProbeAnswer, ...]]:
    def probe(pushes: dict[Probe, Push]) -> tuple[ProbeAnswer, ...]:
        ticks = iter(START + timedelta(seconds=n) for n in range(10))
        return run_probes(identity, lab_gateway, pushes, lambda: next(ticks), retry=HASTY)

    return probe


Run = Callable[[dict[Probe, Push]], tuple[ProbeAnswer, ...]]


def said(answers: tuple[ProbeAnswer, ...]) -> list[tuple[str, int | None, str | None]]:
    return [(a.probe, a.status, a.reason) for a in answers]


def test_the_four_probes_address_what_the_isolation_check_says(check: Check) -> None:
    pushes = check.pushes
    assert list(pushes) == [
        Probe.OWN,
        Probe.FOREIGN_TOKEN,
        Probe.FOREIGN_TOPIC,
        Probe.UNKNOWN_TOKEN,
    ]
    assert [p.topic for p in pushes.values()] == [TOPIC, TOPIC, OTHER, TOPIC]
    tokens = [p.token for p in pushes.values()]
    assert tokens[:3] == [check.own, check.other.token, check.other.token]
    assert tokens[3] not in tokens[:3]
    assert len(tokens[3].raw) == 32
    assert len({p.apns_id for p in pushes.values()}) == 4


def test_only_the_own_probe_wakes_a_device(check: Check) -> None:
    magics = [p.push_magic for p in check.pushes.values()]
    assert magics[0] == check.magic
    assert len(set(magics)) == 4


def test_other_randomness_makes_another_unknown_token_and_the_same_the_same(check: Check) -> None:
    def unknown(seed: int) -> DeviceToken:
        rng = random.Random(seed)  # noqa: S311
        pushes = probe_pushes(TOPIC, check.own, check.magic, check.other, rng)
        return pushes[Probe.UNKNOWN_TOKEN].token

    assert unknown(1) == check.pushes[Probe.UNKNOWN_TOKEN].token
    assert unknown(2) != unknown(1)


def test_a_customer_cannot_be_the_other_tenant_of_its_own_check(check: Check) -> None:
    self = OtherTenant(TOPIC, check.other.token)
    with pytest.raises(InternalFault):
        probe_pushes(TOPIC, check.own, check.magic, self, random.Random(1))  # noqa: S311


def test_an_isolated_customer_gets_the_answers_of_the_table(check: Check, run: Run) -> None:
    assert said(run(check.pushes)) == [
        ("own", 200, None),
        ("foreign_token", 400, "DeviceTokenNotForTopic"),
        ("foreign_topic", 400, "TopicDisallowed"),
        ("unknown_token", 400, "BadDeviceToken"),
    ]


def test_a_breach_shows(check: Check, run: Run, lab: ApnsGateway) -> None:
    lab.register(check.other.token.raw, TOPIC)
    assert said(run(check.pushes))[1] == ("foreign_token", 200, None)


def test_the_answers_are_dated_when_all_have_come_and_name_their_pushes(
    check: Check, run: Run
) -> None:
    answers = run(check.pushes)
    assert [a.at for a in answers] == [START] * 4
    assert [a.apns_id for a in answers] == [str(p.apns_id) for p in check.pushes.values()]


def test_evidence_has_room_for_fingerprints_only(check: Check, run: Run) -> None:
    evidence = Evidence(check_id=1, fingerprint="0" * 64, answers=run(check.pushes))
    travelling = evidence.model_dump_json()
    for push in check.pushes.values():
        assert push.token.fingerprint in travelling
        assert push.token.hex not in travelling
        assert push.push_magic.text not in travelling


def test_probes_that_get_no_answer_have_a_fault(check: Check, run: Run, lab: ApnsGateway) -> None:
    lab.faults.outage = True
    answers = run(check.pushes)
    assert [(a.status, a.fault) for a in answers] == [(None, "apns_unreachable")] * 4
    lab.faults.outage = False
    lab.faults.rate(Fault.DROP, 1.0)
    answers = run(check.pushes)
    assert [(a.status, a.fault) for a in answers] == [(None, "connection_lost")] * 4
    assert sum(lab.counts.values()) == 0


def test_a_passing_fault_does_not_spoil_a_check(check: Check, run: Run, lab: ApnsGateway) -> None:
    lab.faults.queue(Fault.SERVICE_UNAVAILABLE, Fault.GOAWAY)
    assert [a.status for a in run(check.pushes)] == [200, 400, 400, 400]


def test_a_refused_certificate_is_the_fault_of_all_four(
    check: Check, stranger: ClientIdentity, lab_gateway: Gateway
) -> None:
    answers = run_probes(stranger, lab_gateway, check.pushes, lambda: START, retry=HASTY)
    assert [(a.status, a.fault) for a in answers] == [(None, "certificate_refused")] * 4
