"""The few things that an operator can do: a page that says what will happen, then the doing.

Every one of them may be sent twice: the second time changes nothing more.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, time
from http import HTTPStatus
from typing import Annotated

from fastapi import Form, Response
from fastapi.responses import RedirectResponse
from sqlmodel import Session

from lifecycle.errors import refuse
from lifecycle.serve.dashboard.access import Needs, Pages
from lifecycle.serve.dashboard.circumstances import circumstances
from lifecycle.serve.dashboard.customer_page import customer_of
from lifecycle.serve.dashboard.offer import Action
from lifecycle.serve.dashboard.offers import offer
from lifecycle.serve.dashboard.rendering import page
from lifecycle.serve.dashboard.visit import Visit, Visiting
from lifecycle.vendor import audit, credentials, invitations, registry, store
from lifecycle.vendor.check_orders import order_isolation_check
from lifecycle.vendor.facts import RenewalReason
from lifecycle.vendor.models import Customer
from lifecycle.vendor.reminding import remind_now
from lifecycle.vendor.renewal_orders import order_renewal

actions = Pages()
_LONGEST_REASON = 500
Words = Annotated[str, Form(max_length=_LONGEST_REASON)]


def _confirmation(action: Action) -> Callable[[Visit, str], Response]:
    def confirm(visit: Visiting, slug: str) -> Response:
        with visit.served.database.reading() as session:
            customer = customer_of(session, slug)
            record = store.load(session, customer)
            offered = offer(action, circumstances(visit, session, record))
        return page(
            visit,
            "confirm.html.j2",
            section="customers",
            customer=customer,
            offer=offered,
            longest_reason=_LONGEST_REASON,
        )

    confirm.__name__ = f"confirm_{action}"
    confirm.__doc__ = f"Says what the action '{action}' will do to this customer, and asks."
    return confirm


for _action in Action:
    actions.show(f"/customers/{{slug}}/{_action}", Needs.OPERATOR)(_confirmation(_action))


@actions.do("/customers/{slug}/renew", Needs.OPERATOR)
def renew(
    visit: Visiting,
    slug: str,
    reason: Annotated[RenewalReason, Form()] = RenewalReason.MANUAL,
    apple_account: Annotated[str, Form(max_length=254)] = "",
) -> Response:
    """Opens a renewal, or goes on with the one that is open."""
    account = apple_account.strip() or None
    if reason is not RenewalReason.APPLE_ACCOUNT_CHANGED:
        account = None
    elif account is None:
        raise refuse(
            "apple_account_missing",
            "The new Apple Account is not given.",
            "Go back and give its address; it is what the customer signs in to the portal with.",
        )

    def carry_out(session: Session, customer: Customer) -> str:
        before = _open(session, customer)
        order_renewal(
            session, customer, reason, at=visit.now, actor=visit.actor, apple_account=account
        )
        return "nothing" if _open(session, customer) == before else "renew"

    return _done(visit, slug, carry_out)


def _open(session: Session, customer: Customer) -> tuple[int | None, datetime | None] | None:
    """What tells whether an order changed anything about the open renewal."""
    renewal = store.open_renewal(session, customer)
    return None if renewal is None else (renewal.id, renewal.request_dies_at)


@actions.do("/customers/{slug}/pause", Needs.OPERATOR)
def pause(visit: Visiting, slug: str, reason: Words = "", until: Words = "") -> Response:
    """Stops the care for a customer, for a time or until somebody takes them up again."""
    why, end = _reason(reason), _day(until)

    def carry_out(session: Session, customer: Customer) -> str:
        _require_in_care(customer)
        changed = registry.pause(session, customer, why, at=visit.now, actor=visit.actor, until=end)
        return "pause" if changed else "nothing"

    return _done(visit, slug, carry_out)


@actions.do("/customers/{slug}/resume", Needs.OPERATOR)
def resume(visit: Visiting, slug: str) -> Response:
    """Takes a paused customer up again."""

    def carry_out(session: Session, customer: Customer) -> str:
        _require_in_care(customer)
        changed = registry.resume(session, customer, at=visit.now, actor=visit.actor)
        return "resume" if changed else "nothing"

    return _done(visit, slug, carry_out)


@actions.do("/customers/{slug}/remind", Needs.OPERATOR)
def remind(visit: Visiting, slug: str) -> Response:
    """Writes the message of the open renewal once more."""

    def carry_out(session: Session, customer: Customer) -> str:
        reminded = remind_now(
            session, customer, visit.served.notices, at=visit.now, actor=visit.actor
        )
        return "remind" if reminded.again else "reminded"

    return _done(visit, slug, carry_out)


@actions.do("/customers/{slug}/check", Needs.OPERATOR)
def check(visit: Visiting, slug: str) -> Response:
    """Orders an isolation check."""

    def carry_out(session: Session, customer: Customer) -> str:
        record = store.load(session, customer)
        refused = offer(Action.CHECK, circumstances(visit, session, record)).obstacle
        if refused is not None:
            raise refuse(refused.code, refused.message, refused.remedy)
        order_isolation_check(session, customer, at=visit.now)
        customer.next_action_at = visit.now
        session.add(customer)
        if record.ordered is not None:
            return "nothing"
        audit.append(
            session,
            at=visit.now,
            actor=visit.actor,
            action="isolation_check_ordered",
            subject=customer.slug,
            detail={},
        )
        return "check"

    return _done(visit, slug, carry_out)


@actions.do("/customers/{slug}/invite", Needs.OPERATOR)
def invite(visit: Visiting, slug: str) -> Response:
    """Makes a one-time code and shows it: on this answer, and never again.

    Sent twice, the second code is the one that is good, and the one that is seen.
    """
    with visit.served.database.transaction() as session:
        customer = customer_of(session, slug)
        code = invitations.invite(
            session,
            customer,
            at=visit.now,
            actor=visit.actor,
            days=visit.config.serve.invitation_days,
        )
        made = invitations.open_invitation(session, customer, visit.now)
    return page(
        visit,
        "invited.html.j2",
        section="customers",
        customer=customer,
        code=code,
        invitation=made,
        url=visit.config.serve.public_url,
    )


@actions.do("/customers/{slug}/withdraw", Needs.OPERATOR)
def withdraw(visit: Visiting, slug: str) -> Response:
    """Takes back an invitation that was not used."""

    def carry_out(session: Session, customer: Customer) -> str:
        changed = invitations.withdraw(session, customer, at=visit.now, actor=visit.actor)
        return "withdraw" if changed else "nothing"

    return _done(visit, slug, carry_out)


@actions.do("/customers/{slug}/revoke", Needs.OPERATOR)
def revoke(visit: Visiting, slug: str, reason: Words = "") -> Response:
    """Shuts the customer's instance out."""
    why = _reason(reason)

    def carry_out(session: Session, customer: Customer) -> str:
        gone = credentials.revoke_all(session, customer, at=visit.now, actor=visit.actor, why=why)
        return "revoke" if gone else "nothing"

    return _done(visit, slug, carry_out)


def _done(visit: Visit, slug: str, carry_out: Callable[[Session, Customer], str]) -> Response:
    """Carries it out in one transaction, and shows the customer with what came of it."""
    with visit.served.database.transaction() as session:
        word = carry_out(session, customer_of(session, slug))
    return RedirectResponse(f"/customers/{slug}?done={word}", HTTPStatus.SEE_OTHER)


def _reason(text: str) -> str:
    said = " ".join(text.split())
    if not said:
        raise refuse(
            "reason_missing",
            "No reason is given.",
            "Go back and say why, in a few words; the audit log keeps it.",
        )
    return said


def _day(text: str) -> datetime | None:
    """Midnight UTC of a day, as a date field gives it; None: none was given."""
    if not text.strip():
        return None
    try:
        return datetime.combine(date.fromisoformat(text.strip()), time(), UTC)
    except ValueError:
        raise refuse(
            "date_malformed",
            f"'{text[:40]}' is not a date.",
            "Go back and give it as 2027-03-01, or leave it empty.",
        ) from None


def _require_in_care(customer: Customer) -> None:
    if customer.offboarded_at is not None:
        raise refuse(
            "customer_not_in_care",
            f"'{customer.slug}' is off-boarded, so nothing is done for it.",
            "Add the customer again under a new slug.",
        )
