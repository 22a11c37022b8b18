"""What aioapns, a client that was written for Apple's APNs, gets from the lab's."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from aioapns import APNs, NotificationRequest, PushType
from aioapns.common import NotificationResult
from aioapns.connection import APNsTLSClientProtocol

ACME = "com.apple.mgmt.External.11111111-2222-4333-8444-555555555555"
BIRCH = "com.apple.mgmt.External.99999999-8888-4777-8666-555555555555"
MAGIC = {"mdm": "0123-MAGIC"}

Push = Callable[..., NotificationResult]


@pytest.fixture
def push(world: Any, identity: Callable[..., Path], ca_file: Path) -> Push:
    """Sends one push with Acme's certificate."""

    class LabProtocol(APNsTLSClientProtocol):
        APNS_SERVER = "localhost"
        APNS_PORT = world.gateway.port

    certificate = identity(ACME)

    async def send(request: NotificationRequest) -> NotificationResult:
        context = ssl.create_default_context(cafile=str(ca_file))
        context.set_alpn_protocols(["h2"])
        client = APNs(client_cert=str(certificate), topic=ACME, ssl_context=context)
        client.pool.protocol_class = LabProtocol
        try:
            return await client.send_notification(request)
        finally:
            client.pool.close()

    def run(token: bytes | str, message: dict[str, str] = MAGIC, **more: Any) -> NotificationResult:
        text = token if isinstance(token, str) else token.hex()
        more.setdefault("push_type", PushType.MDM)
        return asyncio.run(send(NotificationRequest(text, message, **more)))

    return run


def test_a_push_to_the_own_topics_device_is_taken_and_its_id_echoed(world: Any, push: Push) -> None:
    apns_id = "6F9619FF-8B86-4011-B42D-00C04FC964FF"
    said = push(world.gateway.register_device(ACME), notification_id=apns_id, priority=10)
    assert (said.status, said.notification_id) == ("200", apns_id)
    assert world.gateway.counts == {(ACME, 200): 1}


def test_a_device_of_another_topic_is_device_token_not_for_topic(world: Any, push: Push) -> None:
    said = push(world.gateway.register_device(BIRCH))
    assert (said.status, said.description) == ("400", "DeviceTokenNotForTopic")


def test_another_topic_than_the_certificates_is_topic_disallowed(world: Any, push: Push) -> None:
    said = push(world.gateway.register_device(BIRCH), apns_topic=BIRCH)
    assert (said.status, said.description) == ("400", "TopicDisallowed")


def test_a_staged_breach_lets_a_foreign_token_through_until_it_is_taken_back(
    world: Any, push: Push
) -> None:
    token = world.gateway.register_device(BIRCH)
    world.gateway.register(token, ACME)
    assert push(token).status == "200"
    world.gateway.deregister(token, ACME)
    assert push(token).description == "DeviceTokenNotForTopic"


def test_a_device_that_left_is_410_with_the_labs_instant_in_milliseconds(
    world: Any, push: Push
) -> None:
    token = world.gateway.register_device(ACME)
    world.clock.advance(timedelta(days=3))
    gone = world.clock.now()
    world.gateway.unregister(token)
    world.clock.advance(timedelta(days=1))
    said = push(token)
    assert (said.status, said.description) == ("410", "Unregistered")
    assert said.timestamp == int(gone.timestamp()) * 1000


def test_one_that_enrols_again_is_reached_again(world: Any, push: Push) -> None:
    token = world.gateway.register_device(ACME)
    world.gateway.unregister(token)
    world.gateway.register(token, ACME)
    assert push(token).status == "200"


def test_a_payload_of_4096_bytes_is_taken_and_one_more_is_too_large(world: Any, push: Push) -> None:
    token = world.gateway.register_device(ACME)
    around = len('{"mdm": ""}')
    assert push(token, {"mdm": "x" * (4096 - around)}).status == "200"
    said = push(token, {"mdm": "x" * (4097 - around)})
    assert (said.status, said.description) == ("413", "PayloadTooLarge")


@pytest.mark.parametrize("token", ["zz" * 32, "ab" * 3, "abc", "ab" * 32])
def test_a_token_that_is_malformed_or_unknown_is_bad(push: Push, token: str) -> None:
    said = push(token)
    assert (said.status, said.description) == ("400", "BadDeviceToken")


def test_another_push_type_than_mdm_is_invalid(world: Any, push: Push) -> None:
    said = push(world.gateway.register_device(ACME), push_type=PushType.ALERT)
    assert (said.status, said.description) == ("400", "InvalidPushType")


def test_tokens_come_from_the_seed_have_32_bytes_and_are_in_no_log(
    world: Any, push: Push, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    logging.getLogger("hpack").setLevel(logging.INFO)  # the client's own library tells all
    token = world.gateway.register_device(ACME)
    assert len(token) == 32
    push(token)
    push(world.gateway.register_device(BIRCH))
    ours = [r.getMessage() for r in caplog.records if r.threadName == "lab-apns"]
    assert not any(token.hex() in line for line in ours)
    assert token.hex() not in repr((world.gateway.counts, world.gateway, world.gateway.devices))
