"""One customer's renewal by hand: what a person wants, how far it is, and what comes next.

The same for the dialogue on a terminal and for scripts; it decides nothing that the planner
decides, and writes nothing that a person did not ask for.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from lifecycle.embedded import Embedded
from lifecycle.errors import refuse
from lifecycle.instance.outcomes import UploadOutcome
from lifecycle.instance.vault import Vault
from lifecycle.language.portal import request_filename
from lifecycle.vendor import registry, store
from lifecycle.vendor.facts import RenewalReason
from lifecycle.vendor.models import Renewal
from lifecycle.vendor.renewal_orders import order_renewal
from lifecycle.vendor.reporting import next_step
from lifecycle.vendor.signed_requests import is_signed


@dataclass(frozen=True, slots=True)
class StepDone:
    """One thing that has happened in a renewal, and when (UTC)."""

    what: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Standing:
    """How far a customer's renewal is.

    Attributes:
        renewal, state, reason: of the open renewal; None where none is open.
        blocked_by, blocked_message: why it cannot go on.
        apple_account: to sign in with; None when it is not known.
        renew_common_name, renew_serial: the portal's row to press *Renew* beside; None where
            *Create a Certificate* is right.
        not_after: of the active certificate.
        steps: what has been done, in order.
        acts, next_step: who does what next.
        request_file: what the request is called when it is saved; None while there is none.
        received: a certificate was accepted and waits to be activated.
        verdict: of the last isolation check of the active certificate.
        remote: the instance runs on a machine of its own; the certificate is uploaded there.
    """

    slug: str
    renewal: int | None
    state: str | None
    reason: str | None
    blocked_by: str | None
    blocked_message: str | None
    apple_account: str | None
    renew_common_name: str | None
    renew_serial: str | None
    active_serial: str | None
    not_after: datetime | None
    steps: tuple[StepDone, ...]
    acts: str
    next_step: str
    request_file: str | None
    received: bool
    verdict: str | None
    remote: bool = False

    @property
    def uploadable(self) -> bool:
        """Whether there is a request that a person can take to the portal."""
        return self.request_file is not None and not self.received


def start(
    embedded: Embedded,
    slug: str,
    reason: RenewalReason,
    *,
    actor: str,
    apple_account: str | None = None,
) -> list[str]:
    """Opens the renewal that a person wants, or goes on with the open one; gives notes.

    Args:
        reason: why; the consequences are in docs/renewing.md.
        actor: who, for the audit log.
        apple_account: with ``apple_account_changed``: the new one.

    Raises:
        Refused: the reason does not fit, or the customer is not in care.
    """
    with embedded.database.transaction() as session:
        return order_renewal(
            session,
            store.customer_by_slug(session, slug),
            reason,
            at=embedded.clock.now(),
            actor=actor,
            apple_account=apple_account,
        )


def cancel(embedded: Embedded, slug: str, *, actor: str) -> int | None:
    """Cancels the open renewal; gives its number, or None where none was open."""
    with embedded.database.transaction() as session:
        customer = store.customer_by_slug(session, slug)
        open_one = store.open_renewal(session, customer)
        if open_one is None:
            return None
        registry.cancel_renewal(
            session, customer, open_one, "by hand", at=embedded.clock.now(), actor=actor
        )
        return open_one.id


def drive(embedded: Embedded, slug: str) -> list[str]:
    """Does everything that is owed to the customer now; gives what could not be done."""
    summary = embedded.worker.drive(slug)
    embedded.send_mail()
    return summary.faults


def standing(embedded: Embedded, slug: str) -> Standing:
    """How far the customer's renewal is. Raises ``Refused``: ``customer_unknown``."""
    with embedded.database.reading() as session:
        record = store.load(session, store.customer_by_slug(session, slug))
        acts, step = next_step(session, record, embedded.policy, embedded.clock.now())
    renewal, active = record.renewal, record.active
    creates = renewal is not None and renewal.reason == RenewalReason.APPLE_ACCOUNT_CHANGED
    row = None if creates else active
    return Standing(
        slug=slug,
        renewal=None if renewal is None else renewal.id,
        state=None if renewal is None else renewal.state,
        reason=None if renewal is None else renewal.reason,
        blocked_by=None if renewal is None else renewal.blocked_code,
        blocked_message=None if renewal is None else renewal.blocked_message,
        apple_account=record.customer.apple_account,
        renew_common_name=None if row is None else row.common_name,
        renew_serial=None if row is None else row.serial,
        active_serial=None if active is None else active.serial,
        not_after=None if active is None else active.not_after,
        steps=() if renewal is None else tuple(_steps(renewal)),
        acts=acts,
        next_step=step,
        request_file=request_filename(slug) if renewal and is_signed(renewal) else None,
        received=record.received is not None,
        verdict=None if record.latest is None else record.latest.verdict,
        remote=record.customer.remote,
    )


def _steps(renewal: Renewal) -> Iterable[StepDone]:
    for what, at in (
        (f"opened ({renewal.reason})", renewal.opened_at),
        ("CSR made by the instance", renewal.csr_received_at),
        ("signed with the MDM signing key", renewal.signed_at),
        ("request handed over", renewal.delivered_at),
    ):
        if at is not None:
            yield StepDone(what, at)


def request_of(embedded: Embedded, slug: str) -> str:
    """The text of the request that goes to the portal.

    Raises:
        Refused: ``no_request_outstanding``.
    """
    found = embedded.desk(slug).work().request
    if found is None:
        raise refuse(
            "no_request_outstanding",
            f"Customer '{slug}' has no signed request.",
            f"Start a renewal with `pushcert renew {slug}`.",
        )
    return found.request


def devices_that_enrol_again(embedded: Embedded, slug: str) -> int:
    """How many devices the instance knows: all must enrol again when the topic changes.

    Of an instance that runs elsewhere: how many it has told the vendor of.
    """
    if embedded.is_remote(slug):
        with embedded.database.reading() as session:
            return store.count_tokens(session, store.customer_by_slug(session, slug))
    if not Vault.exists(embedded.vault_directory(slug)):
        return 0
    with embedded.vault(slug) as vault:
        return vault.devices.enrolled()


def take_certificate(
    embedded: Embedded, slug: str, data: bytes, *, accept_new_topic: str | None, actor: str
) -> UploadOutcome:
    """Takes in the portal's certificate and goes on as far as it goes.

    Raises:
        Refused: with every finding; nothing was written.
    """
    outcome = embedded.upload(slug, data, accept_new_topic, operator=actor)
    embedded.send_mail()
    return outcome
