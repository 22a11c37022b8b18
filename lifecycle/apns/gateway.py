"""Where pushes go."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Gateway:
    """APNs, or the lab's stand-in. MDM has no sandbox: there is one production host.

    Attributes:
        host, port: APNs answers at 443 and, for networks that block it, at 2197.
        ca_file: roots to trust instead of the system's (PEM).
        proxy: URL of an HTTPS proxy to go through.
    """

    host: str = "api.push.apple.com"
    port: int = 443
    ca_file: Path | None = None
    proxy: str | None = None

    @property
    def base_url(self) -> str:
        """What the path of a push is appended to."""
        return f"https://{self.host}:{self.port}"
