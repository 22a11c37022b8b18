"""Offers about a renewal and its certificate: renew, remind, check the isolation. Pure."""

from __future__ import annotations

from datetime import datetime

from lifecycle.errors import Finding
from lifecycle.serve.dashboard.offer import (
    NOTED,
    Action,
    Choice,
    Circumstances,
    Offer,
    not_in_care,
    people,
    when_the_instance_acts,
)
from lifecycle.vendor.facts import CustomerKind, RenewalReason
from lifecycle.vendor.reminding import NOT_WITHIN, obstacle
from lifecycle.vendor.renewal_orders import starts_anew
from lifecycle.vendor.store import CustomerRecord


def renew(given: Circumstances) -> Offer:
    """Opens a renewal, or goes on with the open one."""
    record = given.record
    customer, active, renewal = record.customer, record.active, record.renewal
    to = people(given.to)
    happens = [
        f"Renewal {renewal.id}, open since {renewal.opened_at:%Y-%m-%d}, goes on; no second one is"
        " opened, unless the reason below begins anew."
        if renewal is not None
        else f"A renewal of {customer.name} opens now, whatever the date of expiry.",
        when_the_instance_acts(given, "makes a new key and a CSR"),
        f"Nobody gets a mail now. Once the request is signed, it goes to {to}.",
        NOTED,
    ]
    untouched = (
        "Certificates and devices of all other customers.",
        "There is no active certificate."
        if active is None
        else f"The active certificate (serial {active.serial}, until {active.not_after:%Y-%m-%d})"
        " stays in use until the new one is active.",
    )
    return Offer(
        Action.RENEW,
        f"Renew the certificate of {customer.name}",
        "Open the renewal" if renewal is None else "Go on",
        tuple(happens),
        untouched,
        not_in_care(given),
        _reasons(given),
    )


def _reasons(given: Circumstances) -> tuple[Choice, ...]:
    record = given.record
    if record.active is None:
        return (
            Choice(
                RenewalReason.MANUAL,
                "First certificate",
                "The customer presses Create a Certificate in the portal.",
            ),
        )
    opened = record.renewal
    anew = (
        ""
        if opened is None
        else f" Renewal {opened.id} is cancelled; its request must not be used any more."
    )
    return tuple(
        Choice(
            reason, label, means + (anew if starts_anew(reason) and _is_new(record, reason) else "")
        )
        for reason, label, means in (
            (
                RenewalReason.MANUAL,
                "Because I want it now",
                "The topic stays, and no device has to enrol again.",
            ),
            (
                RenewalReason.KEY_COMPROMISE,
                "The private key may be in wrong hands",
                "A new key is made in any case. The topic stays, and no device has to enrol again.",
            ),
            (
                RenewalReason.SIGNER_CHANGED,
                "The MDM signing certificate has changed",
                "A request that another signer has signed is signed again, and goes out again.",
            ),
            (
                RenewalReason.APPLE_ACCOUNT_CHANGED,
                "The Apple Account is lost",
                "Under another Apple Account there is nothing to renew: the customer creates a"
                " certificate, the topic changes, and every device must enrol again.",
            ),
        )
    )


def _is_new(record: CustomerRecord, reason: RenewalReason) -> bool:
    return record.renewal is not None and record.renewal.reason != reason


def remind(given: Circumstances) -> Offer:
    """Sends the message of the open renewal once more."""
    customer = given.record.customer
    refused = obstacle(given.record)
    last = given.last_message
    happens = [
        f"One mail goes to {people(given.to)}: the reminder of their open renewal, with the"
        " request and the steps at the portal.",
        "It waits in the outbox, because no mail server is configured (smtp.host)."
        if not given.mail
        else f"It waits until {given.quiet_until:%Y-%m-%d %H:%M} UTC, because customers are left"
        " alone until then (reminders.quiet_hours, quiet_days)."
        if given.quiet_until is not None
        else "It goes out with the next mail, within a minute or so.",
        "No message has gone to them so far."
        if last is None
        else f"The last message to them is of {last.created_at:%Y-%m-%d %H:%M} UTC:"
        f" “{last.subject}”.",
        NOTED,
    ]
    untouched = (
        "The reminder ladder: its next rung comes as planned.",
        "Vendor ops and chat channels get no copy.",
    )
    return Offer(
        Action.REMIND,
        f"Remind {customer.name} now",
        "Send the reminder",
        tuple(happens),
        untouched,
        _too_soon(given) if refused is None else refused.findings[0],
    )


def _too_soon(given: Circumstances) -> Finding | None:
    if given.by_hand is None:
        return None
    hours = int(NOT_WITHIN.total_seconds()) // 3600
    return Finding(
        "reminded_lately",
        f"{given.record.customer.name} was reminded by hand at"
        f" {given.by_hand.created_at:%Y-%m-%d %H:%M} UTC.",
        f"Wait until {given.by_hand.created_at + NOT_WITHIN:%H:%M} UTC ({hours} hours), or call"
        " them.",
    )


def check(given: Circumstances) -> Offer:
    """Orders an isolation check."""
    record = given.record
    happens = (
        when_the_instance_acts(given, "makes four test pushes with this customer's certificate"),
        "The customer's own canary device is woken once; the other three pushes must be refused"
        " by APNs, and wake nobody even if they are not.",
        "The verdict appears on this page. A breach is told to vendor ops at once.",
        "A check that is ordered already is not ordered twice."
        if record.ordered is None
        else f"A check has been ordered since {record.ordered.ordered_at:%Y-%m-%d %H:%M} UTC; it"
        " is hurried on.",
        NOTED,
    )
    untouched = ("The certificate, the renewal, all other devices; nobody gets a mail.",)
    return Offer(
        Action.CHECK,
        f"Check the isolation of {record.customer.name} now",
        "Order the check",
        happens,
        untouched,
        not_in_care(given) or _not_checkable(record, given.now),
    )


def _not_checkable(record: CustomerRecord, now: datetime) -> Finding | None:
    active, name = record.active, record.customer.name
    if record.customer.kind == CustomerKind.CANARY:
        why = f"{name} is the vendor's own canary tenant, which the others are checked against."
    elif active is None:
        why = f"{name} has no active certificate to check."
    elif active.not_after <= now or active.revoked_at is not None:
        why = f"The certificate of {name} has ended, so APNs refuses every push with it."
    else:
        return None
    return Finding("nothing_to_check", why, "See the timeline for what comes next.")
