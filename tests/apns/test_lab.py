"""Our client and our lab: every fault that the lab can have is survived."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest

from lifecycle.apns.client import RetryPolicy, send
from lifecycle.apns.gateway import Gateway
from lifecycle.apns.identity import ClientIdentity
from lifecycle.apns.push import Push
from lifecycle.lab.authority import Authority
from lifecycle.lab.faults import Fault
from lifecycle.lab.gateway import ApnsGateway

MakePush = Callable[..., Push]
TOPIC = "com.apple.mgmt.External.0f3a7f7e-6f5e-4d8a-9b1f-2c6a3e5d7b90"
HASTY = RetryPolicy(attempts=4, base=0.001, cap=0.002, timeout=2.0)


@pytest.mark.parametrize("fault", Fault)
def test_every_fault_of_the_lab_is_survived(
    lab: ApnsGateway,
    lab_gateway: Gateway,
    identity: ClientIdentity,
    make_push: MakePush,
    fault: Fault,
) -> None:
    token = lab.register_device(TOPIC)
    lab.faults.queue(fault)
    (answer,) = send(identity, lab_gateway, [make_push(token=token)], retry=HASTY)
    assert (answer.status, answer.attempts) == (200, 2)


def test_faults_in_the_middle_of_a_batch_lose_no_push(
    lab: ApnsGateway, lab_gateway: Gateway, identity: ClientIdentity, make_push: MakePush
) -> None:
    lab.faults.rate(Fault.SERVICE_UNAVAILABLE, 0.1)
    lab.faults.rate(Fault.TOO_MANY_REQUESTS, 0.05)
    lab.faults.rate(Fault.SHUTDOWN, 0.02)
    pushes = [make_push(token=lab.register_device(TOPIC)) for _ in range(150)]
    policy = RetryPolicy(attempts=10, base=0.001, cap=0.002, timeout=20.0)
    answers = send(identity, lab_gateway, pushes, retry=policy)
    assert [a.apns_id for a in answers] == [str(p.apns_id) for p in pushes]
    assert all(a.delivered for a in answers)
    assert any(a.attempts > 1 for a in answers)


def test_connections_that_break_in_the_middle_of_a_batch_are_replaced(
    lab: ApnsGateway, lab_gateway: Gateway, identity: ClientIdentity, make_push: MakePush
) -> None:
    pushes = [make_push(token=lab.register_device(TOPIC)) for _ in range(100)]
    lab.faults.rate(Fault.DROP, 0.01)
    lab.faults.rate(Fault.GOAWAY, 0.01)
    policy = RetryPolicy(attempts=10, base=0.001, cap=0.002, timeout=20.0)
    answers = send(identity, lab_gateway, pushes, retry=policy)
    assert all(a.delivered for a in answers)


def test_a_slow_handshake_is_waited_for_and_one_too_slow_is_not(
    lab: ApnsGateway, lab_gateway: Gateway, identity: ClientIdentity, make_push: MakePush
) -> None:
    push = make_push(token=lab.register_device(TOPIC))
    lab.faults.handshake_delay = 0.2
    assert send(identity, lab_gateway, [push], retry=HASTY)[0].delivered
    lab.faults.handshake_delay = 60
    policy = RetryPolicy(attempts=1, timeout=0.3)
    (answer,) = send(identity, lab_gateway, [push], retry=policy)
    assert answer.fault == "apns_unreachable"


def test_a_device_that_has_gone_is_dated_by_the_labs_clock(
    lab: ApnsGateway,
    lab_gateway: Gateway,
    authority: Authority,
    identity: ClientIdentity,
    make_push: MakePush,
) -> None:
    token = lab.register_device(TOPIC)
    lab.unregister(token)
    left = authority.clock.now()
    authority.clock.advance(timedelta(days=30))  # type: ignore[attr-defined]
    (answer,) = send(identity, lab_gateway, [make_push(token=token)], retry=HASTY)
    assert (answer.status, answer.reason) == (410, "Unregistered")
    assert answer.timestamp == left
