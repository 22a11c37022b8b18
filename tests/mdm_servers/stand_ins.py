"""Servers that answer as NanoMDM, MicroMDM and Zentral do, on loopback, over HTTP or TLS.

Written from NanoMDM's docs/openapi.yaml and the rules of its handler (http/api/pushcert.go),
MicroMDM's platform/config, and Zentral's own tests of its API. No code of theirs is here.
"""

from __future__ import annotations

import base64
import json
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509.oid import NameOID

from lifecycle.pki.pem import PemBlock, pem_blocks

API_KEY = "opensesame-of-the-test"


@dataclass
class Request:
    """What a server was asked."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


Reply = tuple[int, Any] | tuple[int, Any, dict[str, str]]
"""Status, JSON document (bytes: as they are), and headers if there are further ones."""


@dataclass
class StandIn:
    """A server with one handler; use it as a context manager.

    Attributes:
        requests: all that it was asked, in order.
        instead: answers in its place, if it is set; None from it: the server answers.
    """

    tls: tuple[Path, Path] | None = None
    port: int = 0
    requests: list[Request] = field(default_factory=list)
    instead: Callable[[Request], Reply | None] | None = None
    _server: ThreadingHTTPServer | None = None

    def answer(self, request: Request) -> Reply:
        raise NotImplementedError

    def authorized(self, request: Request) -> bool:
        raise NotImplementedError

    @property
    def url(self) -> str:
        return f"{'http' if self.tls is None else 'https'}://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), _handler(self))
        if self.tls is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*self.tls)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def stop(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def reply(self, request: Request) -> Reply:
        self.requests.append(request)
        if self.instead is not None and (found := self.instead(request)) is not None:
            return found
        if not self.authorized(request):
            return 401, b"Unauthorized\n", {"WWW-Authenticate": 'Basic realm="test"'}
        return self.answer(request)

    def made(self, method: str) -> list[Request]:
        return [request for request in self.requests if request.method == method]


def _handler(server: StandIn) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _go(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            request = Request(self.command, self.path, dict(self.headers.items()), body)
            status, document, *more = server.reply(request)
            data = document if isinstance(document, bytes) else json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            kind = "text/plain" if isinstance(document, bytes) else "application/json"
            self.send_header("Content-Type", kind)
            for name, value in more[0].items() if more else ():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_PUT = do_POST = _go  # noqa: N815 - as http.server calls them

        def log_message(self, *words: object) -> None:
            pass

    return Handler


def _basic(request: Request, user: str) -> bool:
    wanted = base64.b64encode(f"{user}:{API_KEY}".encode()).decode()
    return request.headers.get("Authorization") == f"Basic {wanted}"


class NanoMdmServer(StandIn):
    """NanoMDM: ``/v1/pushcert``.

    Attributes:
        stored: certificate and key by topic.
    """

    def __init__(self, tls: tuple[Path, Path] | None = None) -> None:
        super().__init__(tls)
        self.stored: dict[str, tuple[bytes, bytes]] = {}

    def authorized(self, request: Request) -> bool:
        return _basic(request, "nanomdm")

    def answer(self, request: Request) -> Reply:
        parts = urlsplit(request.path)
        if parts.path != "/v1/pushcert":
            return 404, b"404 page not found\n"
        if request.method == "PUT":
            return self._store(request.body)
        if request.method != "GET":
            return 405, b"Method Not Allowed\n"
        (topic,) = parse_qs(parts.query).get("topic", [""])
        if not topic:
            return 400, {"error": "missing required query parameter: topic"}
        if topic not in self.stored:
            return 500, {"error": "sql: no rows in result set"}
        return 200, _particulars(self.stored[topic][0])

    def _store(self, body: bytes) -> Reply:
        certificate = key = b""
        for block in pem_blocks(body):
            if block.label == "CERTIFICATE":
                certificate = block.text  # of several, the last one stays
            elif block.label.endswith("PRIVATE KEY"):
                if _encrypted(block):
                    return 400, {"error": "private key PEM appears to be encrypted"}
                key = block.text
            else:
                return 400, {"error": f'unrecognized PEM type: "{block.label}"'}
        try:
            leaf = x509.load_pem_x509_certificate(certificate)
            if load_pem_private_key(key, None).public_key() != leaf.public_key():
                return 400, {"error": "tls: private key does not match public key"}
            topic = str(leaf.subject.get_attributes_for_oid(NameOID.USER_ID)[0].value)
        except (ValueError, IndexError):
            return 400, {"error": "tls: failed to find any PEM data in certificate input"}
        self.stored[topic] = (certificate, key)
        return 200, _particulars(certificate)


def _encrypted(block: PemBlock) -> bool:
    return b"DEK-Info" in block.inner or block.label == "ENCRYPTED PRIVATE KEY"


def _particulars(pem: bytes) -> dict[str, str]:
    leaf = x509.load_pem_x509_certificate(pem)
    topic = leaf.subject.get_attributes_for_oid(NameOID.USER_ID)[0].value
    not_after = leaf.not_valid_after_utc.strftime("%Y-%m-%dT%H:%M:%SZ")
    return {"topic": str(topic), "not_after": not_after}


class MicroMdmServer(StandIn):
    """MicroMDM: ``/v1/config/certificate``; stores without a look, reads PKCS#1 alone.

    Attributes:
        stored: certificate and key.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stored: tuple[bytes, bytes] | None = None

    def authorized(self, request: Request) -> bool:
        return _basic(request, "micromdm")

    def answer(self, request: Request) -> Reply:
        if request.path != "/v1/config/certificate":
            return 404, b"404 page not found\n"
        if request.method == "PUT":
            given = json.loads(request.body)
            self.stored = base64.b64decode(given["cert"]), base64.b64decode(given["key"])
            return 200, {}
        if self.stored is None:
            return 500, {"error": "get push certificate: not found: ServerConfig"}
        certificate, key = self.stored
        if b"BEGIN RSA PRIVATE KEY" not in key:
            return 500, {"error": "parse push certificate key from server config"}
        leaf = x509.load_pem_x509_certificate(certificate)
        from cryptography.hazmat.primitives.serialization import Encoding

        return 200, {"cert": base64.b64encode(leaf.public_bytes(Encoding.DER)).decode()}


class ZentralServer(StandIn):
    """Zentral: ``/api/mdm/push_certificates/``, which can be read and not written.

    Attributes:
        certificates: PEM by name, as somebody uploaded them.
        paged: answer as later versions do.
    """

    def __init__(self) -> None:
        super().__init__()
        self.certificates: dict[str, bytes | None] = {}
        self.paged = True

    def authorized(self, request: Request) -> bool:
        return request.headers.get("Authorization") == f"Token {API_KEY}"

    def answer(self, request: Request) -> Reply:
        parts = urlsplit(request.path)
        if parts.path != "/api/mdm/push_certificates/":
            return 404, {"detail": "Not found."}
        if request.method != "GET":
            return 405, {"detail": f'Method "{request.method}" not allowed.'}
        everything = [
            self._entry(number, name, pem)
            for number, (name, pem) in enumerate(self.certificates.items(), 1)
        ]
        if not self.paged:
            return 200, everything
        query = parse_qs(parts.query)
        offset, limit = int(query["offset"][0]), min(int(query["limit"][0]), 2)
        more = offset + limit < len(everything)
        return 200, {
            "count": len(everything),
            "next": f"{self.url}{parts.path}?offset={offset + limit}" if more else None,
            "previous": None,
            "results": everything[offset : offset + limit],
        }

    @staticmethod
    def _entry(number: int, name: str, pem: bytes | None) -> dict[str, Any]:
        made = {"id": number, "provisioning_uid": None, "name": name}
        if pem is None:
            return {**made, "topic": None, "not_after": None, "certificate": None}
        leaf = x509.load_pem_x509_certificate(pem)
        return {
            **made,
            "topic": _particulars(pem)["topic"],
            "not_after": leaf.not_valid_after_utc.strftime("%Y-%m-%dT%H:%M:%S"),
            "certificate": pem.decode(),
        }
