"""Registries of made-up customers in every state there is, in a real database."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import insert
from sqlmodel import Session

from lifecycle.vendor.access_models import InstanceCredential
from lifecycle.vendor.facts import RenewalReason, RenewalState
from lifecycle.vendor.models import Certificate, Customer, CustomerTag, IsolationCheck, Renewal
from tests.vendor.report_rows import HOSTILE, KINDS, NAMES

NOW = datetime(2027, 3, 1, 9, tzinfo=UTC)
DAY = timedelta(days=1)
_ENDS = (-400, -5, -1, 0, 0.5, 3, 6.9, 7, 12, 25, 34.9, 35, 38, 41, 44.9, 45, 46)
"""Days from now; where one status gives way to the next."""
_BLOCKS = (
    ("signer_expired", "The MDM signing certificate expired on 2027-02-25. Get a new one."),
    ("signing_failed", "The MDM signing key cannot be read."),
    ("topic_changed", "The certificate has another topic: it was created, not renewed."),
    ("signerless", "Nothing that begins with the vendor's codes."),
)


def fill(session: Session, count: int, *, seed: int = 1, at: datetime = NOW) -> None:
    """Adds ``count`` customers, the same for the same seed; number 7's name means harm."""
    rng = random.Random(seed)  # noqa: S311 - repeatable, no secret
    rows: dict[type[Any], list[dict[str, Any]]] = {
        Customer: [],
        Renewal: [],
        Certificate: [],
        CustomerTag: [],
        IsolationCheck: [],
        InstanceCredential: [],
    }
    for number in range(1, count + 1):
        _customer(number, rng, rows, at)
    for table, values in rows.items():
        by_columns: dict[tuple[str, ...], list[dict[str, Any]]] = {}
        for value in values:
            by_columns.setdefault(tuple(value), []).append(value)
        for alike in by_columns.values():
            session.execute(insert(table), alike)


def _customer(
    number: int, rng: random.Random, rows: dict[type[Any], list[dict[str, Any]]], at: datetime
) -> None:
    slug = f"customer-{number:05}"
    paused = rng.random() < 0.03
    until = rng.choice([None, at - DAY, at, at + 5 * DAY]) if paused else None
    rows[Customer].append(
        {
            "id": number,
            "slug": slug,
            "name": HOSTILE if number == 7 else f"{rng.choice(NAMES)} {rng.choice(KINDS)} {number}",
            "email": f"it@{slug}.example",
            "apple_account": None if number % 50 == 1 else f"push@{slug}.example",
            "kind": "canary" if number == 3 else "customer",
            "created_at": at - 400 * DAY,
            "paused_at": at - DAY if paused else None,
            "paused_reason": "moving" if paused else None,
            "paused_until": until,
            "offboarded_at": at - DAY if number % 199 == 0 else None,
            "remote": number % 2 == 0,
        }
    )
    if number % 3 == 0:
        rows[CustomerTag].append({"customer_id": number, "tag": "region:emea"})
    _certificates(number, rng, rows, at)
    if number % 2 == 0:
        heard = rng.choice([None, at - 3 * DAY, at - timedelta(minutes=4)])
        rows[InstanceCredential].append(
            {
                "id": f"{number:032x}",
                "customer_id": number,
                "public_key": number.to_bytes(32, "big"),
                "sealing_key": bytes(32),
                "created_at": at - rng.choice([0, 100]) * DAY,
                "seen_at": heard,
                "revoked_at": at - DAY if number % 8 == 0 else None,
            }
        )


def _certificates(
    number: int, rng: random.Random, rows: dict[type[Any], list[dict[str, Any]]], at: datetime
) -> None:
    ends = rng.choice(_ENDS) if number % 4 == 0 else rng.randrange(46, 365)
    end = at + timedelta(days=ends)
    topic = f"com.apple.mgmt.External.{rng.getrandbits(128):032x}"
    has_active = number % 23 != 0
    first = 10 * number
    for key, state, not_after in (
        (first, "superseded", end - 365 * DAY),
        (first + 1, "active", end),
    ):
        if state == "active" and not has_active:
            continue
        rows[Certificate].append(_certificate(key, number, state, topic, not_after, rng))
    if not has_active or rng.random() < (0.7 if ends < 46 else 0.05):
        renewal = _renewal(number, rng, at)
        rows[Renewal].append(renewal)
        if rng.random() < 0.1:
            received = _certificate(first + 2, number, "received", topic, at + 365 * DAY, rng)
            rows[Certificate].append({**received, "renewal_id": number})
    if rng.random() < 0.9:
        said = rng.choice(["isolated"] * 9 + ["inconclusive"])
        verdict = "breached" if number % 400 == 8 else said
        of = first + 1 if has_active and rng.random() < 0.9 else first
        rows[IsolationCheck].append(
            {
                "customer_id": number,
                "certificate_id": of,
                "ordered_at": at - 3 * DAY,
                "concluded_at": at - 3 * DAY,
                "verdict": verdict,
                "why": "APNs took a push to another tenant's device."
                if verdict == "breached"
                else "",
                "answers": [],
            }
        )


def _certificate(
    key: int, customer: int, state: str, topic: str, end: datetime, rng: random.Random
) -> dict[str, Any]:
    return {
        "id": key,
        "customer_id": customer,
        "renewal_id": None,
        "state": state,
        "topic": topic,
        "serial": f"{rng.getrandbits(64):016X}",
        "common_name": f"APSP:{topic.rpartition('.')[2]}",
        "issuer": "CN=Apple Application Integration 2 Certification Authority",
        "fingerprint": f"{key:064x}",
        "key_fingerprint": f"{key:064x}",
        "not_before": end - 365 * DAY,
        "not_after": end,
        "der": b"",
        "recorded_at": end - 365 * DAY,
        "activated_at": end - 365 * DAY,
        "revoked_at": end - 366 * DAY if state == "active" and rng.random() < 0.02 else None,
    }


def _renewal(number: int, rng: random.Random, at: datetime) -> dict[str, Any]:
    state = rng.choice(
        [
            RenewalState.REQUESTED,
            RenewalState.CSR_RECEIVED,
            RenewalState.SIGNED,
            RenewalState.DELIVERED,
            RenewalState.DELIVERED,
        ]
    )
    code, message = rng.choice(_BLOCKS) if rng.random() < 0.2 else (None, None)
    handed_over = state == RenewalState.DELIVERED
    return {
        "id": number,
        "customer_id": number,
        "state": state,
        "reason": RenewalReason.EXPIRY,
        "opened_at": at - 9 * DAY,
        "delivered_at": at - 8 * DAY if handed_over else None,
        "request": "UmVxdWVzdA==" if handed_over else None,
        "blocked_code": code,
        "blocked_message": message,
        "blocked_at": at - rng.randrange(1, 9) * DAY if code else None,
    }
