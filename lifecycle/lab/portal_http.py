"""The lab over loopback HTTP: the portal's buttons, devices, faults, the clock, and OCSP.

JSON in and out; certificates and requests travel as Base64. For people with `pushcert lab
portal`, and for other products' tests through ``PortalClient`` or plain HTTP.
"""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from lifecycle.errors import Refused, refuse
from lifecycle.lab.authority import Authority
from lifecycle.lab.clock import MovableClock
from lifecycle.lab.faults import Fault
from lifecycle.lab.gateway import ApnsGateway
from lifecycle.lab.portal import Portal, PortalRow

MAX_BODY = 2 * 1024 * 1024
OCSP_PATH = "/ocsp"
Document = Mapping[str, Any]


class PortalServer:
    """Serves one lab in a thread of its own.

    Args:
        portal, gateway, clock: the lab.
        host, port: where to listen; port 0 takes a free one.
        changed: called after everything that changes what must be kept.
    """

    def __init__(
        self,
        portal: Portal,
        gateway: ApnsGateway,
        clock: MovableClock,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        desk = _Desk(portal, gateway, clock, changed)
        self._server = ThreadingHTTPServer((host, port), _handler(desk, portal.authority))
        self._server.daemon_threads = True
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        """Where it serves."""
        host, port = self._server.server_address[:2]
        return f"http://{host!s}:{port}"

    @property
    def ocsp_url(self) -> str:
        """Where it answers for the AAI CA (RFC 6960)."""
        return self.url + OCSP_PATH

    def start(self) -> None:
        """Begins to serve."""
        self._thread = threading.Thread(
            target=self._server.serve_forever, name="lab-portal", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """Stops serving."""
        if self._thread is not None:
            self._server.shutdown()
            self._thread.join()
            self._thread = None
        self._server.server_close()


class _Desk:
    """What can be asked of the lab, by method and path."""

    def __init__(
        self,
        portal: Portal,
        gateway: ApnsGateway,
        clock: MovableClock,
        changed: Callable[[], None],
    ) -> None:
        self._portal, self._gateway, self._clock = portal, gateway, clock
        self._changed = changed
        self._lock = threading.Lock()
        self._routes: dict[tuple[str, str], Callable[[Document], object]] = {
            ("POST", "/create"): self._create,
            ("POST", "/renew"): self._renew,
            ("POST", "/revoke"): self._revoke,
            ("POST", "/certificates"): self._certificates,
            ("POST", "/devices"): self._devices,
            ("POST", "/faults"): self._faults,
            ("POST", "/clock"): self._move,
            ("GET", "/clock"): lambda _: {"now": self._clock.now().isoformat()},
        }

    def answer(self, method: str, path: str, document: Document) -> object:
        """The answer as JSON. Raises ``KeyError`` (no such route), ``Refused``."""
        with self._lock:
            return self._routes[method, path](document)

    def _create(self, document: Document) -> object:
        certificate = self._portal.create(_text(document, "apple_account"), _file(document))
        self._changed()
        return {"certificate": certificate.decode()}

    def _renew(self, document: Document) -> object:
        certificate = self._portal.renew(
            _text(document, "apple_account"), _file(document), _text(document, "serial")
        )
        self._changed()
        return {"certificate": certificate.decode()}

    def _revoke(self, document: Document) -> object:
        self._portal.revoke(_text(document, "apple_account"), _text(document, "serial"))
        self._changed()
        return {}

    def _certificates(self, document: Document) -> object:
        return [_row(row) for row in self._portal.certificates(_text(document, "apple_account"))]

    def _devices(self, document: Document) -> object:
        topic = _text(document, "topic")
        given = document.get("token")
        if given is None:
            token = self._gateway.register_device(topic)
        else:
            token = _hex(str(given))
            if document.get("unregister"):
                self._gateway.unregister(token)
            else:
                self._gateway.register(token, topic)
        self._changed()
        return {"token": token.hex()}

    def _faults(self, document: Document) -> object:
        faults = self._gateway.faults
        try:
            if document.get("clear"):
                faults.clear()
            faults.queue(*(Fault(name) for name in document.get("queue", ())))
            for name, share in dict(document.get("rates", {})).items():
                faults.rate(Fault(name), float(share))
            if "outage" in document:
                faults.outage = bool(document["outage"])
            if "handshake_delay" in document:
                faults.handshake_delay = float(document["handshake_delay"])
        except (TypeError, ValueError) as error:
            raise malformed(f"The faults cannot be set ({type(error).__name__}).") from None
        return {}

    def _move(self, document: Document) -> object:
        try:
            if "advance_seconds" in document:
                self._clock.advance(timedelta(seconds=float(document["advance_seconds"])))
            else:
                self._clock.set(datetime.fromisoformat(_text(document, "now")))
        except (TypeError, ValueError, OverflowError):
            raise malformed("The clock cannot be set to that.") from None
        self._changed()
        return {"now": self._clock.now().isoformat()}


def _handler(desk: _Desk, authority: Authority) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        """One request."""

        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._answer(b"{}")

        def do_POST(self) -> None:
            length = self.headers.get("Content-Length", "")
            if not length.isdigit() or int(length) > MAX_BODY:
                self._send(413, {"error": "the body is missing or too large"})
                return
            body = self.rfile.read(int(length))
            if self.path == OCSP_PATH:
                self._send_bytes(200, "application/ocsp-response", authority.ocsp(body))
                return
            self._answer(body)

        def _answer(self, body: bytes) -> None:
            try:
                document = json.loads(body or b"{}")
                answer = desk.answer(self.command, self.path, dict(document))
                self._send(200, answer)
            except KeyError:
                self._send(404, {"error": "no such page"})
            except Refused as refused:
                self._send(
                    422,
                    {
                        "findings": [
                            {"code": f.code, "message": f.message, "remedy": f.remedy}
                            for f in refused.findings
                        ]
                    },
                )
            except (ValueError, TypeError, RecursionError):
                self._send(400, {"error": "the body is not a JSON object"})

        def _send(self, status: int, document: object) -> None:
            self._send_bytes(status, "application/json", json.dumps(document).encode())

        def _send_bytes(self, status: int, kind: str, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Nothing: requests may hold tokens."""

    return Handler


def _row(row: PortalRow) -> dict[str, object]:
    return {
        "common_name": row.common_name,
        "vendor": row.vendor,
        "serial": row.serial,
        "topic": row.topic,
        "not_after": row.not_after.isoformat(),
        "revoked": row.revoked,
    }


def _text(document: Document, name: str) -> str:
    value = document.get(name)
    if not isinstance(value, str) or not value:
        raise malformed(f"“{name}” is missing.")
    return value


def _file(document: Document) -> bytes:
    try:
        return base64.b64decode(_text(document, "request"), validate=True)
    except ValueError:  # binascii.Error, or letters beyond ASCII
        raise malformed("“request” is not Base64.") from None


def _hex(text: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError:
        raise malformed("“token” is not hexadecimal.") from None


def malformed(message: str) -> Refused:
    """The refusal of a call that the lab cannot make sense of."""
    return refuse("lab_call_malformed", message, "See docs/lab.md for what the lab takes.")
