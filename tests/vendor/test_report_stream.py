"""A page of the report and the whole in a stream say what the report in memory says, in its order.

The registry is made at random, with every kind of customer at every border of the policy.
"""

from __future__ import annotations

import csv
import io
import random
from collections.abc import Iterator
from dataclasses import astuple, replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlmodel import Session

from lifecycle.vendor import reporting
from lifecycle.vendor.database import Database
from lifecycle.vendor.facts import Policy
from lifecycle.vendor.models import (
    Bounce,
    Certificate,
    Contact,
    Customer,
    CustomerTag,
    IsolationCheck,
    Renewal,
)
from lifecycle.vendor.report import Report, ReportRow, as_csv
from lifecycle.vendor.report_csv import write_csv
from lifecycle.vendor.report_stream import Cursor, page, stream

NOW = datetime(2027, 3, 1, 12, 0, 0, 250_000, tzinfo=UTC)
DAY = timedelta(days=1)
POLICY = Policy()
BORDERS = (*(timedelta(days=d) for d in (-400, -1, 0, 1, 3, 7, 20, 36, 40, 45, 46, 300)),)
CUSTOMERS = 250


@pytest.fixture(scope="module")
def rng() -> random.Random:
    return random.Random(20270301)  # noqa: S311 - repeatable, no secret


@pytest.fixture
def database(database_url: str, rng: random.Random) -> Iterator[Database]:
    made = Database(database_url)
    with made.transaction() as session:
        for number in range(1, CUSTOMERS + 1):
            add(session, number, rng)
        session.add(Bounce(address="it@x3.example", at=NOW, why="550"))
        session.add(Bounce(address="z@x5.example", at=NOW, why="550"))
    yield made
    made.close()


def add(session: Session, number: int, rng: random.Random) -> None:
    paused = rng.random() < 0.1
    session.add(
        Customer(
            id=number,
            slug=f"{rng.choice(['acme', 'birch', 'cedar'])}-{number}",
            name=rng.choice(["Acme GmbH", "=cmd()", 'Says "hi", often', "Été\rSARL"]),
            email=f"it@x{number % 9}.example",
            apple_account=rng.choice([None, "mdm@acme.example", "+push@acme.example"]),
            kind="canary" if rng.random() < 0.02 else "customer",
            created_at=NOW,
            paused_at=NOW - DAY if paused else None,
            paused_reason="on hold" if paused else None,
            paused_until=rng.choice([None, NOW - DAY, NOW, NOW + DAY]) if paused else None,
            offboarded_at=NOW if rng.random() < 0.05 else None,
        )
    )
    session.flush()
    if rng.random() < 0.2:
        session.add_all([Contact(customer_id=number, address=f"{a}@x5.example") for a in "za"])
        session.add(CustomerTag(customer_id=number, tag="region:emea"))
    if rng.random() < 0.9:
        add_certificate(session, number, rng)
    if rng.random() < 0.3:
        add_renewal(session, number, rng)


def add_certificate(session: Session, number: int, rng: random.Random) -> None:
    offset = rng.choice(BORDERS) + rng.choice([0, 0, 1, -1]) * timedelta(seconds=1)
    fraction = rng.choice([NOW.microsecond, 0, 0, 0])
    end = (NOW + offset).replace(microsecond=fraction)
    session.add(certificate(number, number, "active", end, rng))
    session.flush()
    if rng.random() < 0.7:
        session.add(
            IsolationCheck(
                customer_id=number,
                certificate_id=number,
                ordered_at=NOW,
                concluded_at=NOW - rng.choice([DAY, timedelta(microseconds=1)]),
                verdict=rng.choice(["isolated", "isolated", "inconclusive", "breached"]),
                why=rng.choice([None, "All four probes were answered as they must be."]),
            )
        )
    if rng.random() < 0.2:
        session.add(
            IsolationCheck(
                customer_id=number, certificate_id=number, ordered_at=NOW, concluded_at=None
            )
        )


def certificate(
    id_: int, customer_id: int, state: str, end: datetime, rng: random.Random
) -> Certificate:
    return Certificate(
        id=id_,
        customer_id=customer_id,
        state=state,
        topic=f"com.apple.mgmt.External.{id_}",
        serial=f"{id_:X}",
        common_name=f"APSP:{id_}",
        issuer="Apple",
        fingerprint=f"{id_:064x}",
        key_fingerprint=f"{id_:064x}",
        not_before=end - 365 * DAY,
        not_after=end,
        der=b"",
        recorded_at=NOW,
        revoked_at=rng.choice([NOW - DAY, NOW, NOW + DAY]) if rng.random() < 0.1 else None,
    )


def add_renewal(session: Session, number: int, rng: random.Random) -> None:
    blocked = rng.choice([None, None, "signer_missing", "apns_unreachable"])
    session.add(
        Renewal(
            id=number,
            customer_id=number,
            state=rng.choice(["requested", "csr_received", "signed", "delivered", "fulfilled"]),
            reason=rng.choice(["expiry", "initial"]),
            opened_at=NOW - DAY,
            blocked_code=blocked,
            blocked_at=NOW - DAY if blocked else None,
            blocked_message="It waits." if blocked else None,
        )
    )
    session.flush()
    if rng.random() < 0.2:
        received = certificate(number + 10_000, number, "received", NOW + 365 * DAY, rng)
        received.renewal_id = number
        session.add(received)


def whole(database: Database, tags: tuple[str, ...] = ()) -> Report:
    return reporting.build(database, POLICY, NOW, tags=tags)


@pytest.mark.parametrize("tags", [(), ("region:emea",), ("none", "region:emea")])
def test_the_stream_is_the_whole_report_in_its_order(
    database: Database, tags: tuple[str, ...]
) -> None:
    report = whole(database, tags)
    with database.reading() as session:
        cells = list(stream(session, POLICY, NOW, tags=tags))
    expected = list(csv.reader(io.StringIO(as_csv(replace(report, signers=())))))
    found = list(csv.reader(io.StringIO("".join(write_csv(cells)))))
    assert [row[1] for row in found] == [row[1] for row in expected]
    assert found == expected
    assert len(cells) > (200 if not tags else 20)
    assert (
        set(report.counts)
        == {*("revoked", "expired", "urgent", "due", "no_certificate", "ok", "paused")}
        or tags
    )


@pytest.mark.parametrize("limit", [3, 40, 1000])
def test_pages_put_together_are_the_whole_report(database: Database, limit: int) -> None:
    rows: list[ReportRow] = []
    after: Cursor | None = None
    with database.reading() as session:
        while True:
            found = page(session, POLICY, NOW, limit=limit, after=after)
            assert len(found.rows) == limit or found.next is None
            rows += found.rows
            after = found.next
            if after is None:
                break
    expected = whole(database).rows
    assert [row.slug for row in rows] == [row.slug for row in expected]
    assert [astuple(row) for row in rows] == [astuple(row) for row in expected]
