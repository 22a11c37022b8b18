"""The dashboard's style, script and icon, and where a page finds them.

The address holds a part of the content's hash, so that a browser may keep a file for ever and
still gets the new one after an upgrade.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from types import MappingProxyType

MEDIA_TYPES: Mapping[str, str] = MappingProxyType(
    {
        "dashboard.css": "text/css; charset=utf-8",
        "dashboard.js": "text/javascript; charset=utf-8",
        "icon.svg": "image/svg+xml",
    }
)
"""Every file there is; nothing else is ever read."""


@dataclass(frozen=True, slots=True)
class AssetFile:
    """A file: its content, and the part of its hash that is in its address."""

    content: bytes
    digest: str


@cache
def asset_file(name: str) -> AssetFile:
    """One of ``MEDIA_TYPES``. Raises ``KeyError`` for any other name."""
    MEDIA_TYPES[name]
    content = files("lifecycle.serve.dashboard").joinpath("assets", name).read_bytes()
    return AssetFile(content, hashlib.sha256(content).hexdigest()[:16])


def address_of_asset(name: str) -> str:
    """Where a page finds the file."""
    return f"/assets/{asset_file(name).digest}/{name}"
