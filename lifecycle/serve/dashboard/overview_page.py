"""The first page: how everybody stands, what is stuck and who must act."""

from __future__ import annotations

from fastapi import Response

from lifecycle.serve.dashboard.access import Needs, Pages
from lifecycle.serve.dashboard.rendering import page
from lifecycle.serve.dashboard.visit import Visiting
from lifecycle.vendor.overview import overview

overviews = Pages()


@overviews.show("/", Needs.VIEWER)
def show_overview(visit: Visiting) -> Response:
    """The overview."""
    with visit.served.database.reading() as session:
        seen = overview(session, visit.served.policy, visit.now)
    return page(
        visit,
        "overview.html.j2",
        section="overview",
        seen=seen,
        distributed=visit.config.vendor.instances == "distributed",
    )
