"""What stands before every request: the mount prefix, whose host is asked, where a form is from.

The page has no sign-in of its own: it is reached from the machine itself, or through the MDM's
login. What is left to fend off is other people's web pages in the same browser.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse, RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_PREFIX = re.compile(r"(?:/[A-Za-z0-9._~-]+)+")
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+)(?::\d{1,5})?")
POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self';"
    " form-action 'self'; base-uri 'none'; frame-ancestors 'self'"
)
HEADERS = (
    ("content-security-policy", POLICY),
    ("x-content-type-options", "nosniff"),
    # The same origin only, and not none at all: browsers then send a form with "Origin: null".
    ("referrer-policy", "same-origin"),
    ("x-frame-options", "SAMEORIGIN"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
    ("permissions-policy", "camera=(), geolocation=(), microphone=()"),
)


@dataclass(frozen=True, slots=True)
class Doorkeeper:
    """Who may ask, by which name.

    Attributes:
        public: the address that people see, without a slash at its end; None: there is none.
        proxies: networks whose ``X-Forwarded-Prefix`` counts.
    """

    public: str | None
    proxies: tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...] = ()

    @classmethod
    def of(cls, public_url: str | None, trusted_proxies: Iterable[str]) -> Doorkeeper:
        """From the configuration.

        Raises:
            ValueError: a proxy is neither an address nor a network.
        """
        public = None if public_url is None else public_url.rstrip("/")
        return cls(public, tuple(ipaddress.ip_network(proxy) for proxy in trusted_proxies))

    def prefix(self, peer: str | None, forwarded: str | None) -> str:
        """The path that the page is mounted under, for links; empty at the top."""
        if forwarded is not None and self._trusts(peer):
            path = forwarded.rstrip("/")
            if _PREFIX.fullmatch(path) and ".." not in path.split("/"):
                return path
        return "" if self.public is None else urlsplit(self.public).path

    def knows(self, host: str | None) -> bool:
        """Whether the page is called by a name of its own.

        A name of somebody else's that leads here would make this page part of their site (DNS
        rebinding). An address cannot be rebound, so any will do.
        """
        name = _name_in(host or "")
        if name is None:
            return False
        if name in LOOPBACK or _is_address(name):
            return True
        return self.public is not None and name == (urlsplit(self.public).hostname or "").lower()

    def accepts_form(self, headers: Headers) -> bool:
        """Whether a form was sent from this page, as far as the browser says."""
        site = headers.get("sec-fetch-site")
        if site is not None:
            return site == "same-origin"
        origin = headers.get("origin")
        if origin is None:
            return True  # an old browser, or none: the form's token decides
        try:
            netloc = urlsplit(origin).netloc.lower()
        except ValueError:
            return False  # no browser sends an origin that cannot be taken apart
        return netloc == headers.get("host", "").lower() or (
            self.public is not None and _origin_of(self.public) == origin.lower()
        )

    @property
    def is_secure(self) -> bool:
        """Whether people reach the page by HTTPS alone."""
        return self.public is not None and self.public.startswith("https://")

    def _trusts(self, peer: str | None) -> bool:
        try:
            address = ipaddress.ip_address(peer or "")
        except ValueError:
            return False
        return any(address in network for network in self.proxies)


class Guard:
    """Stands before the application, and puts the security headers on every answer.

    Args:
        app: the application.
        door: says who may ask.
    """

    def __init__(self, app: ASGIApp, door: Doorkeeper) -> None:
        self._app = app
        self._door = door

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        peer = scope["client"][0] if scope.get("client") else None
        prefix = self._door.prefix(peer, headers.get("x-forwarded-prefix"))

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                ours = [(name.encode(), value.encode()) for name, value in HEADERS]
                message["headers"] = [*message["headers"], *ours]
            await send(message)

        answer: ASGIApp = self._app
        if not self._door.knows(headers.get("host")):
            answer = PlainTextResponse("This page is not known by that name.\n", status_code=421)
        elif scope["path"] in ("", prefix) and prefix:
            answer = RedirectResponse(f"{prefix}/", status_code=308)
        # A proxy may leave the prefix on the path or take it off: routes are found either way.
        await answer({**scope, "root_path": prefix}, receive, send_guarded)


def _name_in(host: str) -> str | None:
    found = _HOST.fullmatch(host)
    return None if found is None else found[1].strip("[]").lower()


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _origin_of(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}".lower()
