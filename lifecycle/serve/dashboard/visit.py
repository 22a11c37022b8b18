"""One request to the dashboard: who asks, when, over what, and of which deployment."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated

from fastapi import Depends, Request

from lifecycle.config import Config
from lifecycle.serve.dashboard.client import address_of, is_encrypted
from lifecycle.serve.dashboard.cookies import session_cookie
from lifecycle.serve.dashboard.provider import Provider
from lifecycle.serve.served import Served
from lifecycle.vendor import sessions
from lifecycle.vendor.sessions import SignedIn
from lifecycle.vendor.users import Passwords, Role


@dataclass(frozen=True, slots=True)
class Desk:
    """What the dashboard's pages work with.

    Attributes:
        provider: the OIDC provider; None: there is none.
    """

    served: Served
    passwords: Passwords
    provider: Provider | None


@dataclass(frozen=True, slots=True)
class Visit:
    """One request.

    Attributes:
        address: the client's.
        encrypted: the browser speaks TLS.
        signed_in: who it is; None: nobody that we know.
    """

    request: Request
    desk: Desk
    now: datetime
    address: str
    encrypted: bool
    signed_in: SignedIn | None

    @property
    def served(self) -> Served:
        """The deployment."""
        return self.desk.served

    @property
    def config(self) -> Config:
        """The deployment's configuration."""
        return self.desk.served.config

    @property
    def may_act(self) -> bool:
        """Whether whoever asks may carry out actions."""
        return self.signed_in is not None and self.signed_in.role is Role.OPERATOR

    @property
    def actor(self) -> str:
        """Who asks, for the audit log; only for routes that somebody must be signed in for."""
        if self.signed_in is None:
            raise TypeError("nobody is signed in")
        return self.signed_in.actor


def desk_of(request: Request) -> Desk:
    """What the application was put together with."""
    desk = request.app.state.dashboard
    if not isinstance(desk, Desk):
        raise TypeError("the application has no dashboard")
    return desk


def visit_of(request: Request) -> Visit:
    """The visit that a request is; one look into the registry where there is a session cookie."""
    desk = desk_of(request)
    section, now = desk.served.config.serve, desk.served.clock.now()
    encrypted = is_encrypted(request, section)
    token = session_cookie(request, encrypted=encrypted)
    signed_in = None
    if token:
        with desk.served.database.reading() as session:
            signed_in = sessions.find(session, token, now)
    return Visit(request, desk, now, address_of(request, section), encrypted, signed_in)


Visiting = Annotated[Visit, Depends(visit_of)]
