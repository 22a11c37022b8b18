"""Entries of the audit log and messages of the outbox, said for people. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Any

from lifecycle.pki.fingerprints import short
from lifecycle.vendor.dry_run import fate
from lifecycle.vendor.models import AuditEntry, OutboxMessage


@dataclass(frozen=True, slots=True)
class Moment:
    """One thing that happened.

    Attributes:
        who: who did it.
        what: in a few words.
        detail: what else is known; may be empty.
        tone: the status whose colour it has; empty: none.
        kind: ``audit`` or ``message``.
        number: of the entry or message, for the way to the next page.
    """

    at: datetime
    who: str
    what: str
    detail: str
    tone: str
    kind: str
    number: int


def of_entry(entry: AuditEntry) -> Moment:
    """An entry of the audit log."""
    detail = dict(entry.detail)
    said = _SAID.get(entry.action)
    try:
        what = _plain(entry.action) if said is None else said(detail)
    except (KeyError, TypeError, IndexError):
        what = _plain(entry.action)  # an entry of another version of pushcert
    return Moment(
        at=entry.at,
        who=who(entry.actor),
        what=what,
        detail=rest(detail),
        tone=_TONES.get(entry.action, ""),
        kind="audit",
        number=entry.seq,
    )


def of_message(row: OutboxMessage) -> Moment:
    """A message of the outbox, as it stands now."""
    to = ", ".join([*row.recipients, *row.copies]) or "nobody"
    by_hand = row.dedupe_key.startswith("reminder-now:")
    rung = f" ({_plain(row.rung)})" if row.rung else " (by hand)" if by_hand else ""
    failed = row.sent_at is None and row.attempts > 0
    return Moment(
        at=row.created_at,
        who=row.channel,
        what=f"{_plain(row.kind).capitalize()}{rung} to {to}",
        detail=f"{row.subject} — {fate(row)}",
        tone="urgent" if failed else "",
        kind="message",
        number=0 if row.id is None else row.id,
    )


def who(actor: str) -> str:
    """An actor, as a person would say it."""
    kind, _, name = actor.partition(":")
    match kind:
        case "user":
            return name
        case "operator":
            return f"{name} (command line)"
        case "instance":
            return "instance"
        case "address":
            return f"somebody at {name}"
        case _:
            return actor


def rest(detail: Mapping[str, Any]) -> str:
    """The facts of an entry, in one line."""
    return ", ".join(
        f"{_plain(name)}: {_value(value)}"
        for name, value in detail.items()
        if value not in (None, "", [], {})
    )


def _value(value: object) -> str:
    if isinstance(value, list):
        return (
            " → ".join(_value(one) for one in value)
            if len(value) == 2
            else ", ".join(_value(one) for one in value)
        )
    text = "none" if value in (None, "") else str(value)
    return short(text) if _FINGERPRINT.fullmatch(text) else text


_FINGERPRINT = re.compile(r"[0-9a-f]{64}")


def _plain(name: str) -> str:
    return name.replace("_", " ").replace(":", " ")


def _always(text: str) -> Callable[[Mapping[str, Any]], str]:
    return lambda _: text


_SAID: Mapping[str, Callable[[Mapping[str, Any]], str]] = MappingProxyType(
    {
        "customer_added": _always("Customer added"),
        "customer_edited": _always("What is recorded was changed"),
        "customer_paused": lambda d: f"Paused: {d['reason']}",
        "customer_resumed": _always("Taken up again"),
        "customer_offboarded": _always("Off-boarded"),
        "certificate_adopted": lambda d: f"Certificate {d['serial']} recorded",
        "certificate_received": lambda d: f"Certificate {d['serial']} handed in",
        "certificate_activated": lambda d: f"Certificate {d['serial']} active",
        "certificate_revoked": lambda d: f"Certificate {d['serial']} revoked by its issuer",
        "new_topic_accepted": lambda d: f"New topic accepted: {d['new_topic']}",
        "topic_change_accepted": lambda d: f"New topic accepted: {d['new_topic']}",
        "renewal_opened": lambda d: f"Renewal {d['renewal']} opened ({_plain(d['reason'])})",
        "renewal_cancelled": lambda d: f"Renewal {d['renewal']} cancelled",
        "renewal_blocked": lambda d: f"Renewal {d['renewal']} held up ({d['code']})",
        "csr_received": lambda d: f"CSR received for renewal {d['renewal']}",
        "request_signed": lambda d: f"Request signed for renewal {d['renewal']}",
        "request_delivered": lambda d: f"Request of renewal {d['renewal']} handed over",
        "reminded_by_hand": _always("Reminded by hand"),
        "isolation_check_ordered": _always("Isolation check ordered"),
        "isolation_isolated": _always("Isolation proven"),
        "isolation_breached": _always("Isolation breached"),
        "isolation_inconclusive": _always("Isolation check inconclusive"),
        "isolation_run_begun": _always("Isolation run begun"),
        "isolation_run_finished": _always("Isolation run finished"),
        "instance_invited": _always("Instance invited"),
        "invitation_withdrawn": _always("Invitation withdrawn"),
        "instance_enrolled": _always("Instance enrolled"),
        "credential_rotated": _always("Instance changed its keys"),
        "credential_revoked": _always("Instance shut out"),
        "signer_in_force": _always("MDM signing certificate in force"),
        "signed_in": _always("Signed in"),
        "signed_out": _always("Signed out"),
        "sign_in_closed": _always("Too many wrong passwords: sign-in closed for a while"),
        "sign_in_refused": _always("Sign-in refused: no role"),
        "user_added": lambda d: f"User added as {d['role']}",
        "user_disabled": _always("User disabled"),
        "user_enabled": _always("User enabled"),
        "user_password_set": _always("Password set"),
        "user_role_set": _always("Role changed"),
    }
)
_TONES: Mapping[str, str] = MappingProxyType(
    {
        "certificate_activated": "ok",
        "isolation_isolated": "ok",
        "isolation_breached": "breached",
        "isolation_inconclusive": "inconclusive",
        "certificate_revoked": "revoked",
        "renewal_blocked": "urgent",
        "sign_in_closed": "urgent",
        "sign_in_refused": "urgent",
        "credential_revoked": "urgent",
        "customer_paused": "paused",
    }
)
