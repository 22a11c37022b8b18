"""A page of the report and the whole in a stream say what the report in memory says, in its order.

The registry is made at random, with every kind of customer at every border of the policy.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from dataclasses import astuple, replace
from datetime import UTC, datetime, timedelta
from itertools import product

import pytest
from sqlmodel import Session, select

from lifecycle.errors import DatabaseLost, InternalFault
from lifecycle.vendor import report_shares, reporting
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
from lifecycle.vendor.report_lines import Choice
from lifecycle.vendor.report_page import page
from lifecycle.vendor.report_shares import Order

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
            name=rng.choice(["Acme GmbH", "=cmd()", "Été\rSARL", 'The "A"', "A, B", "Two\nlines"]),
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


def test_the_lines_are_the_whole_report_in_its_order(database: Database) -> None:
    for tags in ((), ("region:emea",), ("none", "region:emea")):
        report = whole(database, tags)
        expected = as_csv(replace(report, signers=())).split("\n", 1)[1]
        for processes in (1, 3):
            found = read(database, Order(POLICY, NOW, tags), processes)
            assert found.split("\n") == expected.split("\n"), (tags, processes)
        assert len(report.rows) > (200 if not tags else 20)
        assert tags or set(report.counts) == {
            *("revoked", "expired", "urgent", "due", "no_certificate", "ok", "paused")
        }


def test_what_is_not_chosen_is_left_out_and_noted_all_the_same(database: Database) -> None:
    report = whole(database)
    spans = (None, 7 * DAY)
    for within, statuses, processes in product(spans, ((), ("ok", "expired")), (1, 2)):
        latest = None if within is None else NOW + within
        choice = Choice(latest, frozenset(statuses), frozenset({"urgent", "paused"}))
        noted: list[str] = []
        found = read(database, Order(POLICY, NOW, choice=choice), processes, noted)
        shown = replace(report.only(within=within, statuses=statuses), signers=())
        assert found == as_csv(shown).split("\n", 1)[1], (within, statuses, processes)
        expected = [row.slug for row in report.rows if row.status in choice.noted]
        assert sorted(noted) == sorted(expected)


def read(database: Database, order: Order, processes: int, noted: list[str] | None = None) -> str:
    note = ([] if noted is None else noted).append
    found = report_shares.pieces(database, order, processes=processes, worth_it=1, note=note)
    return b"".join(found).decode()


@pytest.mark.parametrize("count", [1, 3, CUSTOMERS, 1000])
def test_any_number_of_shares_holds_everybody_once(
    database: Database, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    expected = as_csv(replace(whole(database), signers=())).split("\n", 1)[1]
    with database.reading() as session:
        shares = report_shares.cut(session, count)
    assert len(shares) == min(count, CUSTOMERS)
    monkeypatch.setattr(report_shares, "cut", lambda *_: shares)
    for processes in (1, 2):
        assert read(database, Order(POLICY, NOW), processes) == expected


def test_a_process_that_dies_is_an_error_and_no_shorter_report(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report_shares, "_sorted", lambda *_: os._exit(9))
    with pytest.raises(InternalFault, match="ended before its time"):
        read(database, Order(POLICY, NOW), 2)


def test_what_a_process_meets_is_raised_as_if_this_one_had_met_it(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    def meet(*_: object) -> None:
        raise DatabaseLost("The vendor database cannot be used just now.", "Try again.")

    monkeypatch.setattr(report_shares, "_sorted", meet)
    with pytest.raises(DatabaseLost) as caught:
        read(database, Order(POLICY, NOW), 2)
    assert caught.value.remedy == "Try again."


@pytest.mark.parametrize("commits", [1, 1000])
def test_what_is_committed_while_they_begin_is_seen_by_all_processes_or_by_none(
    database: Database, monkeypatch: pytest.MonkeyPatch, commits: int
) -> None:
    """They begin anew after each commit; if there are too many, one process reads alone."""
    heard = report_shares._Reader.hear
    done: list[object] = []

    def commit_and_hear(reader: report_shares._Reader) -> object:
        said = heard(reader)
        if len(done) < commits and said is None:
            done.append(said)
            with database.transaction() as session:
                session.add(Bounce(address=f"b{len(done)}@x.example", at=NOW, why="550"))
                for customer in session.exec(select(Customer)):
                    customer.name = f"Name {len(done)}"
        return said

    if commits > 1 and database.has_one_writer:
        monkeypatch.setattr(report_shares, "_together", lambda *_: pytest.fail("not agreed"))
    monkeypatch.setattr(report_shares._Reader, "hear", commit_and_hear)
    before = as_csv(replace(whole(database), signers=())).split("\n", 1)[1]
    found = read(database, Order(POLICY, NOW), 2)
    if not database.has_one_writer:
        assert found == before  # the snapshot is as old as the order
        return
    assert {line.split(",")[2] for line in found.splitlines()} == {f"Name {len(done)}"}
    assert found == as_csv(replace(whole(database), signers=())).split("\n", 1)[1]
    assert len(done) == (1 if commits == 1 else 2 * report_shares.TRIES)


def test_pages_put_together_are_the_whole_report(database: Database) -> None:
    expected = whole(database).rows
    for limit in (3, 40, 1000):
        assert_pages(database, limit, expected)


def assert_pages(database: Database, limit: int, expected: tuple[ReportRow, ...]) -> None:
    rows: list[ReportRow] = []
    with database.reading() as session:
        for skip in range(0, len(expected) + limit, limit):
            found = page(session, POLICY, NOW, limit=limit, skip=skip)
            assert len(found) == max(0, min(limit, len(expected) - skip))
            rows += found
    assert [row.slug for row in rows] == [row.slug for row in expected]
    assert [astuple(row) for row in rows] == [astuple(row) for row in expected]
