"""The server's one composition: which routes there are, and what stands before all of them."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from lifecycle.serve.dashboard.routes import add_dashboard
from lifecycle.serve.health import health
from lifecycle.serve.instance_api import api
from lifecycle.serve.limits import BodyLimit
from lifecycle.serve.monitoring import monitoring
from lifecycle.serve.problems import add_problem_handlers
from lifecycle.serve.served import Served

DESCRIPTION = """\
What the customers' instances and the vendor's ops ask of the vendor's plane. An instance signs each
request with its own key (`Authorization: Bearer`, a JSON Web Token with EdDSA that is bound to
method, path and body; see docs/api.md); every call may be repeated. Errors are problem details
(RFC 9457) with a stable `code`."""


def build_app(served: Served) -> FastAPI:
    """The application for one deployment; the caller closes ``served``."""
    app = FastAPI(
        title="pushcert",
        version=version("pushcert"),
        description=DESCRIPTION,
        openapi_url="/v1/openapi.json",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.served = served
    app.add_middleware(BodyLimit)
    add_problem_handlers(app, served.clock)
    app.include_router(api)
    app.include_router(health)
    app.include_router(monitoring)
    add_dashboard(app, served)

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _published(app)
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]
    return app


def _published(app: FastAPI) -> dict[str, Any]:
    document = get_openapi(
        title=app.title,
        version=app.version,
        description=app.description,
        routes=app.routes,
    )
    schemes = document.setdefault("components", {}).setdefault("securitySchemes", {})
    schemes["instance"] = {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "JWT",
        "description": "Signed by the instance for this very request; docs/api.md has the claims.",
    }
    schemes["monitoring"] = {
        "type": "http",
        "scheme": "bearer",
        "description": "`serve.metrics_token`; without one, requests from this machine.",
    }
    return document
