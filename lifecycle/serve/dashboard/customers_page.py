"""The list of customers: searched, filtered and sorted by the database, a page at a time."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query, Response

from lifecycle.serve.dashboard.access import Needs, Pages
from lifecycle.serve.dashboard.rendering import page
from lifecycle.serve.dashboard.visit import Visiting
from lifecycle.vendor import customer_search
from lifecycle.vendor.customer_search import ORDERS, TROUBLES, Wanted
from lifecycle.vendor.report import URGENCY, Acts

customers = Pages()


@customers.show("/customers", Needs.VIEWER)
def list_customers(
    visit: Visiting,
    q: Annotated[str, Query(max_length=200)] = "",
    status: Annotated[str, Query(max_length=32)] = "",
    acts: Annotated[str, Query(max_length=32)] = "",
    tag: Annotated[str, Query(max_length=64)] = "",
    trouble: Annotated[str, Query(max_length=32)] = "",
    order: Annotated[str, Query(max_length=32)] = "urgency",
    number: Annotated[int, Query(alias="page", ge=1, le=1_000_000)] = 1,
) -> Response:
    """A page of the customers that fit."""
    wanted = Wanted(q.strip(), status, acts, tag, trouble, order, number)
    with visit.served.database.reading() as session:
        found = customer_search.find(session, wanted, visit.served.policy, visit.now)
        tags = customer_search.tags(session)
    return page(
        visit,
        "customers.html.j2",
        section="customers",
        wanted=wanted,
        found=found,
        tags=tags,
        statuses=[str(one) for one in URGENCY],
        who=[str(one) for one in Acts],
        troubles=TROUBLES,
        orders=ORDERS,
    )
