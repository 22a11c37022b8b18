"""The tap: what it records, and what each of its faults does to a request and its answer."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from lifecycle.lab.authority import Authority, LabCa
from lifecycle.lab.clock import LabClock
from lifecycle.lab.network_faults import NetworkFault
from lifecycle.lab.tap import Tap
from tests.lab.conftest import START

ANSWER = b"the server's answer"
SHORT = 0.5


class Server:
    """A real HTTPS server: what it got, in order."""

    def __init__(self, directory: Path, authority: Authority) -> None:
        self.got: list[str] = []
        got, lock = self.got, threading.Lock()

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                with lock:
                    got.append(body.decode())
                self.send_response(200)
                self.send_header("Content-Length", str(len(ANSWER)))
                self.end_headers()
                self.wfile.write(ANSWER)

            def log_message(self, format: str, *args: object) -> None:
                """Nothing: a test's output is for its failures."""

        certificate, key = authority.server_credential()
        (directory / "server.pem").write_bytes(certificate + key)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(directory / "server.pem")
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.port = self._server.server_address[1]

    def __enter__(self) -> Server:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def authority(cas: tuple[LabCa, LabCa, LabCa]) -> Authority:
    return Authority(LabClock(START), cas=cas)


@pytest.fixture
def server(tmp_path: Path, authority: Authority) -> Iterator[Server]:
    with Server(tmp_path, authority) as server:
        yield server


@pytest.fixture
def tap(tmp_path: Path, authority: Authority, server: Server) -> Iterator[Tap]:
    tap = Tap(authority, tmp_path, record=tmp_path / "recording")
    tap.leads_to(server.port)
    tap.start()
    yield tap
    tap.stop()


@pytest.fixture
def client(tap: Tap, authority: Authority) -> Iterator[httpx.Client]:
    root = authority.root.certificate.public_bytes(Encoding.PEM).decode()
    trusted = ssl.create_default_context(cadata=root)
    with httpx.Client(base_url=tap.url, verify=trusted, trust_env=False, timeout=60) as client:
        yield client


def said(client: httpx.Client, body: str, timeout: float = 60) -> bytes | int | str:
    """The answer, its status if that is not 200, or the name of what went wrong."""
    try:
        answer = client.post("/", content=body, timeout=timeout)
    except httpx.TransportError as error:
        return type(error).__name__
    return answer.content if answer.status_code == 200 else answer.status_code


def test_what_it_passes_on_it_records_byte_for_byte_by_connection_and_direction(
    tap: Tap, client: httpx.Client, server: Server, tmp_path: Path
) -> None:
    assert [said(client, body) for body in ("first", "second")] == [ANSWER, ANSWER]
    assert server.got == ["first", "second"]
    recorded = {path.name: path.read_bytes() for path in (tmp_path / "recording").iterdir()}
    assert sorted(recorded) == ["00001-from-instance", "00001-from-vendor"], "one connection"
    assert recorded["00001-from-instance"].count(b"POST / HTTP/1.1\r\n") == 2
    assert recorded["00001-from-instance"].endswith(b"\r\n\r\nsecond")
    assert recorded["00001-from-vendor"].count(ANSWER) == 2
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "recording").iterdir()} == {0o600}
    assert tap.requests == 2


GONE = ("RemoteProtocolError", "ReadError")


ROWS: list[tuple[NetworkFault, tuple[object, ...], list[str]]] = [
    (NetworkFault.LOST_REQUEST, GONE, ["next"]),
    (NetworkFault.LOST_ANSWER, GONE, ["struck", "next"]),
    (NetworkFault.CUT_ANSWER, GONE, ["struck", "next"]),
    (NetworkFault.TWICE, (ANSWER,), ["struck", "struck", "next"]),
    (NetworkFault.AGAIN_LATER, (ANSWER,), ["struck", "next", "struck"]),
    (NetworkFault.AGAIN_WHEN_TOLD, (ANSWER,), ["struck", "next"]),
    (NetworkFault.OVERTAKEN, GONE, ["next", "struck"]),
    (NetworkFault.ERROR, (502,), ["next"]),
    (NetworkFault.ERROR_AFTERWARDS, (500,), ["struck", "next"]),
    (NetworkFault.BUSY, (503,), ["next"]),
    (NetworkFault.STALL, ("ReadTimeout",), ["next"]),
    (NetworkFault.STALL_AFTERWARDS, ("ReadTimeout",), ["struck", "next"]),
    (NetworkFault.HIJACKED, (), ["next"]),
]


@pytest.mark.parametrize(("fault", "answers", "acted"), ROWS)
def test_a_fault_strikes_one_request_and_the_next_gets_through(
    tap: Tap,
    client: httpx.Client,
    server: Server,
    fault: NetworkFault,
    answers: tuple[object, ...],
    acted: list[str],
) -> None:
    tap.faults.queue(fault)
    stalls = fault in (NetworkFault.STALL, NetworkFault.STALL_AFTERWARDS)
    answer = said(client, "struck", SHORT if stalls else 60)
    if fault is NetworkFault.HIJACKED:
        assert b"Hotel" in bytes(answer)  # type: ignore[arg-type]
    else:
        assert answer in answers
    assert said(client, "next") == ANSWER
    assert server.got == acted
    assert tap.faults.done == {fault: 1}


def test_every_fault_has_a_row_above() -> None:
    assert {row[0] for row in ROWS} == set(NetworkFault)


def test_what_is_still_under_way_arrives_when_it_is_told_to(
    tap: Tap, client: httpx.Client, server: Server
) -> None:
    tap.faults.queue(NetworkFault.AGAIN_WHEN_TOLD, NetworkFault.OVERTAKEN)
    assert said(client, "first") == ANSWER
    assert said(client, "late") in GONE
    assert server.got == ["first"]
    tap.deliver_late()
    assert server.got == ["first", "late", "first"]


def test_a_server_that_is_gone_is_a_broken_connection(
    tap: Tap, client: httpx.Client, server: Server
) -> None:
    assert said(client, "first") == ANSWER
    tap.leads_to(9)
    client.close()
    with httpx.Client(verify=False, base_url=tap.url, trust_env=False) as another:  # noqa: S501
        assert said(another, "second") in GONE
    assert server.got == ["first"]
