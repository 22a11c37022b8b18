"""Turns errors into problem details for instances, and into nothing that tells a secret."""

from __future__ import annotations

from http import HTTPStatus

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from lifecycle.clock import Clock
from lifecycle.errors import Finding, PushcertError, Refused, Unavailable
from lifecycle.wire.problems import MEDIA_TYPE, Problem, problem

log = structlog.get_logger(__name__)

RETRY_AFTER_SECONDS = 30


class NotAuthenticated(Exception):
    """The request does not prove whom it speaks for."""

    def __init__(self, finding: Finding) -> None:
        super().__init__(finding.message)
        self.finding = finding


def answer(said: Problem, headers: dict[str, str] | None = None) -> JSONResponse:
    """The HTTP answer that carries a problem."""
    return JSONResponse(
        said.model_dump(mode="json", exclude_none=True),
        status_code=said.status,
        media_type=MEDIA_TYPE,
        headers=headers,
    )


def add_problem_handlers(app: FastAPI, clock: Clock) -> None:
    """Every error below ``/v1`` becomes problem details (RFC 9457)."""

    async def refused(_: Request, error: Exception) -> JSONResponse:
        findings = error.findings if isinstance(error, Refused) else ()
        return answer(problem(HTTPStatus.UNPROCESSABLE_ENTITY, findings))

    async def not_authenticated(_: Request, error: Exception) -> JSONResponse:
        finding = error.finding if isinstance(error, NotAuthenticated) else _UNFORESEEN
        # The time is told to an instance whose clock is off, so that it can sign by it.
        now = clock.now() if finding.code == "clock_skew" else None
        said = problem(HTTPStatus.UNAUTHORIZED, [finding], vendor_time=now)
        return answer(said, {"WWW-Authenticate": 'Bearer realm="pushcert"'})

    async def unavailable(_: Request, error: Exception) -> JSONResponse:
        said = error if isinstance(error, PushcertError) else Unavailable("")
        finding = Finding(said.code, said.message, said.remedy)
        headers = {"Retry-After": str(RETRY_AFTER_SECONDS)}
        return answer(problem(HTTPStatus.SERVICE_UNAVAILABLE, [finding]), headers)

    async def malformed(_: Request, error: Exception) -> JSONResponse:
        # Where it is wrong and how; never what was sent: it could be anything.
        faults = error.errors() if isinstance(error, RequestValidationError) else ()
        places = sorted({".".join(str(part) for part in fault["loc"]) for fault in faults})
        return answer(problem(HTTPStatus.UNPROCESSABLE_ENTITY, [_malformed(places)]))

    async def by_status(_: Request, error: Exception) -> JSONResponse:
        status = error.status_code if isinstance(error, HTTPException) else 500
        headers = dict(error.headers or {}) if isinstance(error, HTTPException) else {}
        return answer(problem(status, [_OF_STATUS.get(status, _UNFORESEEN)]), headers)

    async def unforeseen(request: Request, error: Exception) -> JSONResponse:
        log.error("request_failed", path=request.url.path, error=type(error).__name__)
        return answer(problem(HTTPStatus.INTERNAL_SERVER_ERROR, [_UNFORESEEN]))

    app.add_exception_handler(Refused, refused)
    app.add_exception_handler(NotAuthenticated, not_authenticated)
    app.add_exception_handler(Unavailable, unavailable)
    app.add_exception_handler(RequestValidationError, malformed)
    app.add_exception_handler(HTTPException, by_status)
    app.add_exception_handler(Exception, unforeseen)


_UNFORESEEN = Finding(
    "internal_fault",
    "The vendor's server met an error that it does not know.",
    "Try again later; if it stays, tell your vendor when it happened.",
)
_OF_STATUS = {
    400: Finding(
        "body_unreadable",
        "The message cannot be read at all.",
        "Send what /v1/openapi.json describes.",
    ),
    404: Finding(
        "path_unknown",
        "There is nothing at this address.",
        "See /v1/openapi.json for what there is.",
    ),
    405: Finding(
        "method_unknown",
        "This address does not take requests of this method.",
        "See /v1/openapi.json for what there is.",
    ),
    413: Finding(
        "body_too_large",
        "The message is larger than any that an instance sends.",
        "Send what /v1/openapi.json describes.",
    ),
}


def _malformed(places: list[str]) -> Finding:
    where = ", ".join(places)[:300]
    return Finding(
        "message_malformed",
        f"The message does not have the form that the vendor's server expects ({where}).",
        "Use a pushcert whose version is not newer than the vendor's.",
    )
