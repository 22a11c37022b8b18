"""What went wrong, as a page in the same look: a sentence and the next step."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

import structlog
from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import RedirectResponse
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException

from lifecycle.errors import Finding, Refused, Unavailable
from lifecycle.serve.dashboard.client import is_encrypted
from lifecycle.serve.dashboard.headers import secure
from lifecycle.serve.dashboard.rendering import page
from lifecycle.serve.dashboard.visit import Visit, desk_of, visit_of

log = structlog.get_logger(__name__)

RETRY_AFTER_SECONDS = 30


class SignInFirst(Exception):
    """Nobody is signed in, and somebody must be; ``back_to`` is where they wanted to go."""

    def __init__(self, back_to: str) -> None:
        super().__init__(back_to)
        self.back_to = back_to


class Forbidden(Exception):
    """Whoever asks must not do this."""

    def __init__(self, sentence: str, remedy: str) -> None:
        super().__init__(sentence)
        self.sentence = sentence
        self.remedy = remedy


class Missing(Exception):
    """What the page is about is not there."""

    def __init__(self, sentence: str, remedy: str) -> None:
        super().__init__(sentence)
        self.sentence = sentence
        self.remedy = remedy


@dataclass(frozen=True, slots=True)
class Said:
    """What a page says went wrong, and what to do; as a ``Finding`` without a code."""

    message: str
    remedy: str


class PageRoute(APIRoute):
    """A route of the dashboard: its errors are pages, and every answer has the headers."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """See FastAPI."""
        handler = super().get_route_handler()

        async def answer(request: Request) -> Response:
            try:
                response = await handler(request)
            except Exception as error:  # noqa: BLE001
                # Whatever it is, a person gets a page; what is not foreseen is logged.
                response = error_page(request, error)
            secured(request, response)
            return response

        return answer


def secured(request: Request, response: Response) -> None:
    """Adds the headers that every answer of the dashboard has."""
    section = desk_of(request).served.config.serve
    secure(response, encrypted=is_encrypted(request, section))


def error_page(request: Request, error: Exception) -> Response:
    """The page (or the way to the sign-in page) that an error becomes."""
    if isinstance(error, SignInFirst):
        return _sign_in_first(request, error)
    status, heading, findings = _told(error)
    if status == HTTPStatus.INTERNAL_SERVER_ERROR:
        log.error("page_failed", path=request.url.path, error=type(error).__name__)
    response = page(
        _visit(request), "error.html.j2", status=status, heading=heading, findings=findings
    )
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        response.headers["Retry-After"] = str(RETRY_AFTER_SECONDS)
    if isinstance(error, HTTPException) and error.headers:
        response.headers.update(error.headers)
    return response


def sign_in_path(back_to: str) -> str:
    """The sign-in page that leads back there."""
    return "/sign-in" if back_to == "/" else f"/sign-in?next={quote(back_to, safe='/')}"


def _sign_in_first(request: Request, error: SignInFirst) -> Response:
    if request.method in ("GET", "HEAD"):
        return RedirectResponse(sign_in_path(error.back_to), HTTPStatus.SEE_OTHER)
    findings = _one(
        "You are not signed in, or no longer.",
        "Sign in and send the form again; nothing was changed.",
    )
    return page(
        _visit(request),
        "error.html.j2",
        status=HTTPStatus.UNAUTHORIZED,
        heading="Sign in first",
        findings=findings,
    )


def _visit(request: Request) -> Visit | None:
    """Who sees the page, for its head; None while the registry cannot be asked."""
    try:
        return visit_of(request)
    except Unavailable:
        return None


def _told(error: Exception) -> tuple[HTTPStatus, str, Iterable[Finding | Said]]:
    match error:
        case Missing() as missing:
            return HTTPStatus.NOT_FOUND, "Not found", _one(missing.sentence, missing.remedy)
        case Forbidden() as forbidden:
            said = _one(forbidden.sentence, forbidden.remedy)
            return HTTPStatus.FORBIDDEN, "Not allowed", said
        case Refused() as refused:
            return HTTPStatus.UNPROCESSABLE_ENTITY, "Refused", refused.findings
        case Unavailable() as unavailable:
            said = _one(unavailable.message, unavailable.remedy or "Try again later.")
            return HTTPStatus.SERVICE_UNAVAILABLE, "Not just now", said
        case RequestValidationError():
            said = _one(
                "The address or the form has a value that cannot be.",
                "Go back to the page you came from and try again from there.",
            )
            return HTTPStatus.UNPROCESSABLE_ENTITY, "Not understood", said
        case HTTPException() as http:
            return _of_status(http.status_code)
        case _:
            return _of_status(HTTPStatus.INTERNAL_SERVER_ERROR)


def _of_status(status: int) -> tuple[HTTPStatus, str, Iterable[Finding | Said]]:
    found = HTTPStatus(status)
    match found:
        case HTTPStatus.NOT_FOUND:
            said = _one("There is no such page.", "See the overview for what there is.")
            return found, "Not found", said
        case HTTPStatus.METHOD_NOT_ALLOWED:
            said = _one("This address is not used that way.", "Begin at the overview.")
            return found, "Not allowed", said
        case HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
            said = _one("The form is larger than any of ours.", "Send less.")
            return found, "Too large", said
        case _ if found < HTTPStatus.INTERNAL_SERVER_ERROR:
            return found, "Not understood", _one("This cannot be done.", "Begin at the overview.")
        case _:
            said = _one(
                "pushcert met an error that it does not know.",
                "Try again; if it stays, see the log of `pushcert serve` at this time.",
            )
            return HTTPStatus.INTERNAL_SERVER_ERROR, "An error of ours", said


def _one(sentence: str, remedy: str) -> tuple[Said, ...]:
    return (Said(sentence, remedy),)
