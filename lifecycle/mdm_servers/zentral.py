"""Zentral's API for push certificates: ``GET /api/mdm/push_certificates/``.

It can be read and not written: to ``POST`` and ``PUT`` Zentral answers 405, and its own tests hold
that (zentralopensource/zentral, tests/mdm/test_api_push_certificates_views.py). Certificate and key
are uploaded on its pages, under MDM, Push certificates. Times are UTC without a zone. The list is
paged in later versions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lifecycle.mdm_servers.server import MdmServer, Reach, Token, instant
from lifecycle.mdm_servers.server_certificate import ServerCertificate

PATH = "/api/mdm/push_certificates/"
PAGE = 100
MAX_CERTIFICATES = 10_000


class Zentral:
    """A Zentral server.

    Args:
        reach: how it is reached; the path of its base URL is kept.
        secret: gives an API token whose user may view push certificates.
    """

    def __init__(self, reach: Reach, secret: Callable[[], bytes]) -> None:
        self._server = MdmServer(reach, Token(secret))

    @property
    def host(self) -> str:
        """Host and port, for people."""
        return self._server.host

    def certificates(self) -> list[ServerCertificate]:
        """Every push certificate of the server that has been uploaded.

        Raises:
            Refused: as ``MdmServer.ask``, and ``mdm_server_answer_wrong``.
            Unavailable: no answer, or a 5xx.
        """
        entries: list[dict[str, Any]] = []
        while True:
            page, more = self._page(len(entries))
            entries += page
            if not more or not page or len(entries) >= MAX_CERTIFICATES:
                return [found for one in entries if (found := _certificate(one)) is not None]

    def _page(self, offset: int) -> tuple[list[dict[str, Any]], bool]:
        parameters = {"limit": str(PAGE), "offset": str(offset)}
        answer = self._server.ask("GET", PATH, parameters=parameters)
        if answer.status >= 500:
            raise self._server.failing(answer)
        document = answer.document
        more = isinstance(document, dict) and bool(document.get("next"))
        entries = document.get("results") if isinstance(document, dict) else document
        if answer.status != 200 or not isinstance(entries, list):
            raise self._server.answer_wrong(f"{answer.status} without a list of certificates")
        return [one for one in entries if isinstance(one, dict)], more


def _certificate(entry: dict[str, Any]) -> ServerCertificate | None:
    topic, not_after = entry.get("topic"), instant(entry.get("not_after"))
    if not isinstance(topic, str) or not_after is None:
        return None  # made in Zentral, and nothing has been uploaded to it yet
    name, pem = entry.get("name"), entry.get("certificate")
    return ServerCertificate(
        topic,
        not_after,
        name if isinstance(name, str) else "",
        pem if isinstance(pem, str) and pem.startswith("-----BEGIN CERTIFICATE-----") else None,
    )
