"""Faults on demand, as httpx (HTTP/2) meets them."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from lifecycle.lab.faults import Fault

ACME = "com.apple.mgmt.External.11111111-2222-4333-8444-555555555555"
HEADERS = {"apns-push-type": "mdm", "apns-topic": ACME}

Send = Callable[[], httpx.Response]


@pytest.fixture
def client(world: Any, identity: Callable[..., Path], ca_file: Path) -> Iterator[httpx.Client]:
    context = ssl.create_default_context(cafile=str(ca_file))
    context.load_cert_chain(identity(ACME))
    url = f"https://127.0.0.1:{world.gateway.port}"
    with httpx.Client(
        http1=False, http2=True, verify=context, base_url=url, trust_env=False, timeout=10
    ) as client:
        yield client


@pytest.fixture
def send(world: Any, client: httpx.Client) -> Send:
    token = world.gateway.register_device(ACME).hex()
    return lambda: client.post(f"/3/device/{token}", headers=HEADERS, content=b'{"mdm":"M"}')


@pytest.mark.parametrize(
    ("fault", "status", "reason"),
    [
        (Fault.TOO_MANY_REQUESTS, 429, "TooManyRequests"),
        (Fault.INTERNAL_SERVER_ERROR, 500, "InternalServerError"),
        (Fault.SERVICE_UNAVAILABLE, 503, "ServiceUnavailable"),
        (Fault.SHUTDOWN, 503, "Shutdown"),
    ],
)
def test_a_queued_answer_is_given_once(
    world: Any, send: Send, fault: Fault, status: int, reason: str
) -> None:
    world.gateway.faults.queue(fault)
    said = send()
    assert (said.status_code, said.json()) == (status, {"reason": reason})
    assert send().status_code == 200
    assert world.gateway.counts == {(ACME, status): 1, (ACME, 200): 1}


@pytest.mark.parametrize("fault", [Fault.GOAWAY, Fault.DROP])
def test_a_connection_that_breaks_leaves_the_push_unanswered_and_a_new_one_works(
    world: Any, send: Send, fault: Fault
) -> None:
    assert send().status_code == 200
    world.gateway.faults.queue(fault)
    with pytest.raises(httpx.TransportError):
        send()
    assert send().status_code == 200
    assert world.gateway.counts == {(ACME, 200): 2}


def test_a_stalled_push_is_never_answered_while_the_connection_serves_others(
    world: Any, client: httpx.Client, send: Send
) -> None:
    world.gateway.faults.queue(Fault.STALL)
    client.timeout = httpx.Timeout(10, read=0.2)
    with pytest.raises(httpx.ReadTimeout):
        send()
    client.timeout = httpx.Timeout(10)
    assert send().status_code == 200


def test_in_an_outage_nobody_connects_and_afterwards_everybody_does(world: Any, send: Send) -> None:
    world.gateway.faults.outage = True
    with pytest.raises(httpx.TransportError):
        send()
    world.gateway.faults.clear()
    assert send().status_code == 200


def test_a_slow_handshake_meets_the_clients_patience(
    world: Any, client: httpx.Client, send: Send
) -> None:
    world.gateway.faults.handshake_delay = 60
    client.timeout = httpx.Timeout(10, connect=0.2)
    with pytest.raises(httpx.TransportError):
        send()
    world.gateway.faults.handshake_delay = 0.01
    client.timeout = httpx.Timeout(10)
    assert send().status_code == 200


def test_a_share_of_pushes_fails_by_the_seed(world: Any, send: Send) -> None:
    world.gateway.faults.rate(Fault.INTERNAL_SERVER_ERROR, 1)
    assert [send().status_code for _ in range(3)] == [500] * 3
    world.gateway.faults.rate(Fault.INTERNAL_SERVER_ERROR, 0.5)
    assert {send().status_code for _ in range(40)} == {200, 500}
    world.gateway.faults.clear()
    assert [send().status_code for _ in range(3)] == [200] * 3


def test_stopping_says_goodbye_and_frees_the_port(world: Any, send: Send) -> None:
    assert send().status_code == 200
    world.gateway.stop()
    with pytest.raises(httpx.TransportError):
        send()
    world.gateway.start()
    assert send().status_code == 200
