"""Where pushes go, and whom to trust there."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from lifecycle.apns.addresses import Addresses
from lifecycle.apns.tls import ClientTls
from lifecycle.errors import refuse


@dataclass(frozen=True, slots=True)
class Gateway:
    """APNs, or the lab's stand-in. MDM has no sandbox: there is one production host.

    Make one for a process and share it, between threads too: it holds the trusted roots, whose
    loading is most of what a new connection costs.

    Attributes:
        host, port: APNs answers at 443 and, for networks that block it, at 2197.
        ca_file: roots to trust instead of the public ones (PEM).
        proxy: URL of an HTTP proxy to go through (``http://`` or ``https://``, with
            ``user:password@`` if it asks for them). Never taken from the environment: where
            pushes go must not depend on who started the process.

    Raises:
        Refused: ``apns_proxy_malformed``; the URL is not repeated, it may hold a password.
    """

    host: str = "api.push.apple.com"
    port: int = 443
    ca_file: Path | None = None
    proxy: str | None = field(default=None, repr=False)
    tls: ClientTls = field(init=False, repr=False, compare=False)
    addresses: Addresses = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.proxy is not None and not _is_proxy(self.proxy):
            raise refuse(
                "apns_proxy_malformed",
                "The proxy for APNs is not a URL of the form http://host:port.",
                "Mend apns.proxy in config.toml.",
            )
        object.__setattr__(self, "tls", ClientTls(self.host, self.ca_file))
        object.__setattr__(self, "addresses", Addresses(self.host, self.port))

    @property
    def base_url(self) -> str:
        """What the path of a push is appended to."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"https://{host}:{self.port}"


def _is_proxy(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
