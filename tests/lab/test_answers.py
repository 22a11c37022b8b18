"""Every reason that the gateway can give, and which comes first when several apply."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lifecycle.lab.answers import PushAnswer, PushRequest, answer
from lifecycle.lab.devices import DeviceRegistry

ACME = "com.apple.mgmt.External.11111111-2222-4333-8444-555555555555"
BIRCH = "com.apple.mgmt.External.99999999-8888-4777-8666-555555555555"
GONE = datetime(2041, 3, 1, 9, 0, 0, 250_000, tzinfo=UTC)

DEVICES = DeviceRegistry(random.Random(1))  # noqa: S311
TOKEN = DEVICES.new(ACME)
FOREIGN = DEVICES.new(BIRCH)
DEPARTED = DEVICES.new(ACME)
DEVICES.unregister(DEPARTED, GONE)

Change = Callable[[dict[str, str]], None]


def ask(body: bytes = b'{"mdm":"M"}', /, *doubled: tuple[str, str], **headers: str | None) -> str:
    """The answer to a sound push with some headers changed (``_`` for ``-``; None drops one)."""
    sent: dict[str, str | None] = {
        ":method": "POST",
        ":path": f"/3/device/{TOKEN.hex()}",
        "apns-push-type": "mdm",
        "apns-topic": ACME,
        "apns-priority": "10",
    }
    for name, value in headers.items():
        key = f":{name}" if name in ("method", "path") else f"apns-{name.replace('_', '-')}"
        sent[key] = value
    lines = [(name, value) for name, value in sent.items() if value is not None]
    said = answer(PushRequest([*lines, *doubled], body), ACME, DEVICES)
    return f"{said.status} {said.reason or ''}".strip()


def test_a_sound_push_is_taken_and_so_is_one_that_leaves_the_topic_to_the_certificate() -> None:
    assert ask() == "200"
    assert ask(topic=None) == "200"
    assert ask(path=f"/3/device/{TOKEN.hex().upper()}") == "200"


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (ask(method="GET"), "405 MethodNotAllowed"),
        (ask(path="/3/devices/ab"), "404 BadPath"),
        (ask(path="/"), "404 BadPath"),
        (ask(path=None), "404 BadPath"),
        (ask(path="/3/device/"), "400 MissingDeviceToken"),
        (ask(b"{}", ("apns-topic", ACME)), "400 DuplicateHeaders"),
        (ask(push_type="alert"), "400 InvalidPushType"),
        (ask(push_type=None), "400 InvalidPushType"),
        (ask(id="no uuid"), "400 BadMessageId"),
        (ask(priority="11"), "400 BadPriority"),
        (ask(expiration="tomorrow"), "400 BadExpirationDate"),
        (ask(expiration="-1"), "400 BadExpirationDate"),
        (ask(collapse_id="c" * 65), "400 BadCollapseId"),
        (ask(topic="no topic!"), "400 BadTopic"),
        (ask(topic=BIRCH), "400 TopicDisallowed"),
        (ask(b""), "400 PayloadEmpty"),
        (ask(b"x" * 4097), "413 PayloadTooLarge"),
        (ask(path="/3/device/xyz"), "400 BadDeviceToken"),
        (ask(path=f"/3/device/{'ab' * 32}"), "400 BadDeviceToken"),
        (ask(path=f"/3/device/{FOREIGN.hex()}"), "400 DeviceTokenNotForTopic"),
        (ask(path=f"/3/device/{DEPARTED.hex()}"), "410 Unregistered"),
    ],
)
def test_each_fault_has_its_own_reason(said: str, reason: str) -> None:
    assert said == reason


def test_of_several_faults_the_first_in_order_is_told() -> None:
    foreign = f"/3/device/{FOREIGN.hex()}"
    assert ask(b"", path=foreign, topic=BIRCH, push_type="alert", method="PUT").startswith("405")
    assert ask(b"", path=foreign, topic=BIRCH, push_type="alert") == "400 InvalidPushType"
    assert ask(b"", path=foreign, topic=BIRCH) == "400 TopicDisallowed"
    assert ask(b"", path=foreign) == "400 PayloadEmpty"


def test_a_410_says_since_when_in_milliseconds_and_a_200_says_nothing() -> None:
    request = PushRequest(
        [(":method", "POST"), (":path", f"/3/device/{DEPARTED.hex()}"), ("apns-push-type", "mdm")],
        b"{}",
    )
    assert (
        answer(request, ACME, DEVICES).timestamp == 2_245_741_200_250
    )  # date -d 2041-03-01T09Z +%s
    assert PushAnswer(200).body() == b""


@given(
    path=st.text(max_size=80),
    headers=st.lists(st.tuples(st.text(max_size=20), st.text(max_size=40)), max_size=8),
    body=st.binary(max_size=64),
)
def test_no_request_is_left_without_an_answer_and_no_guess_is_taken(
    path: str, headers: list[tuple[str, str]], body: bytes
) -> None:
    lines = [(":method", "POST"), (":path", f"/3/device/{path}"), ("apns-push-type", "mdm")]
    said = answer(PushRequest([*lines, *headers], body), ACME, DEVICES)
    assert said.status != 200
    assert said.reason is not None
