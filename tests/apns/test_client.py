"""The client against a foreign server (Node.js), and against the lab's faults."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import random
import socket
import ssl
import subprocess
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from lifecycle.apns.client import ApnsClient, RetryPolicy, send
from lifecycle.apns.gateway import Gateway
from lifecycle.apns.identity import ClientIdentity, client_context, load_identity
from lifecycle.apns.push import MAX_PAYLOAD, Answer, Push
from lifecycle.lab.authority import Authority
from lifecycle.lab.faults import Fault

MakePush = Callable[..., Push]
HASTY = RetryPolicy(attempts=4, base=0.001, cap=0.002, timeout=1.0)
EXTERNAL = "com.apple.mgmt.External."
TOPIC = EXTERNAL + "0f3a7f7e-6f5e-4d8a-9b1f-2c6a3e5d7b90"


def one(identity: ClientIdentity, gateway: Gateway, push: Push) -> Answer:
    (answer,) = send(identity, gateway, [push], retry=HASTY)
    return answer


def test_a_push_reaches_a_foreign_server(
    node: Gateway, identity: ClientIdentity, make_push: MakePush
) -> None:
    push = make_push()
    answer = one(identity, node, push)
    assert answer.delivered
    assert answer.apns_id == str(push.apns_id)
    assert answer.token_fingerprint == push.token.fingerprint


def test_headers_and_body_are_those_of_an_mdm_push(
    node: Gateway, identity: ClientIdentity, make_push: MakePush
) -> None:
    push = make_push(EXTERNAL + "echo")

    async def raw() -> str:
        async with ApnsClient(identity, node, retry=HASTY) as client:
            return str((await client.push(push)).reason)

    told = asyncio.run(raw())
    assert '"method":"POST"' in told
    assert '"type":"mdm"' in told
    assert json.loads(push.payload()) == {"mdm": push.push_magic.text}
    assert len(push.payload()) <= MAX_PAYLOAD
    assert push.headers()["apns-priority"] == "10"
    assert push.headers()["apns-expiration"] == "0"


@pytest.mark.parametrize(
    ("topic", "status", "reason", "attempts"),
    [
        ("gone", 410, "Unregistered", 1),
        ("busy", 200, None, 3),
        ("broken", 500, "InternalServerError", 4),
        ("wrong", 400, "BadDeviceToken", 1),
        ("goaway", 200, None, 2),
        ("drop", 200, None, 2),
        ("garbage", 400, None, 1),
    ],
)
def test_what_may_be_retried_is_and_nothing_else(
    node: Gateway,
    identity: ClientIdentity,
    make_push: MakePush,
    topic: str,
    status: int,
    reason: str | None,
    attempts: int,
) -> None:
    answer = one(identity, node, make_push(EXTERNAL + topic))
    assert (answer.status, answer.reason, answer.attempts) == (status, reason, attempts)
    assert answer.fault is None


def test_a_410_says_since_when(
    node: Gateway, identity: ClientIdentity, make_push: MakePush
) -> None:
    answer = one(identity, node, make_push(EXTERNAL + "gone"))
    assert answer.timestamp == datetime(2027, 1, 1, 0, 0, 0, 123000, tzinfo=UTC)


def test_a_stalled_push_ends(node: Gateway, identity: ClientIdentity, make_push: MakePush) -> None:
    retry = replace(HASTY, attempts=2, timeout=0.2)
    (answer,) = send(identity, node, [make_push(EXTERNAL + "stall")], retry=retry)
    assert (answer.status, answer.fault, answer.attempts) == (None, "stalled", 2)


def test_many_pushes_share_one_connection(
    node: Gateway, identity: ClientIdentity, make_push: MakePush
) -> None:
    pushes = [make_push() for _ in range(50)]
    answers = send(identity, node, pushes, retry=HASTY)
    assert [a.apns_id for a in answers] == [str(p.apns_id) for p in pushes]
    assert all(a.delivered for a in answers)


def test_a_certificate_that_a_foreign_server_cuts_off_gets_no_answer(
    node: Gateway, stranger: ClientIdentity, make_push: MakePush
) -> None:
    """Node closes the connection without an alert, so all that can be known is that it broke."""
    answer = one(stranger, node, make_push())
    assert answer.status is None
    assert answer.fault in ("certificate_refused", "connection_lost")


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_a_refused_certificate_is_told_apart_from_a_network_fault(
    authority: Authority,
    stranger: ClientIdentity,
    make_push: MakePush,
    tmp_path: Path,
    version: str,
) -> None:
    """With TLS 1.3 the alert comes on the first read, after the handshake seemed done."""
    certificate, key = authority.server_credential()
    (tmp_path / "ca.pem").write_text(authority.trust_pem())
    (tmp_path / "server.pem").write_bytes(certificate + key)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = subprocess.Popen(
        [
            "openssl",
            "s_server",
            version,
            "-accept",
            f"127.0.0.1:{port}",
            "-cert",
            "server.pem",
            "-Verify",
            "3",
            "-verify_return_error",
            "-CAfile",
            "ca.pem",
            "-alpn",
            "h2",
            "-www",
        ],
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert server.stdout is not None
        while "ACCEPT" not in server.stdout.readline():
            pass
        answer = one(stranger, Gateway("127.0.0.1", port, tmp_path / "ca.pem"), make_push())
    finally:
        server.kill()
        server.communicate()
    assert (answer.status, answer.fault, answer.attempts) == (None, "certificate_refused", 1)


@pytest.mark.parametrize("times", range(5))
def test_the_labs_refusals_arrive_as_refusals(
    lab: object, stranger: ClientIdentity, make_push: MakePush, times: int
) -> None:
    gateway = lab.gateway  # type: ignore[attr-defined]
    answer = one(stranger, gateway, make_push())
    assert (answer.status, answer.fault, answer.attempts) == (None, "certificate_refused", 1)


@pytest.mark.parametrize(
    ("fault", "attempts"),
    [
        (Fault.TOO_MANY_REQUESTS, 2),
        (Fault.INTERNAL_SERVER_ERROR, 2),
        (Fault.SERVICE_UNAVAILABLE, 2),
        (Fault.SHUTDOWN, 2),
        (Fault.GOAWAY, 2),
        (Fault.DROP, 2),
        (Fault.STALL, 2),
    ],
)
def test_every_fault_of_the_lab_is_survived(
    lab: object, identity: ClientIdentity, make_push: MakePush, fault: Fault, attempts: int
) -> None:
    server, gateway = lab.server, lab.gateway  # type: ignore[attr-defined]
    token = server.register_device(TOPIC)
    server.faults.queue(fault)
    answer = one(identity, gateway, make_push(token=token))
    assert answer.delivered
    assert answer.attempts == attempts


def test_nobody_there_is_unreachable(
    identity: ClientIdentity, make_push: MakePush, tmp_path: Path
) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    answers = send(identity, Gateway("127.0.0.1", port), [make_push(), make_push()], retry=HASTY)
    assert [a.fault for a in answers] == ["apns_unreachable", "apns_unreachable"]
    assert answers[0].attempts == HASTY.attempts


def test_a_server_that_is_not_apns_is_not_trusted(
    node: Gateway, identity: ClientIdentity, make_push: MakePush
) -> None:
    public_roots_alone = replace(node, ca_file=None)
    answer = one(identity, public_roots_alone, make_push())
    assert (answer.fault, answer.attempts) == ("server_untrusted", 1)


def test_waits_grow_with_jitter_and_stay_bounded() -> None:
    policy = RetryPolicy(attempts=9, base=0.5, cap=8)
    rng = random.Random(1)  # noqa: S311
    for attempt in range(2, 10):
        waits = [policy.wait(attempt, rng) for _ in range(200)]
        assert min(waits) >= 0
        assert max(waits) <= min(8, 0.5 * 2 ** (attempt - 2))
        assert len(set(waits)) > 100


def test_waits_are_slept_and_not_more_than_there_are_retries(
    node: Gateway, identity: ClientIdentity, make_push: MakePush
) -> None:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    send(identity, node, [make_push(EXTERNAL + "broken")], retry=HASTY, sleep=sleep)
    assert len(slept) == HASTY.attempts - 1


def test_no_token_and_no_magic_shows_in_logs_answers_or_reprs(
    node: Gateway, identity: ClientIdentity, make_push: MakePush, caplog: pytest.LogCaptureFixture
) -> None:
    pushes = [make_push(), make_push(EXTERNAL + "wrong"), make_push(EXTERNAL + "goaway")]
    with caplog.at_level(logging.DEBUG):
        for name in ("httpx", "httpcore", "hpack", "h2", "httpcore.http2", "hpack.hpack"):
            logging.getLogger(name).setLevel(logging.DEBUG)
        answers = send(identity, node, pushes, retry=HASTY)
        answers += send(identity, Gateway("127.0.0.1", 1), pushes, retry=HASTY)
    shown = caplog.text + repr(answers) + repr(pushes) + repr(identity)
    for push in pushes:
        assert push.token.hex not in shown
        assert push.push_magic.text not in shown
    assert "PRIVATE KEY" not in shown


def test_the_key_is_on_no_disk_while_it_is_loaded(
    identity: ClientIdentity, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths: list[str] = []

    class Context(ssl.SSLContext):
        def load_cert_chain(self, certfile, keyfile=None, password=None):  # type: ignore[no-untyped-def]
            paths.append(str(certfile))
            with open(certfile, "rb") as file:  # noqa: PTH123
                content = file.read()
            if not str(certfile).startswith("/proc/self/fd/"):
                assert b"ENCRYPTED" in content
                assert os.stat(certfile).st_mode & 0o077 == 0  # noqa: PTH116
            super().load_cert_chain(certfile, keyfile, password)

    load_identity(Context(ssl.PROTOCOL_TLS_CLIENT), identity)
    monkeypatch.delattr(os, "memfd_create", raising=False)
    load_identity(Context(ssl.PROTOCOL_TLS_CLIENT), identity)
    assert len(paths) == 2
    assert not any(Path(path).exists() for path in paths if not path.startswith("/proc"))


def test_tls_is_12_or_later_and_offers_h2(identity: ClientIdentity) -> None:
    context = client_context(Gateway(), identity)
    assert context.minimum_version >= ssl.TLSVersion.TLSv1_2
    assert context.verify_mode is ssl.CERT_REQUIRED
