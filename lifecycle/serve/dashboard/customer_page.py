"""One customer: facts, history, timeline, isolation, instance, and what can be done."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Annotated, Any

from fastapi import Query, Response
from sqlmodel import Session, col, select

from lifecycle.errors import Refused
from lifecycle.serve.dashboard.access import Needs, Pages
from lifecycle.serve.dashboard.circumstances import circumstances
from lifecycle.serve.dashboard.errors import Missing
from lifecycle.serve.dashboard.offer import Offer
from lifecycle.serve.dashboard.offers import possible
from lifecycle.serve.dashboard.rendering import page
from lifecycle.serve.dashboard.timeline import Before, Timeline, timeline
from lifecycle.serve.dashboard.visit import Visit, Visiting
from lifecycle.vendor import credentials, invitations, store
from lifecycle.vendor.access_models import InstanceCredential
from lifecycle.vendor.dry_run import Explanation, explain_one
from lifecycle.vendor.invitations import OpenInvitation
from lifecycle.vendor.isolation import expected
from lifecycle.vendor.models import Bounce, Certificate, Customer, IsolationCheck, Renewal
from lifecycle.vendor.report import ReportRow
from lifecycle.vendor.reporting import rows_of
from lifecycle.vendor.store import CustomerRecord
from lifecycle.wire.messages import Number, Probe

one_customer = Pages()
LISTED = 10
"""Of certificates, renewals and isolation checks, the newest."""

DONE: Mapping[str, str] = MappingProxyType(
    {
        "renew": "The renewal is open. The customer's instance makes the CSR when it asks next.",
        "pause": "The customer is paused: nothing is done for them.",
        "resume": "The customer is taken up again; what is owed is done at the next tick.",
        "remind": "The reminder is written; it goes out with the next mail.",
        "reminded": "A reminder was sent by hand a short while ago; none was written now.",
        "check": "The isolation check is ordered; its verdict will be shown here.",
        "revoke": "The instance is shut out.",
        "withdraw": "The invitation is withdrawn.",
        "nothing": "It was so already; nothing was changed.",
    }
)
"""What is said after an action, by the word in the address."""


@dataclass(frozen=True, slots=True)
class CustomerView:
    """Everything that the page shows of a customer.

    Attributes:
        row: as the report has it.
        owed: which message is owed now, or why none is.
        credentials: those of the instance that are good; empty: none asks over the network.
    """

    record: CustomerRecord
    row: ReportRow
    owed: Explanation
    bounces: Sequence[Bounce]
    certificates: Sequence[Certificate]
    renewals: Sequence[Renewal]
    checks: Sequence[IsolationCheck]
    credentials: Sequence[InstanceCredential]
    invitation: OpenInvitation | None
    timeline: Timeline
    offers: Sequence[Offer]


@one_customer.show("/customers/{slug}", Needs.VIEWER)
def show_customer(
    visit: Visiting,
    slug: str,
    done: Annotated[str, Query(max_length=32)] = "",
    entry: Annotated[Number | None, Query()] = None,
    message: Annotated[Number | None, Query()] = None,
) -> Response:
    """The customer's page; ``entry`` and ``message`` lead to an older part of the timeline."""
    with visit.served.database.reading() as session:
        view = _view(visit, session, customer_of(session, slug), Before(entry, message))
    return page(
        visit,
        "customer.html.j2",
        section="customers",
        view=view,
        customer=view.record.customer,
        done=DONE.get(done),
        answers=_answers,
        from_the_top=entry is None and message is None,
        distributed=visit.config.vendor.instances == "distributed",
    )


def customer_of(session: Session, slug: str) -> Customer:
    """The customer of an address. Raises ``Missing``."""
    try:
        return store.customer_by_slug(session, slug)
    except Refused:
        raise Missing(
            f"There is no customer '{slug[:64]}'.", "Look for the name in the list of customers."
        ) from None


def _view(visit: Visit, session: Session, customer: Customer, before: Before) -> CustomerView:
    policy, now = visit.served.policy, visit.now
    record = store.load(session, customer)
    (row,) = rows_of(session, [record], policy, now)
    return CustomerView(
        record=record,
        row=row,
        owed=explain_one(record.facts, policy, now),
        bounces=store.bounced(session, [customer.email, *row.contacts]),
        certificates=session.exec(
            select(Certificate)
            .where(Certificate.customer_id == customer.id)
            .order_by(col(Certificate.id).desc())
            .limit(LISTED)
        ).all(),
        renewals=store.renewals_of(session, customer, LISTED),
        checks=session.exec(
            select(IsolationCheck)
            .where(IsolationCheck.customer_id == customer.id)
            .order_by(col(IsolationCheck.id).desc())
            .limit(LISTED)
        ).all(),
        credentials=credentials.living(session, customer),
        invitation=invitations.open_invitation(session, customer, now),
        timeline=timeline(session, customer, before),
        offers=possible(circumstances(visit, session, record)) if visit.may_act else (),
    )


def _answers(check: IsolationCheck) -> list[tuple[str, str, str]]:
    """Of each probe: which, what it had to be answered, what came back."""
    said: list[tuple[str, str, str]] = []
    for answer in check.answers:
        given: Mapping[str, Any] = answer
        probe = Probe(given["probe"])
        came = (
            f"{given['status']} {given['reason'] or ''}".strip()
            if given.get("status") is not None
            else str(given.get("fault"))
        )
        said.append((probe.replace("_", " "), expected(probe), came))
    return said
