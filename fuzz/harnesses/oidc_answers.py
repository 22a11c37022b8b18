"""What an OpenID Connect provider says of itself and of people."""

from __future__ import annotations

import httpx

from fuzz.harness import refusals
from fuzz.twist import TWISTED, as_seeds, twisted
from lifecycle.config import OidcSection
from lifecycle.errors import Unavailable
from lifecycle.serve.dashboard.person import person_of
from lifecycle.serve.dashboard.provider import Provider, read_document

PARSERS = (
    "lifecycle.serve.dashboard.provider.read_document",
    "lifecycle.serve.dashboard.provider.Provider.discovered",
    "lifecycle.serve.dashboard.person.person_of",
    "lifecycle.serve.dashboard.person.values_of",
)
WEIGHT = 3
_SECTION = OidcSection(
    issuer="https://id.example",
    client_id="c",
    roles_claim="realm_access.roles",
    viewers=("v",),
    operators=("o",),
)


def one(data: bytes) -> None:
    """A document, a person, or ``Unavailable``."""
    if data.startswith(TWISTED):
        data = twisted(data[1:], _DOCUMENTS)
    with refusals(Unavailable):
        Provider(_SECTION, "https://ops.example/return", None, True).discovered(
            httpx.Response(200, content=data)
        )
    found = read_document(data)
    if found is not None and isinstance(found.get("sub"), str):
        person = person_of(found, _SECTION)
        assert "@" in person.name or len(person.name) == 150


def seeds() -> dict[str, bytes]:
    """Metadata, claims, somebody else's metadata."""
    return as_seeds(documents())


def documents() -> dict[str, object]:
    """By name."""
    return {
        "metadata": {
            "issuer": "https://id.example",
            "token_endpoint": "https://id.example/t",
            "jwks_uri": "https://id.example/j",
        },
        "other": {"issuer": "https://evil.example"},
        "claims": {
            "sub": "1",
            "email": "a@b.c",
            "email_verified": True,
            "realm_access": {"roles": ["o", 1]},
        },
        "flat": {"sub": "1", "preferred_username": "x", "realm_access.roles": "v"},
    }


_DOCUMENTS = list(documents().values())
