"""What ``remind`` would send now, and for everybody else why nothing is owed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from lifecycle.vendor import store
from lifecycle.vendor.database import Database
from lifecycle.vendor.facts import CustomerFacts, Policy
from lifecycle.vendor.ladder import current_rung, next_rung_at
from lifecycle.vendor.plan import Deliver, Remind, ladder, opens_at, plan


@dataclass(frozen=True, slots=True)
class Explanation:
    """One customer: the rung owed (or None), and why."""

    slug: str
    owed: str | None
    why: str


def explain(database: Database, policy: Policy, now: datetime) -> Iterator[Explanation]:
    """An explanation for every customer in care; sends and writes nothing."""
    with database.reading() as session:
        for record in store.all_records(session):
            yield explain_one(record.facts, policy, now)


def explain_one(facts: CustomerFacts, policy: Policy, now: datetime) -> Explanation:
    """Why this customer gets a message now, or gets none."""
    for action in plan(facts, policy, now).actions:
        if isinstance(action, Remind):
            who = "the customer" if action.customer_can_act else "vendor ops alone"
            return Explanation(facts.slug, action.rung.key, f"to {who}")
        if isinstance(action, Deliver):
            return Explanation(facts.slug, "delivery", "the request is ready to be handed over")
    return Explanation(facts.slug, None, _why_nothing(facts, policy, now))


def _why_nothing(facts: CustomerFacts, policy: Policy, now: datetime) -> str:
    if facts.paused:
        return "paused"
    if facts.renewal is None:
        if facts.active is None:
            return "the first renewal opens at the next tick"
        return (
            f"no renewal is open; it opens on {opens_at(facts.active, facts.slug, policy):%Y-%m-%d}"
        )
    if facts.renewal.received:
        return "the certificate has come and is being activated"
    rungs = ladder(facts, policy)
    rung = current_rung(rungs, now)
    coming = next_rung_at(rungs, now)
    said = f"rung {rung.key} was told; " if rung is not None else ""
    return said + (f"the next falls due on {coming:%Y-%m-%d}" if coming else "no rung is left")
