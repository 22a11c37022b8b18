"""Who may use which page: a route says its role once, and that is enforced and published.

``x-role`` in the OpenAPI document is the very value that the route is guarded with, so that a
test can read it, and no route is without one.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from enum import StrEnum
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Depends, Form
from fastapi.responses import HTMLResponse

from lifecycle.serve.dashboard.cookies import browser_cookie
from lifecycle.serve.dashboard.errors import Forbidden, PageRoute, SignInFirst
from lifecycle.serve.dashboard.visit import Visit, Visiting
from lifecycle.vendor.sessions import form_token
from lifecycle.vendor.users import Role

TAG = "dashboard"
_LONGEST = 500
"""Characters of a path to come back to."""
Route = TypeVar("Route", bound=Callable[..., Any])


class Needs(StrEnum):
    """What somebody must be to use a route."""

    PUBLIC = "public"
    VIEWER = "viewer"
    OPERATOR = "operator"


class Pages:
    """Collects the routes of one module."""

    def __init__(self) -> None:
        self.router = APIRouter(route_class=PageRoute, tags=[TAG])

    def show(self, path: str, needs: Needs) -> Callable[[Route], Route]:
        """A page: asked for with GET, changes nothing."""
        return self.router.get(
            path,
            response_class=HTMLResponse,
            openapi_extra={"x-role": str(needs)},
            dependencies=[Depends(_guard(needs))],
        )

    def do(self, path: str, needs: Needs) -> Callable[[Route], Route]:
        """What a form is sent to: POST, with the form's token."""
        return self.router.post(
            path,
            response_class=HTMLResponse,
            openapi_extra={"x-role": str(needs)},
            dependencies=[Depends(_guard(needs)), Depends(_came_from_our_form)],
        )


def _guard(needs: Needs) -> Callable[[Visit], None]:
    def guard(visit: Visiting) -> None:
        if needs is Needs.PUBLIC:
            return
        if visit.signed_in is None:
            raise SignInFirst(path_of(visit))
        if needs is Needs.OPERATOR and visit.signed_in.role is not Role.OPERATOR:
            raise Forbidden(
                "Your role is viewer, and this is for operators.",
                "Ask an operator to do it, or whoever keeps the users for the role.",
            )

    return guard


def path_of(visit: Visit) -> str:
    """Where the visitor wanted to go, to come back to after signing in."""
    url = visit.request.url
    return url.path + (f"?{url.query}" if url.query else "")


def own_path(text: str) -> str:
    """``text`` if it is a path of this site, else the overview's: nobody is sent elsewhere."""
    if not text.startswith("/") or text.startswith("//"):
        return "/"
    # A browser takes a backslash for a slash, and leaves out what cannot be printed.
    return text if text.isprintable() and "\\" not in text and len(text) <= _LONGEST else "/"


def _came_from_our_form(visit: Visiting, token: Annotated[str, Form()] = "") -> None:
    """Raises ``Forbidden`` for a form that another site, or nobody, has served."""
    if not _is_ours(visit):
        raise Forbidden(
            "This form was sent by another site.",
            "If you wanted this, open the page here and send its form.",
        )
    kept = (
        browser_cookie(visit.request, encrypted=visit.encrypted)
        if visit.signed_in is None
        else visit.signed_in.token
    )
    if not kept or not hmac.compare_digest(token.encode(), form_token(kept).encode()):
        raise Forbidden(
            "This form is not one that was served to you, or is too old.",
            "Go back, load the page again, and send its form; nothing was changed.",
        )


def _is_ours(visit: Visit) -> bool:
    """What the browser itself says about where the form came from; no page can forge that."""
    headers = visit.request.headers
    fetched = headers.get("sec-fetch-site")
    if fetched is not None:
        return fetched in ("same-origin", "none")
    origin = headers.get("origin")
    if origin is None:
        return True  # no browser of these years; the token decides
    own = {f"{visit.request.url.scheme}://{headers.get('host', '')}"}
    if visit.config.serve.public_url is not None:
        own.add(visit.config.serve.public_url)
    return origin.rstrip("/") in {one.rstrip("/") for one in own}
