"""Renewals that a person wants: what each reason does to the renewal that is open already.

The same for the command line and the dashboard; docs/renewing.md says it in prose.
"""

from __future__ import annotations

from datetime import datetime

from sqlmodel import Session

from lifecycle.errors import refuse
from lifecycle.vendor import registry, store
from lifecycle.vendor.facts import RenewalReason, RenewalState
from lifecycle.vendor.models import Customer, Renewal, Signer


def order_renewal(
    session: Session,
    customer: Customer,
    reason: RenewalReason,
    *,
    at: datetime,
    actor: str,
    apple_account: str | None = None,
) -> list[str]:
    """Opens the renewal that a person wants, or goes on with the open one; gives notes.

    Safe to repeat with the same reason, but for one that begins anew on purpose.

    Args:
        reason: why; the consequences are in docs/renewing.md.
        actor: who, for the audit log.
        apple_account: with ``apple_account_changed``: the new one.

    Raises:
        Refused: the reason does not fit, or the customer is not in care.
    """
    active = store.active_certificate(session, customer)
    reason = fitting_reason(customer, active is not None, reason)
    if active is not None and reason is RenewalReason.INITIAL:
        raise refuse(
            "reason_initial_but_active",
            f"'{customer.slug}' has the active certificate {active.serial} already.",
            "Leave --reason out, or say why it is renewed (manual, key_compromise, …).",
        )
    if (apple_account is not None) != (reason is RenewalReason.APPLE_ACCOUNT_CHANGED):
        raise refuse(
            "apple_account_with_reason",
            "A new Apple Account and the reason apple_account_changed go together.",
            "Give both: --reason apple_account_changed --apple-account ADDRESS.",
        )
    notes: list[str] = []
    open_one = store.open_renewal(session, customer)
    if open_one is not None and open_one.reason != reason:
        notes.append(_note(open_one, reason))
        if starts_anew(reason):
            registry.cancel_renewal(session, customer, open_one, str(reason), at=at, actor=actor)
    if apple_account is not None:
        changes = registry.Changes(apple_account=apple_account)
        registry.edit(session, customer, changes, at=at, actor=actor)
    renewal = registry.request_renewal(session, customer, reason, at=at, actor=actor)
    if reason is RenewalReason.SIGNER_CHANGED and signed_by_another(
        renewal, store.current_signer(session)
    ):
        # The planner signs a request anew once it is dead; this one is, from now on.
        renewal.request_dies_at = customer.next_action_at = at
        session.add_all([renewal, customer])
    return [note for note in notes if note]


def fitting_reason(customer: Customer, has_active: bool, reason: RenewalReason) -> RenewalReason:
    """The reason under which the renewal is opened: a first one is ``initial``, mostly.

    Raises:
        Refused: ``reason_without_certificate``.
    """
    if has_active:
        return reason
    if reason is RenewalReason.APPLE_ACCOUNT_CHANGED:
        raise refuse(
            "reason_without_certificate",
            f"'{customer.slug}' has no active certificate whose Apple Account could change.",
            f"Record the account with `pushcert customer edit {customer.slug} --apple-account"
            " ADDRESS` and get the first certificate.",
        )
    return reason if reason is RenewalReason.KEY_COMPROMISE else RenewalReason.INITIAL


def starts_anew(reason: RenewalReason) -> bool:
    """Whether an open renewal of another reason is of no use: its key, or its row, is not."""
    return reason in (RenewalReason.KEY_COMPROMISE, RenewalReason.APPLE_ACCOUNT_CHANGED)


def signed_by_another(renewal: Renewal, signer: Signer | None) -> bool:
    """Whether the renewal's request was signed by another signer than the one in force."""
    return (
        signer is not None
        and renewal.state in (RenewalState.SIGNED, RenewalState.DELIVERED)
        and renewal.signer_fingerprint != signer.fingerprint
    )


def _note(open_one: Renewal, reason: RenewalReason) -> str:
    """What a person should know about the renewal that is open for another reason."""
    if starts_anew(reason):
        return (
            f"The renewal that was open ({open_one.reason}) is cancelled and one with a new key"
            " begins: its request must not be used any more."
        )
    if reason in (RenewalReason.MANUAL, RenewalReason.EXPIRY):
        return ""  # the one that is open is what was wanted
    return f"A renewal is open already ({open_one.reason}); it goes on."
