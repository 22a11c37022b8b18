"""What an MDM server says of a push certificate that it has."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True)
class ServerCertificate:
    """A push certificate as an MDM server names it.

    Attributes:
        topic: of the certificate.
        not_after: when it ends; aware UTC.
        name: what the server calls it, if it has names.
        pem: the certificate, if the server gives it.
    """

    topic: str
    not_after: datetime
    name: str = ""
    pem: str | None = None
