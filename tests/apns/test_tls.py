"""The handshake: who is let in, who is trusted, whose certificate is shown, where the key lies."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from OpenSSL import SSL

from lifecycle.apns.client import RetryPolicy, send
from lifecycle.apns.gateway import Gateway
from lifecycle.apns.identity import ClientIdentity
from lifecycle.apns.push import Answer, Push
from lifecycle.errors import InternalFault
from lifecycle.lab.authority import Authority
from lifecycle.lab.gateway import ApnsGateway
from lifecycle.pki.keys import generate_key

MakePush = Callable[..., Push]
Issue = Callable[..., ClientIdentity]
HASTY = RetryPolicy(attempts=4, base=0.001, cap=0.002, timeout=20.0)
EXTERNAL = "com.apple.mgmt.External."


def one(identity: ClientIdentity, gateway: Gateway, push: Push) -> Answer:
    (answer,) = send(identity, gateway, [push], retry=HASTY)
    return answer


@contextmanager
def openssl(folder: Path, *options: str) -> Iterator[Gateway]:
    """``openssl s_server`` with these options, and the gateway that it is."""
    server = subprocess.Popen(
        ["openssl", "s_server", "-accept", "127.0.0.1:0", "-cert", "both.pem", *options],
        cwd=folder,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert server.stdout is not None
        said = next(line for line in server.stdout if line.startswith("ACCEPT"))
        yield Gateway("127.0.0.1", int(said.rpartition(":")[2]), folder / "ca.pem")
    finally:
        server.kill()
        server.communicate()


VERIFY = ("-Verify", "3", "-verify_return_error", "-CAfile", "ca.pem", "-alpn", "h2")


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_openssl_refuses_a_strangers_certificate_as_of_an_unknown_ca(
    server_files: Path, stranger: ClientIdentity, make_push: MakePush, version: str
) -> None:
    """With TLS 1.3 the alert comes on the first read, after the handshake seemed done."""
    with openssl(server_files, version, *VERIFY) as gateway:
        answer = one(stranger, gateway, make_push())
    assert (answer.status, answer.fault, answer.attempts) == (None, "certificate_refused", 1)
    assert answer.detail == "unknown_ca"


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_openssl_refuses_an_expired_certificate_as_expired(
    server_files: Path, issue: Issue, make_push: MakePush, version: str
) -> None:
    expired = issue(days=1)
    with openssl(server_files, version, *VERIFY) as gateway:
        answer = one(expired, gateway, make_push())
    assert (answer.fault, answer.detail) == ("certificate_refused", "certificate_expired")


@pytest.mark.parametrize("times", range(5))
def test_the_lab_refuses_a_stranger_and_the_refusal_always_arrives(
    lab_gateway: Gateway, stranger: ClientIdentity, make_push: MakePush, times: int
) -> None:
    answer = one(stranger, lab_gateway, make_push())
    assert (answer.fault, answer.detail) == ("certificate_refused", "unknown_ca")


def test_the_lab_refuses_what_has_expired_by_its_clock_and_what_is_revoked(
    lab_gateway: Gateway,
    lab: ApnsGateway,
    authority: Authority,
    issue: Issue,
    make_push: MakePush,
) -> None:
    token = lab.register_device(EXTERNAL + "a")
    good, short, revoked = (
        issue(EXTERNAL + "a"),
        issue(EXTERNAL + "a", days=1),
        issue(EXTERNAL + "a"),
    )
    push = make_push(EXTERNAL + "a", token)
    assert one(short, lab_gateway, push).delivered
    assert one(revoked, lab_gateway, push).delivered
    authority.clock.advance(timedelta(days=2))  # type: ignore[attr-defined]
    authority.revoke(revoked.certificate.serial_number)
    told = [one(who, lab_gateway, push) for who in (good, short, revoked)]
    assert [(a.fault, a.detail) for a in told] == [
        (None, None),
        ("certificate_refused", "certificate_expired"),
        ("certificate_refused", "certificate_revoked"),
    ]


def test_a_refused_certificate_is_shown_once_and_to_no_further_push(
    lab_gateway: Gateway, stranger: ClientIdentity, make_push: MakePush
) -> None:
    answers = send(stranger, lab_gateway, [make_push() for _ in range(10)], retry=HASTY)
    assert {a.fault for a in answers} == {"certificate_refused"}
    assert sum(a.attempts for a in answers) == 1


def test_a_server_that_hangs_up_on_a_certificate_without_an_alert_is_told_apart_as_well(
    node_gateway: Gateway, stranger: ClientIdentity, make_push: MakePush
) -> None:
    """Node.js closes the socket and sends no alert: that is all that can be known."""
    answer = one(stranger, node_gateway, make_push())
    assert (answer.fault, answer.detail) == ("connection_lost", "closed_after_handshake")


def test_a_server_without_http2_is_not_spoken_to(
    server_files: Path, identity: ClientIdentity, make_push: MakePush
) -> None:
    with openssl(server_files) as gateway:  # no ALPN at all
        answer = one(identity, gateway, make_push())
    assert (answer.fault, answer.attempts) == ("no_http2", 1)


def test_a_server_of_http_1_is_not_spoken_to(
    server_files: Path, identity: ClientIdentity, make_push: MakePush
) -> None:
    with openssl(server_files, "-alpn", "http/1.1") as gateway:
        answer = one(identity, gateway, make_push())
    assert (answer.fault, answer.attempts) == ("no_http2", 1)


def test_tls_before_1_2_is_not_spoken(
    server_files: Path, identity: ClientIdentity, make_push: MakePush
) -> None:
    options = ("-tls1_1", "-cipher", "ALL:@SECLEVEL=0", "-alpn", "h2")
    with openssl(server_files, *options) as gateway:
        answer = one(identity, gateway, make_push())
    assert (answer.fault, answer.attempts) == ("handshake_failed", 1)


def test_a_server_that_is_not_apns_is_not_trusted(
    node_gateway: Gateway, identity: ClientIdentity, make_push: MakePush
) -> None:
    answer = one(identity, replace(node_gateway, ca_file=None), make_push())
    assert (answer.fault, answer.attempts) == ("server_untrusted", 1)


def test_a_server_under_another_name_is_not_trusted(
    node_gateway: Gateway, identity: ClientIdentity, make_push: MakePush
) -> None:
    """127.0.0.2 is the same server; its certificate says 127.0.0.1."""
    with socket.create_server(("127.0.0.2", 0)) as listener:

        def relay() -> None:
            from_client = listener.accept()[0]
            to_node = socket.create_connection(("127.0.0.1", node_gateway.port))
            with from_client, to_node:
                to_node.sendall(from_client.recv(65536))
                from_client.sendall(to_node.recv(65536))
                from_client.recv(65536)

        thread = threading.Thread(target=relay)
        thread.start()
        there = Gateway("127.0.0.2", listener.getsockname()[1], node_gateway.ca_file)
        answer = one(identity, there, make_push())
        thread.join()
    assert (answer.fault, answer.attempts) == ("server_untrusted", 1)


def test_customers_in_many_threads_each_show_their_own_certificate(
    node_gateway: Gateway, issue: Issue, key: RSAPrivateKey, make_push: MakePush
) -> None:
    """Node.js answers 200 only if the topic is that of the certificate it was shown."""
    keys = (key, generate_key())
    customers = [issue(f"{EXTERNAL}customer{n}", of=keys[n % 2]) for n in range(6)]

    def push(turn: int) -> Answer:
        number = turn % len(customers)
        return one(customers[number], node_gateway, make_push(f"{EXTERNAL}customer{number}"))

    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(push, range(120)))
    assert Counter((a.status, a.reason, a.fault) for a in answers) == {(200, None, None): 120}


def test_the_roots_are_read_once_for_all_customers(
    node_gateway: Gateway, issue: Issue, make_push: MakePush, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[Any] = []
    original = SSL.Context.load_verify_locations

    def counted(context: SSL.Context, *args: Any) -> None:
        reads.append(args)
        original(context, *args)

    monkeypatch.setattr(SSL.Context, "load_verify_locations", counted)
    gateway = replace(node_gateway)  # one that has read nothing yet
    for name in ("a", "b", "c"):
        assert one(issue(EXTERNAL + name), gateway, make_push(EXTERNAL + name)).delivered
    assert len(reads) == 1


def test_the_key_goes_through_no_file(
    node_gateway: Gateway, identity: ClientIdentity, make_push: MakePush
) -> None:
    """Python tells of every file that is opened, whoever opens it; C code gets memory only."""
    opened: list[str] = []
    watching = [True]

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        if watching and event == "open":
            opened.append(str(arguments[0]))

    sys.addaudithook(watch)  # there is no taking it away, so it is told to stop looking
    assert one(identity, replace(node_gateway), make_push()).delivered
    watching.clear()
    assert str(node_gateway.ca_file) in opened
    assert [path for path in opened if not path.endswith((".pem", ".py", ".pyc", "hosts"))] == []
    assert {path for path in opened if path.endswith(".pem")} == {str(node_gateway.ca_file)}


def test_session_keys_are_written_nowhere_whatever_the_environment_says(
    node_gateway: Gateway,
    identity: ClientIdentity,
    make_push: MakePush,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setenv("SSLKEYLOGFILE", str(tmp_path / "keys"))
    assert one(identity, replace(node_gateway), make_push()).delivered
    assert list(tmp_path.iterdir()) == []


def test_two_that_do_not_belong_together_get_no_connection(
    node_gateway: Gateway, identity: ClientIdentity
) -> None:
    with pytest.raises(InternalFault):
        node_gateway.tls.begin(ClientIdentity(identity.certificate, generate_key()))


def test_an_identity_needs_an_rsa_key_and_a_certificate(identity: ClientIdentity) -> None:
    elliptic: Any = ec.generate_private_key(ec.SECP256R1())
    with pytest.raises(InternalFault):
        ClientIdentity(identity.certificate, elliptic)
    with pytest.raises(InternalFault):
        ClientIdentity.from_pem("no certificate", identity.key)
