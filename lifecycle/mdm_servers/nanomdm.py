"""NanoMDM's API for push certificates: ``PUT`` and ``GET /v1/pushcert`` (FACTS.md).

It keeps one pair for each topic. The body of the ``PUT`` is PEM, the certificate and the
unencrypted key; of several certificates in it NanoMDM keeps the last, so the chain stays out.
"""

from __future__ import annotations

from collections.abc import Callable

from lifecycle.mdm_servers.server import Answer, Basic, MdmServer, Reach, instant
from lifecycle.mdm_servers.server_certificate import ServerCertificate

USER = "nanomdm"
PATH = "/v1/pushcert"
_READS_NONE = "find any PEM data"
"""What a NanoMDM from before ``GET`` answers to one: it takes it for an upload without a body."""


class NanoMdm:
    """A NanoMDM server.

    Args:
        reach: how it is reached; the path of its base URL is kept.
        secret: gives the API key (NanoMDM's ``-api``).
    """

    def __init__(self, reach: Reach, secret: Callable[[], bytes]) -> None:
        self._server = MdmServer(reach, Basic(USER, secret))

    def put(self, pem: bytes) -> ServerCertificate:
        """Hands over certificate and key; what the server says that it stored.

        Raises:
            Refused: as ``MdmServer.ask``, and ``mdm_server_answer_wrong``.
            Unavailable: no answer, or a 5xx.
        """
        answer = self._server.ask("PUT", PATH, body=pem)
        return self._certificate(answer)

    def get(self, topic: str) -> ServerCertificate | None:
        """The certificate that the server has for a topic; None where it cannot say (an older
        NanoMDM).

        Raises: as ``put``; a topic that is not there is a 5xx of this server.
        """
        answer = self._server.ask("GET", PATH, parameters={"topic": topic})
        if answer.status == 405 or (answer.status >= 500 and _READS_NONE in answer.words):
            return None
        return self._certificate(answer)

    def _certificate(self, answer: Answer) -> ServerCertificate:
        if answer.status >= 500:
            raise self._server.failing(answer)
        document = answer.document if isinstance(answer.document, dict) else {}
        topic, not_after = document.get("topic"), instant(document.get("not_after"))
        if answer.status != 200 or not isinstance(topic, str) or not_after is None:
            raise self._server.answer_wrong(f"{answer.status} without topic and not_after")
        return ServerCertificate(topic, not_after)
