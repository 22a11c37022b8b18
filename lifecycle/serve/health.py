"""``/healthz`` and ``/readyz``: whether the process lives, and whether it can do its work."""

from __future__ import annotations

from datetime import timedelta

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel
from sqlmodel import col, func, select

from lifecycle.errors import PushcertError
from lifecycle.serve.authentication import served_by
from lifecycle.serve.served import Served
from lifecycle.vendor.migrations import require_current
from lifecycle.vendor.models import Customer

OPEN = {"x-role": "public"}
OVERDUE = timedelta(minutes=15)
"""A customer who is due for longer than this: the worker does not keep up, or does not run."""

health = APIRouter(tags=["health"])


class Alive(BaseModel):
    """The process answers."""

    status: str = "ok"


class Readiness(BaseModel):
    """What the server needs in order to work.

    Attributes:
        status: ``ok``; ``degraded``: instances are served, and the worker is late;
            ``unavailable``: the database cannot be used, status 503.
        database: ``ok``, or a sentence.
        overdue_seconds: for how long the customer who has waited longest has been due; 0: nobody.
        worker: ``ok``, or a sentence.
    """

    status: str
    database: str
    overdue_seconds: int
    worker: str


@health.get("/healthz", openapi_extra=OPEN)
async def healthz() -> Alive:
    """Whether the process lives; asks nothing of the database."""
    return Alive()


@health.get("/readyz", openapi_extra=OPEN, responses={503: {"model": Readiness}})
def readyz(request: Request, response: Response) -> Readiness:
    """Whether the database can be used, and how long the queue has been waiting."""
    found = readiness(served_by(request))
    if found.status == "unavailable":
        response.status_code = 503
    return found


def readiness(served: Served) -> Readiness:
    """Asks the database; never raises for what is wrong with it."""
    now = served.clock.now()
    try:
        require_current(served.database.engine)
        with served.database.reading() as session:
            oldest = session.exec(
                select(func.min(col(Customer.next_action_at))).where(
                    col(Customer.next_action_at) <= now
                )
            ).one()
    except PushcertError as fault:
        # The message names no secret; it may name a host, and this page is for anybody.
        return Readiness(
            status="unavailable",
            database=f"cannot be used ({fault.code})",
            overdue_seconds=0,
            worker="unknown",
        )
    late = timedelta() if oldest is None else now - oldest
    behind = late > OVERDUE
    return Readiness(
        status="degraded" if behind else "ok",
        database="ok",
        overdue_seconds=int(late.total_seconds()),
        worker="late: see that `pushcert run` runs" if behind else "ok",
    )
