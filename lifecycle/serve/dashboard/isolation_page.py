"""What has been proven of whom: verdicts, runs, breaches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fastapi import Response
from sqlmodel import Session, col

from lifecycle.serve.dashboard.access import Needs, Pages
from lifecycle.serve.dashboard.rendering import page
from lifecycle.serve.dashboard.visit import Visit, Visiting
from lifecycle.vendor import customer_search, sweeps
from lifecycle.vendor.customer_standing import Standing, counts_of, standing, tally
from lifecycle.vendor.facts import Verdict
from lifecycle.vendor.models import Customer, IsolationRun
from lifecycle.vendor.report import ReportRow

isolation = Pages()
LISTED = 10
RUNS = 10


@dataclass(frozen=True, slots=True)
class RunView:
    """A run over many customers: what came of it, and how many it has yet to check."""

    run: IsolationRun
    verdicts: Mapping[Verdict, int]
    owed: int


@dataclass(frozen=True, slots=True)
class IsolationView:
    """What the page shows.

    Attributes:
        verdicts: customers by the verdict on their active certificate.
        unproven: how many should have one and never had.
        breached, doubtful, never: the first of those who are breached, inconclusive, unproven.
    """

    verdicts: Mapping[str, int]
    unproven: int
    breached: Sequence[ReportRow]
    doubtful: Sequence[ReportRow]
    never: Sequence[ReportRow]
    runs: Sequence[RunView]


@isolation.show("/isolation", Needs.VIEWER)
def show_isolation(visit: Visiting) -> Response:
    """The isolation page."""
    with visit.served.database.reading() as session:
        view = _view(visit, session)
    return page(visit, "isolation.html.j2", section="isolation", view=view)


def _view(visit: Visit, session: Session) -> IsolationView:
    at = standing(session, visit.served.policy, visit.now)
    verdicts = tally(session, at, at.verdict)
    return IsolationView(
        verdicts={str(name): verdicts.get(str(name), 0) for name in Verdict},
        unproven=counts_of(session, at, {"unproven": at.to_be_proven})["unproven"],
        breached=_first(visit, session, at, at.verdict == Verdict.BREACHED),
        doubtful=_first(visit, session, at, at.verdict == Verdict.INCONCLUSIVE),
        never=_first(visit, session, at, at.to_be_proven),
        runs=[
            RunView(
                run,
                sweeps.verdicts(session, run.id),
                0 if run.finished_at is not None else sweeps.owed(session, run),
            )
            for run in sweeps.newest(session, RUNS)
        ],
    )


def _first(visit: Visit, session: Session, at: Standing, condition: object) -> Sequence[ReportRow]:
    found = session.execute(
        at.select(col(Customer.id))
        .where(condition)  # type: ignore[arg-type]
        .order_by(*at.expiry)
        .limit(LISTED)
    )
    ids = [key for (key,) in found]
    return customer_search.rows(session, ids, visit.served.policy, visit.now)
