"""Errors as they cross: problem details (RFC 9457) that carry every finding.

The server makes a ``Problem`` of an error, the client makes the error of a ``Problem``, so that
a person at the instance reads what the vendor found, word for word.
"""

from __future__ import annotations

from collections.abc import Iterable
from http import HTTPStatus

from pydantic import AwareDatetime, BaseModel, ConfigDict

from lifecycle.errors import Finding, PushcertError, Refused, Severity, Unavailable

MEDIA_TYPE = "application/problem+json"


class ProblemFinding(BaseModel):
    """One finding; see ``lifecycle.errors.Finding``."""

    model_config = ConfigDict(frozen=True)

    code: str
    message: str
    remedy: str = ""
    severity: Severity = Severity.REFUSE


class Problem(BaseModel):
    """What went wrong with a request.

    Attributes:
        type: ``about:blank``: the status says the kind of problem, ``code`` which it is.
        title: of the status.
        status: of the answer.
        detail: a sentence.
        code: of the first finding, stable; docs/findings.md has them all.
        findings: everything that is wrong.
        vendor_time: with ``clock_skew``: what time it is at the vendor's.
    """

    model_config = ConfigDict(frozen=True)

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    code: str
    findings: tuple[ProblemFinding, ...] = ()
    vendor_time: AwareDatetime | None = None


def problem(
    status: int,
    findings: Iterable[Finding],
    *,
    vendor_time: AwareDatetime | None = None,
) -> Problem:
    """A problem of one or more findings."""
    found = tuple(findings)
    return Problem(
        title=HTTPStatus(status).phrase,
        status=status,
        detail=" ".join(str(finding) for finding in found),
        code=found[0].code,
        findings=tuple(
            ProblemFinding(
                code=finding.code,
                message=finding.message,
                remedy=finding.remedy,
                severity=finding.severity,
            )
            for finding in found
        ),
        vendor_time=vendor_time,
    )


def as_error(said: Problem) -> PushcertError:
    """The error that a problem tells of: ``Refused`` with its findings, or ``Unavailable``."""
    if said.status >= HTTPStatus.INTERNAL_SERVER_ERROR or said.status in (
        HTTPStatus.TOO_MANY_REQUESTS,
        HTTPStatus.REQUEST_TIMEOUT,
    ):
        return Unavailable(f"The vendor cannot answer just now ({said.detail}).")
    return (
        Refused(Finding(f.code, f.message, f.remedy, f.severity) for f in said.findings)
        if said.findings
        else Refused(Finding(said.code, said.detail))
    )
