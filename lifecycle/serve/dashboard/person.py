"""Who somebody is by what the OIDC provider says, and what they may do. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from lifecycle.config import OidcSection
from lifecycle.vendor.users import Role

_LONGEST_NAME = 150


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody who has signed in at the provider.

    Attributes:
        name: as the audit log is to call them; has an ``@``, and so is no local user's.
        subject: the provider's own, lasting name for them.
        role: None: they may not come in.
    """

    name: str
    subject: str
    role: Role | None


def person_of(claims: Mapping[str, Any], section: OidcSection) -> Person:
    """The person that these claims (of a checked ID token) are about."""
    subject = str(claims["sub"])
    name = _name(claims) or subject
    if "@" not in name:
        name = f"{name}@{urlsplit(section.issuer or '').hostname or 'oidc'}"
    return Person(name[:_LONGEST_NAME], subject, role_of(values_of(claims, section), section))


def _name(claims: Mapping[str, Any]) -> str:
    for claim in ("preferred_username", "email"):
        said = claims.get(claim)
        if claim == "email" and claims.get("email_verified") is False:
            continue  # the provider does not vouch for it
        if isinstance(said, str) and said.strip() and said.isprintable():
            return said.strip()
    return ""


def values_of(claims: Mapping[str, Any], section: OidcSection) -> frozenset[str]:
    """The values of the claim that says what somebody may do.

    A name with dots leads into objects (Keycloak's ``realm_access.roles``), unless there is a
    claim of just that name.
    """
    found: Any = claims.get(section.roles_claim)
    if found is None:
        found = claims
        for part in section.roles_claim.split("."):
            found = found.get(part) if isinstance(found, Mapping) else None
    if isinstance(found, str):
        return frozenset({found})
    if isinstance(found, list):
        return frozenset(value for value in found if isinstance(value, str))
    return frozenset()


def role_of(values: frozenset[str], section: OidcSection) -> Role | None:
    """The highest role that one of the values gives; None: none gives any."""
    if values & frozenset(section.operators):
        return Role.OPERATOR
    return Role.VIEWER if values & frozenset(section.viewers) else None
