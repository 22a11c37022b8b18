"""Whom a request speaks for: taken from its signature, never from its body or its address."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from fastapi import Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.routing import APIRoute

from lifecycle.errors import Finding, Refused
from lifecycle.serve.problems import NotAuthenticated
from lifecycle.serve.served import Served
from lifecycle.vendor.credentials import Bearer, bearer, note_seen
from lifecycle.wire.signatures import SignatureRejected, check, claimed_credential

_AGENT = "pushcert/"
_CALLER = "pushcert.caller"
"""In the ASGI scope, which is of one request alone (``state`` may be shared)."""


@dataclass(frozen=True, slots=True)
class Caller:
    """A request whose signature is right.

    Attributes:
        bearer: the credential and the customer it speaks for.
        body: the bytes that were signed.
    """

    bearer: Bearer
    body: bytes


def served_by(request: Request) -> Served:
    """The deployment that this application serves."""
    served = request.app.state.served
    if not isinstance(served, Served):
        raise TypeError("the application was built without a deployment")
    return served


async def authenticated(request: Request) -> Caller:
    """Checks the signature of a request (``lifecycle.wire.signatures``).

    Raises:
        NotAuthenticated: it proves nothing; the finding says why.
    """
    known = request.scope.get(_CALLER)
    if isinstance(known, Caller):
        return known
    served = served_by(request)
    body = await request.body()
    try:
        credential_id, token = claimed_credential(request.headers.get("Authorization"))
        found = await run_in_threadpool(_bearer, served, credential_id)
        check(
            token,
            found.public_key,
            request.method,
            _path(request),
            body,
            served.clock.now(),
        )
    except SignatureRejected as rejected:
        raise NotAuthenticated(_FINDINGS[rejected.code]) from None
    except Refused as refused:
        raise NotAuthenticated(refused.findings[0]) from None
    if found.note_now:
        version = _version(request.headers.get("User-Agent", ""))
        await run_in_threadpool(_note, served, credential_id, version)
    return Caller(found, body)


class SignedFirst(APIRoute):
    """A route whose request's signature is checked before its body is parsed.

    FastAPI parses a body before it asks the dependencies: anybody could have JSON taken apart
    that takes 25 times its size in memory.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """See ``APIRoute.get_route_handler``."""
        handle = super().get_route_handler()
        if not any(needed.call is authenticated for needed in self.dependant.dependencies):
            return handle

        async def signed(request: Request) -> Response:
            request.scope[_CALLER] = await authenticated(request)
            return await handle(request)

        return signed


def _bearer(served: Served, credential_id: str) -> Bearer:
    with served.database.reading() as session:
        return bearer(session, credential_id, served.clock.now())


def _note(served: Served, credential_id: str, version: str | None) -> None:
    with served.database.transaction() as session:
        note_seen(session, credential_id, version, served.clock.now())


def _path(request: Request) -> str:
    """From ``/v1`` on: what a proxy has put before it was not signed."""
    root = str(request.scope.get("root_path", ""))
    return str(request.scope["path"]).removeprefix(root)


def _version(agent: str) -> str | None:
    if not agent.startswith(_AGENT):
        return None
    said = agent.removeprefix(_AGENT).split(" ", 1)[0][:64]
    return said if said.isascii() and said.isprintable() else None


_FINDINGS = {
    "signature_missing": Finding(
        "signature_missing",
        "The request is not signed by an instance.",
        "Enrol the instance with `pushcert instance init`.",
    ),
    "signature_malformed": Finding(
        "signature_malformed",
        "The signature of the request is not in the form that instances use.",
        "Use a pushcert whose version is not newer than the vendor's.",
    ),
    "signature_wrong": Finding(
        "signature_wrong",
        "The signature does not belong to this request and credential.",
        "See whether something on the way changes requests; else enrol the instance anew.",
    ),
    "clock_skew": Finding(
        "clock_skew",
        "The request was signed at another time than the vendor's clock shows.",
        "Set the clock of the instance's machine.",
    ),
}
