"""``/metrics`` for Prometheus, and the calendar feed: the report, for programs that fetch it."""

from __future__ import annotations

import hmac
from collections.abc import Mapping

from fastapi import APIRouter, HTTPException, Request, Response

from lifecycle.errors import Finding
from lifecycle.passphrase import resolve
from lifecycle.secret import secret_source
from lifecycle.serve.authentication import served_by
from lifecycle.serve.health import readiness
from lifecycle.serve.problems import NotAuthenticated
from lifecycle.serve.served import Served
from lifecycle.vendor import feed_tokens, reporting

LOOPBACK = ("127.0.0.1", "::1")
_FORWARDED = ("forwarded", "x-forwarded-for", "x-real-ip")
METRICS_KIND = "text/plain; version=0.0.4; charset=utf-8"
CALENDAR_KIND = "text/calendar; charset=utf-8"
_SHUT = Finding(
    "metrics_token_wrong",
    "Metrics are shown to this machine alone, or to whoever has the token.",
    "Send serve.metrics_token of config.toml as a bearer token.",
)

monitoring = APIRouter(tags=["monitoring"])


@monitoring.get(
    "/metrics",
    response_class=Response,
    openapi_extra={"x-role": "monitoring", "security": [{"monitoring": []}]},
    responses={200: {"content": {"text/plain": {}}}, 401: {"description": "Wrong or no token."}},
)
def metrics(request: Request) -> Response:
    """The report as metrics, and how long work has been waiting."""
    from lifecycle.vendor.report_metrics import as_metrics_text

    served = served_by(request)
    if not _may_read_metrics(served, request):
        raise NotAuthenticated(_SHUT)
    report = reporting.build(served.database, served.policy, served.clock.now())
    overdue = readiness(served).overdue_seconds
    text = as_metrics_text(report) + (
        "# HELP pushcert_queue_overdue_seconds How long the customer who has waited longest has"
        " been due.\n# TYPE pushcert_queue_overdue_seconds gauge\n"
        f"pushcert_queue_overdue_seconds {float(overdue)}\n"
    )
    return Response(text, media_type=METRICS_KIND, headers={"Cache-Control": "no-store"})


def _may_read_metrics(served: Served, request: Request) -> bool:
    wanted = resolve(secret_source(served.config, served.config.serve.metrics_token))
    if wanted is not None:
        scheme, _, given = request.headers.get("Authorization", "").partition(" ")
        # As bytes: a header may hold what is no ASCII, which comparing text does not take.
        return scheme.lower() == "bearer" and hmac.compare_digest(given.encode(), wanted)
    return _is_from_here(request.client.host if request.client else "", request.headers)


def _is_from_here(host: str, headers: Mapping[str, str]) -> bool:
    # What comes through a proxy on this machine comes from this machine, too, and is not.
    return host in LOOPBACK and not any(name in headers for name in _FORWARDED)


@monitoring.get(
    "/calendar/{token}/expiries.ics",
    response_class=Response,
    openapi_extra={"x-role": "feed", "security": []},
    responses={200: {"content": {"text/calendar": {}}}, 404: {"description": "No such feed."}},
)
def calendar(request: Request, token: str) -> Response:
    """Every expiry as an event that a renewal moves; for whoever has the address."""
    from lifecycle.vendor.report_calendar import as_calendar

    served = served_by(request)
    now = served.clock.now()
    with served.database.reading() as session:
        feed = feed_tokens.feed_of(session, token)
    if feed is None:
        raise HTTPException(404)
    if feed_tokens.use_is_news(feed, now):
        with served.database.transaction() as session:
            feed_tokens.note_use(session, feed.id, now)
    report = reporting.build(served.database, served.policy, now)
    return Response(
        as_calendar(report, served.config.vendor.name, now),
        media_type=CALENDAR_KIND,
        headers={"Cache-Control": "private, max-age=3600", "Referrer-Policy": "no-referrer"},
    )
