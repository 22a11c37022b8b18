"""MicroMDM's API for its push certificate: ``PUT`` and ``GET /v1/config/certificate``.

JSON with Base64 in it (``cert``, ``key``), as ``mdmctl mdmcert upload`` sends it. The server has
one pair. It stores what it is given without a look, and reads the key as PKCS#1 and nothing else:
a key in PKCS#8 is accepted and breaks every push. What it has is therefore read back; it then
gives the certificate as DER (its source, platform/config).
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable

from lifecycle.errors import Refused
from lifecycle.mdm_servers.server import Basic, MdmServer, Reach
from lifecycle.mdm_servers.server_certificate import ServerCertificate
from lifecycle.pki.upload import read_upload

USER = "micromdm"
PATH = "/v1/config/certificate"


class MicroMdm:
    """A MicroMDM server.

    Args:
        reach: how it is reached; the path of its base URL is kept.
        secret: gives the API key (MicroMDM's ``-api-key``).
    """

    def __init__(self, reach: Reach, secret: Callable[[], bytes]) -> None:
        self._server = MdmServer(reach, Basic(USER, secret))

    def put(self, certificate: bytes, key: bytes) -> None:
        """Hands over certificate and key.

        Args:
            certificate: PEM.
            key: PEM, PKCS#1, not encrypted.

        Raises:
            Refused: as ``MdmServer.ask``, and ``mdm_server_answer_wrong``.
            Unavailable: no answer, or a 5xx.
        """
        pair = {name: base64.b64encode(data).decode() for name, data in
                (("cert", certificate), ("key", key))}  # fmt: skip
        answer = self._server.ask(
            "PUT", PATH, body=json.dumps(pair).encode(), content_type="application/json"
        )
        if answer.status >= 500:
            raise self._server.failing(answer)
        if answer.status != 200 or not isinstance(answer.document, dict):
            raise self._server.answer_wrong(f"{answer.status} to a certificate")

    def get(self) -> ServerCertificate:
        """The certificate that the server pushes with. Raises as ``put``."""
        answer = self._server.ask("GET", PATH)
        if answer.status >= 500:
            raise self._server.failing(answer)
        given = answer.document.get("cert") if isinstance(answer.document, dict) else None
        if answer.status != 200 or not isinstance(given, str):
            raise self._server.answer_wrong(f"{answer.status} without a certificate")
        try:
            found = read_upload(base64.b64decode(given, validate=True)).certificate
        except (Refused, ValueError):  # ValueError: no Base64
            raise self._server.answer_wrong("what it has is no push certificate") from None
        return ServerCertificate(str(found.topic), found.not_after, pem=found.pem)
