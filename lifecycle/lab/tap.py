"""A proxy on loopback between instances and their vendor: ends TLS, records, breaks things.

    tap = Tap(authority, directory, record=directory / "recording")
    tap.leads_to(port)                      # of the vendor's server, on this machine
    tap.start()                             # tap.url is what instances are told
    tap.faults.queue(NetworkFault.LOST_ANSWER)

It speaks HTTP/1.1 with ``Content-Length``, which is what both ends of the vendor's API speak,
and passes every message on byte for byte. The recording has a file for each connection and
direction, because what is cut in two by something else would not be found.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from cryptography.hazmat.primitives.serialization import Encoding

from lifecycle.lab.authority import Authority
from lifecycle.lab.network_faults import NetworkFault, NetworkFaults

HOST = "127.0.0.1"
SERVER_SECONDS = 60
"""How long the server may take for an answer; a busy machine is no fault."""
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding:", re.IGNORECASE)
_HOTEL = b"<!doctype html><title>Hotel</title><p>Please sign in to use the network.</p>"


class Tap:
    """The proxy. It serves in threads of its own.

    Args:
        authority: its root signs the proxy's certificate, and the server's that it leads to.
        directory: the proxy's certificate and key go here.
        record: a folder for the recording; None records nothing.

    Attributes:
        url: where it listens.
        faults: what goes wrong.
        requests: how many have come, whatever became of them.
    """

    def __init__(
        self, authority: Authority, directory: Path, *, record: Path | None = None
    ) -> None:
        self.faults = NetworkFaults()
        self.requests = 0
        self._record = record
        if record is not None:
            record.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._inward = _server_side(authority, directory)
        root = authority.root.certificate.public_bytes(Encoding.PEM).decode()
        self._outward = ssl.create_default_context(cadata=root)
        self._server_port = 0
        self._listener = socket.create_server((HOST, 0))
        self.url = f"https://{HOST}:{self._listener.getsockname()[1]}"
        self._lock = threading.Lock()
        self._late: list[bytes] = []
        self._held: list[bytes] = []
        self._open: set[socket.socket] = set()
        self._connections = 0

    def leads_to(self, port: int) -> None:
        """Connections from now on go to this port of this machine."""
        self._server_port = port

    def start(self) -> None:
        """Begins to serve."""
        threading.Thread(target=self._accept, name="lab-tap", daemon=True).start()

    def stop(self) -> None:
        """Stops serving and breaks every connection."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._lock:
            for connection in self._open:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def deliver_late(self) -> None:
        """Lets every request that is still under way arrive at the server."""
        with self._lock:
            late, self._late, self._held = [*self._late, *self._held], [], []
        for request in late:
            with contextlib.suppress(OSError, EOFError), self._another() as server:
                server.ask(request, _forget)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # the listener is closed at the end
            while True:
                accepted = self._listener.accept()[0]
                with self._lock:
                    self._open.add(accepted)
                    self._connections += 1
                threading.Thread(
                    target=self._serve, args=(accepted, self._connections), daemon=True
                ).start()

    def _serve(self, accepted: socket.socket, number: int) -> None:
        # Whatever breaks a connection, both ends learn of it by its end.
        try:
            with (
                contextlib.suppress(OSError, EOFError),
                self._inward.wrap_socket(accepted, server_side=True) as client,
                client.makefile("rb") as incoming,
                _connected(self._outward, self._server_port) as server,
                self._notes(number) as notes,
            ):
                while self._pass_on(_Client(client, incoming), server, notes):
                    pass
        finally:
            accepted.close()
            with self._lock:
                self._open.discard(accepted)

    def _pass_on(self, client: _Client, server: _Server, notes: _Notes) -> bool:
        """One request and its answer; False: the connection ends."""
        request = _read_message(client.incoming, notes.from_instance)
        with self._lock:
            self.requests += 1
            due, self._late = self._late, []
        fault = self.faults.next()
        answer = self._asked(request, fault, server, notes)
        for late in due:
            with contextlib.suppress(OSError, EOFError), self._another() as other:
                other.ask(late, notes.from_vendor)
        if fault in (NetworkFault.STALL, NetworkFault.STALL_AFTERWARDS):
            client.incoming.read(1)  # comes back when the client has had enough
        if answer is None:
            return False
        if fault is NetworkFault.CUT_ANSWER:
            client.connection.sendall(answer[: len(answer) * 2 // 3])
            return False
        client.connection.sendall(answer)
        return fault not in _OWN_ANSWERS

    def _asked(
        self, request: bytes, fault: NetworkFault | None, server: _Server, notes: _Notes
    ) -> bytes | None:
        """What the client is told; None for nothing."""
        match fault:
            case None | NetworkFault.CUT_ANSWER:
                return server.ask(request, notes.from_vendor)
            case NetworkFault.LOST_ANSWER | NetworkFault.STALL_AFTERWARDS:
                server.ask(request, notes.from_vendor)
                return None
            case NetworkFault.TWICE:
                with self._another() as other:
                    other.send(request)
                    answer = server.ask(request, notes.from_vendor)
                    other.receive(notes.from_vendor)
                    return answer
            case NetworkFault.AGAIN_LATER | NetworkFault.AGAIN_WHEN_TOLD:
                answer = server.ask(request, notes.from_vendor)
                with self._lock:
                    later = self._late if fault is NetworkFault.AGAIN_LATER else self._held
                    later.append(request)
                return answer
            case NetworkFault.OVERTAKEN:
                with self._lock:
                    self._late.append(request)
                return None
            case NetworkFault.ERROR_AFTERWARDS:
                server.ask(request, notes.from_vendor)
                return _OWN_ANSWERS[fault]
            case _:
                return _OWN_ANSWERS.get(fault)

    def _another(self) -> contextlib.AbstractContextManager[_Server]:
        return _connected(self._outward, self._server_port)

    @contextlib.contextmanager
    def _notes(self, number: int) -> Iterator[_Notes]:
        if self._record is None:
            yield _Notes(_forget, _forget)
            return
        with (
            _private(self._record / f"{number:05d}-from-instance") as up,
            _private(self._record / f"{number:05d}-from-vendor") as down,
        ):
            yield _Notes(_writer(up), _writer(down))


Note = Callable[[bytes], None]


@dataclass(frozen=True, slots=True)
class _Notes:
    from_instance: Note
    from_vendor: Note


@dataclass(frozen=True, slots=True)
class _Client:
    connection: ssl.SSLSocket
    incoming: BinaryIO


@dataclass(frozen=True, slots=True)
class _Server:
    connection: ssl.SSLSocket
    incoming: BinaryIO

    def ask(self, request: bytes, note: Note) -> bytes:
        self.send(request)
        return self.receive(note)

    def send(self, request: bytes) -> None:
        self.connection.sendall(request)

    def receive(self, note: Note) -> bytes:
        return _read_message(self.incoming, note)


@contextlib.contextmanager
def _connected(context: ssl.SSLContext, port: int) -> Iterator[_Server]:
    with (
        socket.create_connection((HOST, port), timeout=SERVER_SECONDS) as plain,
        context.wrap_socket(plain, server_hostname=HOST) as connection,
        connection.makefile("rb") as incoming,
    ):
        yield _Server(connection, incoming)


def _read_message(incoming: BinaryIO, note: Note) -> bytes:
    """The next message, whole. What came of one that breaks off is noted as well.

    Raises:
        EOFError: there is none, or it breaks off.
    """
    message = bytearray()
    try:
        while not message.endswith(b"\r\n\r\n"):
            line = incoming.readline(65536)
            if not line:
                raise EOFError
            message += line
        if _CHUNKED.search(message):
            raise ValueError("a message in chunks, which neither end sends")
        found = _LENGTH.search(message)
        length = 0 if found is None else int(found[1])
        body = incoming.read(length)
        message += body
        if len(body) < length:
            raise EOFError
    finally:
        note(bytes(message))
    return bytes(message)


def _server_side(authority: Authority, directory: Path) -> ssl.SSLContext:
    certificate, key = authority.server_credential()
    both = directory / "tap.pem"
    with _private(both) as file:
        file.write(certificate + key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(both)
    return context


def _private(path: Path) -> BinaryIO:
    descriptor = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600)
    return os.fdopen(descriptor, "wb", buffering=0)


def _writer(file: BinaryIO) -> Note:
    def note(data: bytes) -> None:
        file.write(data)

    return note


def _forget(_: bytes) -> None:
    return


def _own_answer(status: str, kind: str, body: bytes, *more: str) -> bytes:
    lines = (
        f"HTTP/1.1 {status}",
        f"Content-Type: {kind}",
        f"Content-Length: {len(body)}",
        "Connection: close",
        *more,
    )
    return "\r\n".join((*lines, "", "")).encode() + body


_OWN_ANSWERS = {
    NetworkFault.ERROR: _own_answer("502 Bad Gateway", "text/html", b"<h1>Bad Gateway</h1>"),
    NetworkFault.ERROR_AFTERWARDS: _own_answer(
        "500 Internal Server Error", "text/plain", b"Internal Server Error"
    ),
    NetworkFault.BUSY: _own_answer(
        "503 Service Unavailable", "text/plain", b"busy", "Retry-After: 30"
    ),
    NetworkFault.HIJACKED: _own_answer("200 OK", "text/html", _HOTEL),
}
