"""What MDM servers answer: NanoMDM, MicroMDM, Zentral."""

from __future__ import annotations

import base64
import json

from fuzz.harness import refusals, vector
from fuzz.twist import TWISTED, as_seeds, twisted
from lifecycle.errors import Unavailable
from lifecycle.mdm_servers.micromdm import MicroMdm
from lifecycle.mdm_servers.nanomdm import NanoMdm
from lifecycle.mdm_servers.server import Answer, Basic, MdmServer, Reach, read_answer
from lifecycle.mdm_servers.zentral import Zentral

PARSERS = (
    "lifecycle.mdm_servers.server.read_answer",
    "lifecycle.mdm_servers.server.instant",
    "lifecycle.mdm_servers.nanomdm.NanoMdm.get",
    "lifecycle.mdm_servers.micromdm.MicroMdm.get",
    "lifecycle.mdm_servers.zentral.Zentral.certificates",
)
WEIGHT = 3
_REACH = Reach("https://mdm.example")


class _Canned(MdmServer):
    """A server that has answered already."""

    def __init__(self, status: int, data: bytes) -> None:
        super().__init__(_REACH, Basic("user", lambda: b"the api key"))
        self._said = read_answer(status, data, b"the api key")
        self._asked = 0

    def ask(self, method: str, path: str, **_: object) -> Answer:
        """See ``MdmServer.ask``; the second page of a list is empty."""
        del method, path
        self._asked += 1
        answer = self._said if self._asked == 1 else Answer(200, [])
        self._require_use(answer)
        return answer


def one(data: bytes) -> None:
    """Certificates, a refusal or ``Unavailable``; the first byte chooses the status.

    The server's own words are never those that we sent.
    """
    status = (200, 200, 404, 405, 500, 401, 302, 400)[data[0] % 8] if data else 200
    data = data[1:]
    if data.startswith(TWISTED):
        data = twisted(data[1:], _DOCUMENTS)
    answer = read_answer(status, data, b"the api key")
    assert "the api key" not in answer.words
    nano, micro = NanoMdm(_REACH, lambda: b""), MicroMdm(_REACH, lambda: b"")
    zentral = Zentral(_REACH, lambda: b"")
    for server in (nano, micro, zentral):
        server._server = _Canned(status, data)
    with refusals(Unavailable):
        nano.get("com.apple.mgmt.External.x")
    with refusals(Unavailable):
        micro.get()
    with refusals(Unavailable):
        for certificate in zentral.certificates():
            certificate.not_after.isoformat()


def seeds() -> dict[str, bytes]:
    """Good ones of the three, and faults."""
    found = as_seeds(documents(), b"\0")
    found["error"] = b"\4" + json.dumps({"error": "find any PEM data"}).encode()
    found["not-ascii"] = b'\0{"cert": "\xc3\xa9"}'
    return found


def documents() -> dict[str, object]:
    """By name."""
    certificate = base64.b64encode(vector("MDM_ Example MDM_Certificate.pem")).decode()
    topic = "com.apple.mgmt.External.x"
    page = {"results": [{"topic": topic, "not_after": "2027-06-01T00:00:00", "name": "n"}]}
    return {
        "nanomdm": {"topic": topic, "not_after": "2027-06-01T00:00:00Z"},
        "first": {"topic": topic, "not_after": "0001-01-01T00:00:00+14:00"},
        "micromdm": {"cert": certificate},
        "zentral": {**page, "next": "https://x"},
        "zentral-list": page["results"],
    }


_DOCUMENTS = list(documents().values())
