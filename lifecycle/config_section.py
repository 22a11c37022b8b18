"""What every table of the configuration is."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field


class Section(BaseModel):
    """A table of the file: immutable, closed to unknown keys."""

    # Built when first used: a command needs few of them, and each takes its time to make.
    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)


Secret = Annotated[str | None, Field(pattern=r"^(env|file|command):.+$")]
"""Where a secret comes from: ``env:NAME``, ``file:PATH`` or ``command:PROGRAM ARGUMENTS``."""


def _can_be_taken_apart(url: str) -> str:
    try:
        parts = urlsplit(url)
        whole = bool(parts.hostname) and parts.port != 0
    except ValueError:
        whole = False
    if not whole or not url.isprintable():
        raise ValueError("an address is written as https://host or https://host:port")
    return url


Url = Annotated[str, AfterValidator(_can_be_taken_apart)]
"""An address with a host in it, and no port that there cannot be."""
