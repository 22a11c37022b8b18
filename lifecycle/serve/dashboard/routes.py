"""Puts the dashboard into an application."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException

from lifecycle.serve.dashboard.actions import actions
from lifecycle.serve.dashboard.assets import assets
from lifecycle.serve.dashboard.audit_page import audit
from lifecycle.serve.dashboard.customer_page import one_customer
from lifecycle.serve.dashboard.customers_page import customers
from lifecycle.serve.dashboard.errors import error_page, secured
from lifecycle.serve.dashboard.isolation_page import isolation
from lifecycle.serve.dashboard.oidc_sign_in import oidc
from lifecycle.serve.dashboard.overview_page import overviews
from lifecycle.serve.dashboard.provider import configured_provider
from lifecycle.serve.dashboard.sign_in import signing_in
from lifecycle.serve.dashboard.visit import Desk
from lifecycle.serve.served import Served
from lifecycle.vendor.users import Passwords

MACHINES = ("/v1", "/healthz", "/readyz", "/metrics", "/calendar")
"""What is not asked for by people in browsers, and gets no page when it is not there."""


def add_dashboard(app: FastAPI, served: Served) -> None:
    """Adds the dashboard's routes; every one carries its role as ``x-role``.

    An address that is not there gets a page as well, unless it is one of ``MACHINES``: those
    keep the handler that the application has at this moment.

    Raises:
        Refused: ``passphrase_source_unknown``: where the OIDC client's secret is, is not said.
    """
    app.state.dashboard = Desk(served, Passwords(), configured_provider(served.config))
    for pages in (
        assets,
        signing_in,
        oidc,
        overviews,
        customers,
        one_customer,
        actions,
        isolation,
        audit,
    ):
        app.include_router(pages.router)
    before: Any = app.exception_handlers.get(HTTPException)

    async def not_there(request: Request, error: Exception) -> Response:
        if before is not None and is_for_machines(request.url.path):
            answer: Response = await before(request, error)
            return answer
        response = error_page(request, error)
        secured(request, response)
        return response

    app.add_exception_handler(HTTPException, not_there)


def is_for_machines(path: str) -> bool:
    """Whether no person in a browser asks for this address."""
    return any(path == machine or path.startswith(f"{machine}/") for machine in MACHINES)
