"""The link over the network: an instance's side. Outbound HTTPS only.

Every call is safe to repeat (``VendorLink``), so a broken connection is tried again, a few times
with growing, random waits, before it counts as ``Unavailable``.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

import certifi
import httpx
from pydantic import TypeAdapter, ValidationError
from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_random_exponential

from lifecycle.clock import Clock
from lifecycle.errors import Unavailable, refuse
from lifecycle.wire.enrolment import Enrolment, EnrolmentReceipt, KeyChange, KeyReceipt
from lifecycle.wire.messages import (
    AnyReport,
    CertificateReceipt,
    CertificateSubmission,
    CsrSubmission,
    Message,
    Report,
    Work,
)
from lifecycle.wire.problems import Problem, as_error
from lifecycle.wire.signatures import RequestSigner
from lifecycle.wire.vendors_time import VendorsTime

M = TypeVar("M", bound=Message)
MAX_ANSWER = 4 * 1024 * 1024
"""No answer is anywhere near this size."""
ATTEMPTS = 3
_LONGEST_WAIT = 5.0
_REPORT: TypeAdapter[AnyReport] = TypeAdapter(Report)


def open_client(
    url: str,
    *,
    ca_file: Path | None = None,
    proxy: str | None = None,
    timeout: float = 30.0,
    version: str = "",
) -> httpx.Client:
    """A client for one vendor's server.

    Args:
        url: where it is; a path may stand before ``/v1``.
        ca_file: trust these CAs for it and no others; None: the public ones.
        proxy: an HTTP or HTTPS proxy to go through. The environment's does not count.
        timeout: seconds without a sign of life.
        version: of pushcert, told to the vendor.

    Raises:
        Refused: ``vendor_url_insecure``: plain HTTP to anything but this machine;
            ``vendor_ca_unreadable``; ``vendor_proxy_malformed``, without repeating the URL: it
            may hold a password.
    """
    parts = urlsplit(url)
    if parts.scheme != "https" and parts.hostname not in ("127.0.0.1", "::1", "localhost"):
        raise refuse(
            "vendor_url_insecure",
            f"{url} is not https, so anybody on the way could answer for the vendor.",
            "Ask your vendor for the https address.",
        )
    if proxy is not None and not _is_proxy(proxy):
        raise refuse(
            "vendor_proxy_malformed",
            "The proxy for the way to the vendor is not a URL of the form http://host:port.",
            "Mend instance.proxy in config.toml.",
        )
    try:
        trusted = ssl.create_default_context(cafile=str(ca_file or certifi.where()))
    except (OSError, ssl.SSLError):
        raise refuse(
            "vendor_ca_unreadable",
            f"{ca_file} is no file with CA certificates in PEM.",
            "Mend instance.ca_file in config.toml.",
        ) from None
    return httpx.Client(
        base_url=url.rstrip("/"),
        verify=trusted,
        proxy=proxy,
        timeout=timeout,
        trust_env=False,
        headers={"User-Agent": f"pushcert/{version}".rstrip("/")},
    )


class HttpLink:
    """A ``VendorLink`` over HTTP.

    Args:
        client: from ``open_client``; the caller closes it.
        clock: the instance's; what the vendor says about the time corrects it. Share a
            ``VendorsTime`` between links, so that each need not learn it anew.
        signer: the instance's credential; None before it is enrolled.
        sleep: waits between attempts, seconds.
    """

    def __init__(
        self,
        client: httpx.Client,
        clock: Clock,
        signer: RequestSigner | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._client = client
        self._time = clock if isinstance(clock, VendorsTime) else VendorsTime(clock)
        self._signer = signer
        self._sleep = sleep

    def work(self) -> Work:
        """See ``VendorLink.work``."""
        work = _parsed(Work, self._ask("GET", "/v1/work"))
        if work.vendor_time is not None:
            self._time.learn(work.vendor_time)
        return work

    def submit_csr(self, submission: CsrSubmission) -> None:
        """See ``VendorLink.submit_csr``."""
        _taken(self._ask("POST", "/v1/csr", submission.model_dump_json().encode()))

    def submit_certificate(self, submission: CertificateSubmission) -> CertificateReceipt:
        """See ``VendorLink.submit_certificate``."""
        answer = self._ask("POST", "/v1/certificate", submission.model_dump_json().encode())
        return _parsed(CertificateReceipt, answer)

    def report(self, report: AnyReport) -> None:
        """See ``VendorLink.report``."""
        _taken(self._ask("POST", "/v1/reports", _REPORT.dump_json(report)))

    def enrol(self, enrolment: Enrolment) -> EnrolmentReceipt:
        """Makes this the instance that the code was made for. Needs no credential.

        Raises:
            Refused: the code or a key is not good. Unavailable.
        """
        answer = self._ask("POST", "/v1/enrolment", enrolment.model_dump_json().encode())
        return _parsed(EnrolmentReceipt, answer)

    def change_keys(self, change: KeyChange) -> KeyReceipt:
        """Puts new keys in the place of the ones that sign. Raises ``Refused``, ``Unavailable``."""
        answer = self._ask("POST", "/v1/credential", change.model_dump_json().encode())
        return _parsed(KeyReceipt, answer)

    def _ask(self, method: str, path: str, body: bytes = b"") -> bytes:
        answer = self._sent(method, path, body)
        if answer.is_success:
            return answer.content
        said = _problem(answer)
        if said is not None and said.code == "clock_skew" and said.vendor_time is not None:
            self._time.learn(said.vendor_time)
            answer = self._sent(method, path, body)
            if answer.is_success:
                return answer.content
            said = _problem(answer)
        if said is None:
            raise Unavailable(
                f"The vendor's server answered {answer.status_code} and nothing that pushcert"
                " understands.",
                "Check that instance.vendor in config.toml is the address of its `pushcert serve`.",
            )
        raise as_error(said)

    def _sent(self, method: str, path: str, body: bytes) -> httpx.Response:
        attempts = Retrying(
            stop=stop_after_attempt(ATTEMPTS),
            wait=wait_random_exponential(multiplier=0.2, max=_LONGEST_WAIT),
            retry=retry_if_exception(_may_pass),
            sleep=self._sleep,
            reraise=True,
        )
        try:
            return attempts(self._send, method, path, body)
        except httpx.ProxyError as fault:
            raise Unavailable(
                f"The proxy does not let pushcert through to the vendor's server at"
                f" {self._client.base_url} ({_cause(fault)}).",
                "Check instance.proxy in config.toml, with its user and password, and that the"
                " proxy allows this address.",
            ) from None
        except httpx.TransportError as fault:
            raise Unavailable(
                f"The vendor's server at {self._client.base_url} cannot be reached"
                f" ({_cause(fault)}).",
                "Check the network, the proxy and the address; it is tried again.",
            ) from None

    def _send(self, method: str, path: str, body: bytes) -> httpx.Response:
        headers = {"Content-Type": "application/json"} if body else {}
        if self._signer is not None:
            headers["Authorization"] = self._signer.sign(method, path, body, self._time.now())
        with self._client.stream(method, path, content=body or None, headers=headers) as answer:
            content = bytearray()
            for part in answer.iter_bytes():
                content += part
                if len(content) > MAX_ANSWER:
                    raise httpx.ReadError("an endless answer")
        return httpx.Response(answer.status_code, headers=_kind(answer), content=bytes(content))


def _may_pass(fault: BaseException) -> bool:
    """Whether another try may fare better; what a proxy forbids (4xx) stays forbidden."""
    if isinstance(fault, httpx.ProxyError):
        return not str(fault).startswith("4")
    return isinstance(fault, httpx.TransportError)


def _is_proxy(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _kind(answer: httpx.Response) -> dict[str, str]:
    return {"Content-Type": answer.headers.get("Content-Type", "")}


def _problem(answer: httpx.Response) -> Problem | None:
    try:
        return Problem.model_validate_json(answer.content)
    except ValidationError:
        return None


def _taken(content: bytes) -> None:
    """The server says nothing when it has taken something in; a captive portal has a page."""
    if content:
        raise _not_understood()


def _parsed(kind: type[M], content: bytes) -> M:
    try:
        # A vendor's server that is newer may say more than is understood here.
        return kind.model_validate_json(content, extra="ignore")
    except ValidationError:
        raise _not_understood() from None


def _not_understood() -> Unavailable:
    return Unavailable(
        "The vendor's server sent an answer that this pushcert does not understand.",
        "See whether something on the way answers in its place; else upgrade pushcert here or"
        " there: both ends must know the same messages.",
    )


def _cause(fault: httpx.TransportError) -> str:
    # httpx's own words for a proxy or TLS fault; never a header, never a body.
    return str(fault) or type(fault).__name__
