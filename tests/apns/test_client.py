"""Pushes to a foreign APNs (Node.js): what is sent, what an answer says, what is tried again."""

from __future__ import annotations

import asyncio
import json
import random
import socket
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from lifecycle.apns.client import ApnsClient, RetryPolicy, send
from lifecycle.apns.gateway import Gateway
from lifecycle.apns.identity import ClientIdentity
from lifecycle.apns.push import Answer, Push
from lifecycle.apns.transport import ApnsTransport
from lifecycle.errors import Refused

MakePush = Callable[..., Push]
HASTY = RetryPolicy(attempts=4, base=0.001, cap=0.002, timeout=20.0)
IMPATIENT = replace(HASTY, attempts=2, timeout=1.0)
EXTERNAL = "com.apple.mgmt.External."


def one(
    identity: ClientIdentity, gateway: Gateway, push: Push, retry: RetryPolicy = HASTY
) -> Answer:
    (answer,) = send(identity, gateway, [push], retry=retry)
    return answer


@pytest.fixture
def nobody() -> Gateway:
    """A gateway where nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return Gateway("127.0.0.1", probe.getsockname()[1])


def test_a_push_reaches_a_foreign_server(
    node_gateway: Gateway, identity: ClientIdentity, make_push: MakePush
) -> None:
    push = make_push()
    answer = one(identity, node_gateway, push)
    assert answer.delivered
    assert (answer.status, answer.reason, answer.fault, answer.detail) == (200, None, None, None)
    assert answer.apns_id == str(push.apns_id)
    assert answer.token_fingerprint == push.token.fingerprint
    assert answer.attempts == 1


def test_headers_and_body_are_those_of_an_mdm_push(
    node: Any, identity: ClientIdentity, make_push: MakePush
) -> None:
    until = datetime(2027, 1, 1, tzinfo=UTC)
    push = replace(make_push(EXTERNAL + "echo"), expires_at=until)
    assert one(identity, node.gateway, push).delivered
    told = node.told()
    assert told["headers"] == {
        ":method": "POST",
        ":scheme": "https",
        ":authority": f"127.0.0.1:{node.gateway.port}",
        ":path": f"/3/device/{push.token.hex}",
        "apns-topic": EXTERNAL + "echo",
        "apns-push-type": "mdm",
        "apns-priority": "10",
        "apns-expiration": str(int(until.timestamp())),
        "apns-id": str(push.apns_id),
        "content-length": str(len(push.payload())),
        "user-agent": "pushcert",
    }
    assert json.loads(told["body"]) == {"mdm": push.push_magic.text}


def test_without_an_expiry_apns_is_asked_to_try_once(make_push: MakePush) -> None:
    assert make_push().headers()["apns-expiration"] == "0"


@pytest.mark.parametrize(
    ("topic", "status", "reason", "attempts"),
    [
        ("gone", 410, "Unregistered", 1),
        ("wrong", 400, "BadDeviceToken", 1),
        ("forbidden", 403, "Forbidden", 1),
        ("path", 404, "BadPath", 1),
        ("large", 413, "PayloadTooLarge", 1),
        ("tomorrow", 418, "NotInventedYet", 1),
        ("html", 400, None, 1),
        ("list", 400, None, 1),
        ("deluge", 400, None, 1),
        ("somebody-elses", 400, "TopicDisallowed", 1),
        ("busy", 200, None, 3),
        ("failing", 500, "InternalServerError", 4),
        ("unavailable", 200, None, 2),
        ("shutdown", 200, None, 2),
        ("goaway", 200, None, 2),
        ("mumble", 200, None, 2),
        ("farewell", 200, None, 1),
        ("drop", 200, None, 2),
        ("reset", 200, None, 2),
    ],
)
def test_what_may_be_retried_is_and_nothing_else(
    node_gateway: Gateway,
    identity: ClientIdentity,
    make_push: MakePush,
    topic: str,
    status: int,
    reason: str | None,
    attempts: int,
) -> None:
    """The server counts by apns-id: that a retry succeeds shows that it kept its id."""
    answer = one(identity, node_gateway, make_push(EXTERNAL + topic))
    assert (answer.status, answer.reason, answer.attempts) == (status, reason, attempts)
    assert answer.fault is None


@pytest.mark.parametrize(
    ("topic", "fault", "detail", "attempts"),
    [
        ("goodbye", "connection_lost", "IdleTimeout", 4),
        ("disliked", "certificate_refused", "BadCertificate", 1),
        ("flaky", "connection_lost", None, 4),
    ],
)
def test_a_push_without_an_answer_has_a_fault_and_what_the_goaway_said(
    node_gateway: Gateway,
    identity: ClientIdentity,
    make_push: MakePush,
    topic: str,
    fault: str,
    detail: str | None,
    attempts: int,
) -> None:
    answer = one(identity, node_gateway, make_push(EXTERNAL + topic))
    assert (answer.fault, answer.detail, answer.attempts) == (fault, detail, attempts)
    assert answer.status is None
    assert not answer.delivered


def test_a_410_says_since_when_to_the_millisecond(
    node_gateway: Gateway, identity: ClientIdentity, make_push: MakePush
) -> None:
    answer = one(identity, node_gateway, make_push(EXTERNAL + "gone"))
    assert answer.timestamp == datetime(2027, 1, 1, 0, 0, 0, 123000, tzinfo=UTC)
    assert answer.timestamp.utcoffset() == timedelta(0)


def test_a_stalled_push_ends(
    node_gateway: Gateway, identity: ClientIdentity, make_push: MakePush
) -> None:
    answer = one(identity, node_gateway, make_push(EXTERNAL + "stall"), IMPATIENT)
    assert (answer.status, answer.fault, answer.attempts) == (None, "stalled", 2)


def test_a_stalled_push_takes_no_other_down_with_it(
    node_gateway: Gateway, identity: ClientIdentity, make_push: MakePush
) -> None:
    pushes = [make_push(), make_push(EXTERNAL + "stall"), *(make_push() for _ in range(20))]
    answers = send(identity, node_gateway, pushes, retry=IMPATIENT)
    assert [a.fault for a in answers if not a.delivered] == ["stalled"]
    assert answers[1].fault == "stalled"


def test_many_pushes_share_one_connection(
    node: Any, identity: ClientIdentity, make_push: MakePush
) -> None:
    pushes = [make_push(EXTERNAL + "count") for _ in range(120)]
    answers = send(identity, node.gateway, pushes, retry=HASTY)
    assert [a.apns_id for a in answers] == [str(p.apns_id) for p in pushes]
    assert all(a.delivered and a.attempts == 1 for a in answers)
    assert len({node.told()["sessions"] for _ in pushes}) == 1


def test_a_client_keeps_its_connection_between_pushes(
    node: Any, identity: ClientIdentity, make_push: MakePush
) -> None:
    async def three() -> None:
        async with ApnsClient(identity, node.gateway, retry=HASTY) as client:
            for _ in range(3):
                await client.push(make_push(EXTERNAL + "count"))

    asyncio.run(three())
    assert len({node.told()["sessions"] for _ in range(3)}) == 1


def test_a_connection_that_apns_closed_while_idle_is_replaced_at_the_first_attempt(
    node: Any, identity: ClientIdentity, make_push: MakePush
) -> None:
    async def two() -> Answer:
        async with ApnsClient(identity, node.gateway, retry=HASTY) as client:
            assert (await client.push(make_push(EXTERNAL + "idle"))).delivered
            assert (await asyncio.to_thread(node.told))["closed"]
            return await client.push(make_push())

    answer = asyncio.run(two())
    assert (answer.status, answer.attempts) == (200, 1)


def test_a_server_that_is_shutting_down_is_left_for_another(
    node: Any, identity: ClientIdentity, make_push: MakePush
) -> None:
    pushes = [make_push(EXTERNAL + "count"), make_push(EXTERNAL + "shutdown")]

    async def then_again() -> None:
        async with ApnsClient(identity, node.gateway, retry=HASTY) as client:
            for push in (*pushes, make_push(EXTERNAL + "count")):
                assert (await client.push(push)).delivered

    asyncio.run(then_again())
    assert node.told()["sessions"] + 1 == node.told()["sessions"]


def test_a_batch_does_not_reconnect_in_a_loop(
    node: Any, identity: ClientIdentity, make_push: MakePush
) -> None:
    """Of sixty pushes none is answered: four connections, and then all are given up. All may be
    on the first; on each of the others one goes ahead."""

    def sessions() -> int:
        assert one(identity, node.gateway, make_push(EXTERNAL + "count")).delivered
        return int(node.told()["sessions"])

    before = sessions()
    answers = send(
        identity, node.gateway, [make_push(EXTERNAL + "flaky") for _ in range(60)], retry=HASTY
    )
    assert {a.fault for a in answers} == {"connection_lost"}
    assert sessions() - before - 1 == HASTY.attempts
    assert sum(a.attempts for a in answers) <= 60 + HASTY.attempts - 1


def test_nobody_there_is_unreachable_and_all_pushes_together_ask_no_oftener_than_one(
    nobody: Gateway, identity: ClientIdentity, make_push: MakePush
) -> None:
    answers = send(identity, nobody, [make_push(), make_push(), make_push()], retry=HASTY)
    assert [a.fault for a in answers] == ["apns_unreachable"] * 3
    assert sum(a.attempts for a in answers) == HASTY.attempts


def test_a_name_that_does_not_resolve_is_unreachable(
    identity: ClientIdentity, make_push: MakePush
) -> None:
    answer = one(identity, Gateway("apns.invalid"), make_push(), replace(HASTY, attempts=1))
    assert answer.fault == "apns_unreachable"


def test_no_pushes_need_no_connection(nobody: Gateway, identity: ClientIdentity) -> None:
    assert send(identity, nobody, [], retry=HASTY) == []


def test_after_giving_up_a_client_starts_afresh(
    nobody: Gateway, identity: ClientIdentity, make_push: MakePush
) -> None:
    async def twice() -> list[int]:
        async with ApnsClient(identity, nobody, retry=HASTY) as client:
            return [(await client.push(make_push())).attempts for _ in range(2)]

    assert asyncio.run(twice()) == [HASTY.attempts, HASTY.attempts]


def test_waits_grow_with_jitter_and_stay_bounded() -> None:
    policy = RetryPolicy(attempts=9, base=0.5, cap=8)
    rng = random.Random(1)  # noqa: S311
    for attempt in (*range(2, 10), 5000):
        waits = [policy.wait(attempt, rng) for _ in range(200)]
        bound = min(8, 0.5 * 2 ** (min(attempt, 10) - 2))
        assert min(waits) >= 0
        assert bound / 2 < max(waits) <= bound
        assert len(set(waits)) > 100


class FakeTime:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slept: list[float] = []

    def monotonic(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


class Longest(random.Random):
    """No jitter: always the longest wait."""

    def uniform(self, a: float, b: float) -> float:
        return max(a, b)


@pytest.mark.parametrize("topic", ["failing", "flaky"])
def test_waits_double_between_answers_as_between_connections(
    node_gateway: Gateway, identity: ClientIdentity, make_push: MakePush, topic: str
) -> None:
    time = FakeTime()
    policy = RetryPolicy(attempts=6, base=1, cap=5, timeout=20)

    async def push() -> Answer:
        async with ApnsClient(
            identity,
            node_gateway,
            retry=policy,
            sleep=time.sleep,
            rng=Longest(),
            monotonic=time.monotonic,
        ) as client:
            return await client.push(make_push(EXTERNAL + topic))

    assert asyncio.run(push()).attempts == 6
    assert time.slept == [1, 2, 4, 5, 5]


@pytest.mark.parametrize("topic", ["failing", "flaky"])
def test_no_attempt_is_begun_after_the_deadline(
    node_gateway: Gateway, identity: ClientIdentity, make_push: MakePush, topic: str
) -> None:
    time = FakeTime()
    policy = RetryPolicy(attempts=9, base=1, cap=100, timeout=20, deadline=8)

    async def push() -> Answer:
        async with ApnsClient(
            identity,
            node_gateway,
            retry=policy,
            sleep=time.sleep,
            rng=Longest(),
            monotonic=time.monotonic,
        ) as client:
            return await client.push(make_push(EXTERNAL + topic))

    answer = asyncio.run(push())
    assert time.slept == [1, 2, 4]
    assert answer.attempts == 4
    assert answer.reason == "InternalServerError" or answer.fault == "connection_lost"


def test_a_client_that_is_not_open_says_so(identity: ClientIdentity, make_push: MakePush) -> None:
    client = ApnsClient(identity, Gateway())
    with pytest.raises(RuntimeError, match="not open"):
        asyncio.run(client.push(make_push()))


def test_roots_that_cannot_be_read_are_refused_with_a_remedy(
    identity: ClientIdentity, make_push: MakePush, tmp_path: Any
) -> None:
    (tmp_path / "empty.pem").write_text("nothing here")
    for name in ("missing.pem", "empty.pem"):
        with pytest.raises(Refused) as refused:
            send(identity, Gateway(ca_file=tmp_path / name), [make_push()])
        assert refused.value.codes == ("apns_ca_unreadable",)
        assert name in str(refused.value)


def test_httpx_is_the_interface(node: Any, identity: ClientIdentity, make_push: MakePush) -> None:
    """Any httpx client can push over the transport; what HTTP/2 forbids is left out."""
    push = make_push(EXTERNAL + "echo")

    async def post() -> httpx.Response:
        transport = ApnsTransport(node.gateway, identity)
        async with httpx.AsyncClient(transport=transport) as client:
            url = f"{node.gateway.base_url}/3/device/{push.token.hex}"
            with pytest.raises(httpx.TransportError):
                await client.post(f"https://elsewhere.invalid/3/device/{push.token.hex}")
            return await client.post(url, headers=push.headers(), content=push.payload())

    response = asyncio.run(post())
    assert response.status_code == 200
    assert response.http_version == "HTTP/2"
    assert response.headers["apns-id"] == str(push.apns_id)
    assert json.loads(node.told()["body"]) == {"mdm": push.push_magic.text}
