"""Device tokens, push magics and keys show nowhere: in no log, error, answer or ``repr``."""

from __future__ import annotations

import asyncio
import base64
import io
import logging
import threading
import traceback
from collections.abc import Callable
from dataclasses import replace

import httpx
import pytest

from lifecycle.apns.client import ApnsClient, RetryPolicy, send
from lifecycle.apns.faults import Stage, trouble_of
from lifecycle.apns.gateway import Gateway
from lifecycle.apns.identity import ClientIdentity
from lifecycle.apns.push import Answer, Push
from lifecycle.apns.quiet import TALKATIVE, discreet
from lifecycle.apns.transport import ApnsTransport

MakePush = Callable[..., Push]
HASTY = RetryPolicy(attempts=2, base=0.001, cap=0.002, timeout=20.0)
EXTERNAL = "com.apple.mgmt.External."
LIBRARIES = ("httpx", "httpcore", "hpack", "h2", "hyperframe", "asyncio", "anyio")


@pytest.fixture
def everything_logged(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """Every logger there is, at its most talkative."""
    caplog.set_level(logging.DEBUG)
    for name in [*LIBRARIES, *TALKATIVE, *logging.root.manager.loggerDict]:
        caplog.set_level(logging.DEBUG, logger=name)
    return caplog


def spellings(push: Push) -> list[str]:
    """A push's secrets, in each spelling that a log might have."""
    raw = push.token.raw
    return [
        push.token.hex,
        push.token.hex.upper(),
        base64.b64encode(raw).decode(),
        repr(raw)[2:-1],
        push.push_magic.text,
    ]


@pytest.mark.parametrize(
    "topic", ["", "wrong", "gone", "failing", "goaway", "flaky", "drop", "reset", "parrot", "html"]
)
def test_no_token_and_no_magic_shows_whatever_becomes_of_a_push(
    node_gateway: Gateway,
    identity: ClientIdentity,
    make_push: MakePush,
    everything_logged: pytest.LogCaptureFixture,
    topic: str,
) -> None:
    pushes = [make_push(), *([make_push(EXTERNAL + topic)] if topic else [])]
    answers = send(identity, node_gateway, pushes, retry=HASTY)
    shown = everything_logged.text + repr(answers) + repr(pushes) + repr(identity)
    assert not [s for push in pushes for s in spellings(push) if s in shown]
    # hpack logs whole header blocks, where the token is packed past recognition, not past reading.
    assert not {record.name for record in everything_logged.records} & set(TALKATIVE)
    assert "PRIVATE KEY" not in shown


def test_nor_where_nobody_answers(
    identity: ClientIdentity, make_push: MakePush, everything_logged: pytest.LogCaptureFixture
) -> None:
    push = make_push()
    answers = send(identity, Gateway("127.0.0.1", 1), [push], retry=HASTY)
    shown = everything_logged.text + repr(answers)
    assert not [s for s in spellings(push) if s in shown]


def test_nor_in_a_debugging_event_loop(
    node_gateway: Gateway,
    identity: ClientIdentity,
    make_push: MakePush,
    everything_logged: pytest.LogCaptureFixture,
) -> None:
    push = make_push()

    async def main() -> Answer:
        loop = asyncio.get_running_loop()
        loop.slow_callback_duration = 0  # report everything as slow
        async with ApnsClient(identity, node_gateway, retry=HASTY) as client:
            return await client.push(push)

    assert asyncio.run(main(), debug=True).delivered
    assert "asyncio" in {record.name for record in everything_logged.records}
    assert not [s for s in spellings(push) if s in everything_logged.text]


def test_the_libraries_would_have_told(
    node_gateway: Gateway,
    identity: ClientIdentity,
    make_push: MakePush,
    everything_logged: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without the filter hpack logs what it packs: the tests above can fail."""
    monkeypatch.setattr("lifecycle.apns.quiet._Discretion.filter", lambda *_: True)
    push = make_push()
    send(identity, node_gateway, [push], retry=HASTY)
    assert {record.name for record in everything_logged.records} >= {"hpack.hpack"}


def test_a_parroting_server_gets_nothing_into_an_answer(
    node_gateway: Gateway, identity: ClientIdentity, make_push: MakePush
) -> None:
    push = make_push(EXTERNAL + "parrot")
    (answer,) = send(identity, node_gateway, [push], retry=HASTY)
    assert answer == Answer(str(push.apns_id), push.token.fingerprint, status=400)


def test_an_unforeseen_exception_becomes_a_fault_and_its_text_is_not_repeated(
    node_gateway: Gateway,
    identity: ClientIdentity,
    make_push: MakePush,
    everything_logged: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def broken(self: ApnsTransport, fields: object, *_: object) -> None:
        raise LookupError(str(fields))

    monkeypatch.setattr(ApnsTransport, "exchange", broken)
    pushes = [make_push(), make_push()]
    answers = send(identity, node_gateway, pushes, retry=HASTY)
    assert [(a.fault, a.detail, a.attempts) for a in answers] == [
        ("client_defect", "LookupError", 1)
    ] * 2
    assert "an unforeseen LookupError at " in everything_logged.text
    shown = everything_logged.text + repr(answers)
    assert not [s for push in pushes for s in spellings(push) if s in shown]


def test_a_cancelled_push_leaves_no_token_in_its_traceback(
    node_gateway: Gateway, identity: ClientIdentity, make_push: MakePush
) -> None:
    push = make_push(EXTERNAL + "stall")

    async def main() -> None:
        async with ApnsClient(identity, node_gateway, retry=HASTY) as client, asyncio.timeout(0.3):
            await client.push(push)

    with pytest.raises(TimeoutError) as caught:
        asyncio.run(main())
    text = io.StringIO()
    traceback.print_exception(caught.value, file=text)
    assert not [s for s in spellings(push) if s in text.getvalue()]


def test_others_keep_their_logs(caplog: pytest.LogCaptureFixture) -> None:
    """Only what is logged within a push is dropped: not before, not after, not beside it."""
    logger = logging.getLogger("httpx")
    caplog.set_level(logging.DEBUG)

    async def beside() -> None:
        logger.info("beside")

    async def main() -> None:
        task = asyncio.create_task(beside())
        with discreet():
            logger.info("within")
            thread = threading.Thread(target=logger.info, args=("another thread",))
            thread.start()
            thread.join()
            await task
        logger.info("after")

    logger.info("before")
    asyncio.run(main())
    told = [record.getMessage() for record in caplog.records if record.name == "httpx"]
    assert told == ["before", "another thread", "beside", "after"]


def test_naming_a_fault_repeats_nothing_of_an_exception(make_push: MakePush) -> None:
    push = make_push()
    url = f"https://api.push.apple.com/3/device/{push.token.hex}"
    error = httpx.ReadError(url, request=httpx.Request("POST", url))
    for stage in Stage:
        assert push.token.hex not in repr(trouble_of(error, stage))


def test_a_proxys_password_does_not_show() -> None:
    gateway = replace(Gateway(), proxy="http://user:hunter2@proxy.example:3128")
    assert "hunter2" not in repr(gateway)
