"""HTTP to an MDM server's API: one request, one answer, and every fault with a name.

No redirect is followed and no proxy of the environment used: what is sent may be a private key.
What a server says is quoted only where it cannot be an echo of what it was sent.
"""

from __future__ import annotations

import base64
import ipaddress
import json
import re
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

from lifecycle.errors import Refused, Unavailable, refuse

MAX_ANSWER_BYTES = 4 * 1024 * 1024
_MAX_QUOTED = 160
_LONG_RUN = re.compile(r"[A-Za-z0-9+/=]{20,}")
"""No sentence has a word like this; keys, tokens and certificates have little else."""


class ServerDown(Unavailable):
    """An MDM server cannot be reached just now."""

    code = "mdm_server_down"


class ServerFailing(Unavailable):
    """An MDM server was reached and could not do its work (a 5xx)."""

    code = "mdm_server_failing"


@dataclass(frozen=True)
class Basic:
    """HTTP basic authentication. ``secret`` is asked for it anew with each request."""

    user: str
    secret: Callable[[], bytes] = field(repr=False)

    def header(self) -> tuple[str, bytes]:
        """The header's value, and the secret in it."""
        secret = self.secret()
        return "Basic " + base64.b64encode(self.user.encode() + b":" + secret).decode(), secret


@dataclass(frozen=True)
class Token:
    """A token in the ``Authorization`` header, as Django REST framework has it."""

    secret: Callable[[], bytes] = field(repr=False)

    def header(self) -> tuple[str, bytes]:
        """The header's value, and the secret in it. Raises ``Refused`` (``mdm_key_unusable``)."""
        secret = self.secret()
        try:
            return "Token " + secret.decode("ascii"), secret
        except UnicodeDecodeError:
            raise refuse(
                "mdm_key_unusable",
                "The API key has characters that no HTTP header can carry.",
                "Check where it is read from.",
            ) from None


@dataclass(frozen=True)
class Answer:
    """What a server answered.

    Attributes:
        status: the HTTP status.
        document: the JSON in it; None if it is none.
        words: the server's own error, where it is fit to be shown.
    """

    status: int
    document: Any
    words: str = ""


@dataclass(frozen=True)
class Reach:
    """How a server is reached.

    Attributes:
        url: its base, e.g. ``https://mdm.example.com``; a path in it is kept.
        ca_file: trust these roots instead of the system's.
        timeout: seconds for each step of a request.
        plain_http: allow ``http:`` to another machine.

    Raises:
        Refused: ``mdm_server_url_malformed``.
    """

    url: str
    ca_file: Path | None = None
    timeout: float = 30.0
    plain_http: bool = False

    def __post_init__(self) -> None:
        try:
            parts = urlsplit(self.url)
            whole = bool(parts.hostname) and parts.port != 0 and self.url.isprintable()
        except ValueError:
            whole = False
        if not whole:
            # Not repeated: there may be a password in it.
            raise refuse(
                "mdm_server_url_malformed",
                "The address of the MDM server is not one of the form https://host or"
                " https://host:port.",
                "Give the URL of its API.",
            )

    @property
    def host(self) -> str:
        """Host and port, for people: without a path, and without what a URL may hide."""
        parts = urlsplit(self.url)
        return parts.hostname or "" if parts.port is None else f"{parts.hostname}:{parts.port}"


class MdmServer:
    """One server's API.

    Args:
        reach: how it is reached.
        authorization: who asks.
    """

    def __init__(self, reach: Reach, authorization: Basic | Token) -> None:
        self._reach = reach
        self._authorization = authorization

    def ask(
        self,
        method: str,
        path: str,
        *,
        body: bytes | None = None,
        content_type: str = "text/plain",
        parameters: Mapping[str, str] | None = None,
    ) -> Answer:
        """One request. An answer of 2xx, 404, 405 or 5xx is given back as it is.

        Raises:
            Refused: ``mdm_server_plain_http``, ``mdm_server_ca_unreadable``,
                ``mdm_server_untrusted``, ``mdm_server_denied`` (401, 403),
                ``mdm_server_redirects``, ``mdm_server_refused`` (another 4xx), or what reading
                the secret raises.
            ServerDown: no answer came.
        """
        self._require_tls()
        authorization, secret = self._authorization.header()
        headers = {"Authorization": authorization, "Accept": "application/json"}
        if body is not None:
            headers["Content-Type"] = content_type
        try:
            with (
                httpx.Client(
                    verify=self._context(),
                    timeout=self._reach.timeout,
                    trust_env=False,
                    follow_redirects=False,
                ) as client,
                client.stream(
                    method,
                    self._reach.url.rstrip("/") + path,
                    content=body,
                    headers=headers,
                    params=parameters,
                ) as response,
            ):
                status, data = response.status_code, _limited(response)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise self._down(error) from None
        answer = read_answer(status, data, secret)
        self._require_use(answer)
        return answer

    @property
    def host(self) -> str:
        """See ``Reach.host``."""
        return self._reach.host

    def failing(self, answer: Answer) -> ServerFailing:
        """The error for an answer of 5xx."""
        said = f": {answer.words}" if answer.words else ""
        return ServerFailing(
            f"{self.host} answered {answer.status}{said}.",
            "It is asked again by itself; see the server's log if it goes on.",
        )

    def answer_wrong(self, what: str) -> Refused:
        """The refusal of an answer that is none of this API's."""
        return refuse(
            "mdm_server_answer_wrong",
            f"{self.host} gave an answer that does not fit: {what}.",
            "Check that the URL is that of the MDM server's API, and its version.",
        )

    def _require_tls(self) -> None:
        if urlsplit(self._reach.url).scheme == "https" or self._reach.plain_http:
            return
        if not _is_this_machine(urlsplit(self._reach.url).hostname or ""):
            raise refuse(
                "mdm_server_plain_http",
                f"{self.host} is another machine, and the private key would go to it unencrypted.",
                "Give an https: URL, or set plain_http = true if that network is yours alone.",
            )

    def _context(self) -> ssl.SSLContext:
        try:
            return ssl.create_default_context(cafile=self._reach.ca_file)
        except OSError as error:
            raise refuse(
                "mdm_server_ca_unreadable",
                f"The CA file {self._reach.ca_file} cannot be used"
                f" ({error.strerror or 'it is not PEM'}).",
                "Name a PEM file with the CA certificates to trust.",
            ) from None

    def _down(self, error: Exception) -> Refused | ServerDown:
        cause: BaseException | None = error
        while cause is not None:
            if isinstance(cause, ssl.SSLCertVerificationError):
                return refuse(
                    "mdm_server_untrusted",
                    f"The TLS certificate of {self.host} is not trusted"
                    f" ({cause.verify_message.rstrip('.')}).",
                    "Name its CA with ca_file, or mend the server's certificate.",
                )
            cause = cause.__cause__ or cause.__context__
        return ServerDown(
            f"{self.host} gave no answer ({type(error).__name__}).",
            "Check that it is running and can be reached from here.",
        )

    def _require_use(self, answer: Answer) -> None:
        status = answer.status
        if status in (401, 403):
            raise refuse(
                "mdm_server_denied",
                f"{self.host} does not accept the API key (it answered {status}).",
                "Check where the key is read from, and what it may do on the server.",
            )
        if 300 <= status < 400:
            raise refuse(
                "mdm_server_redirects",
                f"{self.host} sends us elsewhere (it answered {status}); a key is not sent after.",
                "Give the URL that the server itself uses.",
            )
        if 400 <= status < 500 and status not in (404, 405):
            said = f": {answer.words}" if answer.words else ""
            raise refuse(
                "mdm_server_refused",
                f"{self.host} refused the request (it answered {status}{said}).",
                "See the server's log for the reason.",
            )


def instant(text: object) -> datetime | None:
    """An ISO 8601 time; one without a zone is UTC. None if it is none."""
    if not isinstance(text, str):
        return None
    try:
        moment = datetime.fromisoformat(text)
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):  # OverflowError: before the year 1 in UTC, or after 9999
        return None


def _limited(response: httpx.Response) -> bytes:
    data = b""
    for part in response.iter_bytes():
        data += part
        if len(data) > MAX_ANSWER_BYTES:
            return b""
    return data


def read_answer(status: int, data: bytes, secret: bytes) -> Answer:
    """An answer, taken apart.

    Args:
        status: of HTTP.
        data: the body.
        secret: what was sent and must not be quoted.
    """
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        return Answer(status, None)
    said = document.get("error", document.get("detail")) if isinstance(document, dict) else None
    return Answer(status, document, _quotable(said, secret) if isinstance(said, str) else "")


def _quotable(said: str, secret: bytes) -> str:
    words = " ".join(said.split())
    echo = "-----" in words or _LONG_RUN.search(words) or secret.decode(errors="replace") in words
    if echo or not words.isprintable():
        return ""
    return words[:_MAX_QUOTED].rstrip(".")


def _is_this_machine(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
