"""Made-up rows for reports: many customers in every state there is."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

from lifecycle.vendor.facts import (
    CertificateFacts,
    CustomerFacts,
    IsolationFacts,
    Policy,
    RenewalFacts,
    RenewalReason,
    RenewalState,
    Verdict,
)
from lifecycle.vendor.report import CustomerDetails, Report, build_report

NOW = datetime(2027, 3, 1, 9, tzinfo=UTC)
DAY = timedelta(days=1)
HOSTILE = "<script>document.title='owned'</script><img src=//evil.example/x> =cmd()"


def row(number: int, rng: random.Random) -> tuple[CustomerFacts, CustomerDetails]:
    """One customer; number 7 has a name that means harm, number 8 is breached."""
    slug = f"customer-{number:05}"
    days = rng.randrange(46 * 24, 364 * 24) / 24
    if number % 12 == 0:
        days = rng.choice([-5, 0.5, 3, 6, 12, 25, 40])
    active = CertificateFacts(
        id=number + 1,
        topic=f"com.apple.mgmt.External.{rng.getrandbits(128):032x}",
        serial=f"{rng.getrandbits(64):016X}",
        common_name=f"APSP:{number}",
        not_before=NOW - 300 * DAY,
        not_after=NOW + timedelta(hours=round(days * 24)),
        activated_at=NOW - 300 * DAY,
    )
    renewal = None
    if days < 35:
        blocked = "signer_expired" if number % 5 == 0 else None
        state = RenewalState.CSR_RECEIVED if blocked else RenewalState.DELIVERED
        renewal = RenewalFacts(1, state, RenewalReason.EXPIRY, NOW - 9 * DAY, blocked_code=blocked)
    breached = number == 8
    facts = CustomerFacts(
        slug=slug,
        active=None if number % 97 == 0 else active,
        renewal=renewal,
        paused=number % 211 == 0,
        isolation=IsolationFacts(
            False, NOW - 3 * DAY, Verdict.BREACHED if breached else Verdict.ISOLATED
        ),
    )
    details = CustomerDetails(
        name=HOSTILE if number == 7 else f"{rng.choice(NAMES)} {rng.choice(KINDS)} {number}",
        email=f"it@{slug}.example",
        apple_account=None if number % 50 == 1 else f"push@{slug}.example",
        blocked_at=NOW - 4 * DAY if renewal and renewal.blocked_code else None,
        blocked_message="The MDM signing certificate expired on 2027-02-25. Get a new one."
        if renewal and renewal.blocked_code
        else None,
        verdict_why="APNs accepted a push to another tenant's device." if breached else None,
        bounced=(f"it@{slug}.example",) if number % 300 == 3 else (),
        tags=("region:emea",) if number % 3 == 0 else (),
    )
    return facts, details


NAMES = ("Northwind", "Müller", "Contoso", "Château", "Óptima", "東京", "Fabrikam", "Globex")
KINDS = ("School District", "GmbH & Co. KG", "Health", "Logistics S.A.", "University", "銀行")


def many(count: int, *, at: datetime = NOW, seed: int = 1) -> Report:
    """A report of ``count`` customers, the same for the same seed."""
    rng = random.Random(seed)  # noqa: S311 - repeatable, no secret
    signers = [("MDM Vendor: Example", at + 20 * DAY), ("Apple WWDR G3", at + 900 * DAY)]
    rows = [row(number, rng) for number in range(count)]
    return build_report(rows, signers, Policy(), at, undelivered=2)
