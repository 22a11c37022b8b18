"""The report: the same status as the planner's, most urgent first, in every format."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from rich.console import Console

from cli.report_table import print_report
from lifecycle.vendor import reporting
from lifecycle.vendor.csv_cells import as_it_was
from lifecycle.vendor.database import Database
from lifecycle.vendor.facts import (
    CertificateFacts,
    CustomerFacts,
    IsolationFacts,
    Policy,
    RenewalFacts,
    RenewalReason,
    RenewalState,
    Status,
    Verdict,
)
from lifecycle.vendor.models import (
    Bounce,
    Certificate,
    Customer,
    IsolationCheck,
    OutboxMessage,
    Renewal,
)
from lifecycle.vendor.plan import status
from lifecycle.vendor.report import (
    URGENCY,
    BouncedAddress,
    CustomerDetails,
    Report,
    ReportRow,
    SignerRow,
    as_csv,
    as_json_text,
    build_report,
)

NOW = datetime(2027, 3, 1, 9, tzinfo=UTC)
DAY = timedelta(days=1)
POLICY = Policy()
TOPIC = "com.apple.mgmt.External.11111111-1111-4111-8111-111111111111"

Customers = list[tuple[CustomerFacts, CustomerDetails]]


def certificate(days: float, **changes: Any) -> CertificateFacts:
    values: dict[str, Any] = {
        "id": 1,
        "topic": TOPIC,
        "serial": "3FA9C01B77DE",
        "common_name": "APSP:11111111-1111-4111-8111-111111111111",
        "not_before": NOW - 300 * DAY,
        "not_after": NOW + days * DAY,
        "activated_at": NOW - 300 * DAY,
    }
    return CertificateFacts(**{**values, **changes})


def renewal(state: RenewalState = RenewalState.DELIVERED, **changes: Any) -> RenewalFacts:
    return RenewalFacts(1, state, RenewalReason.EXPIRY, NOW - DAY, **changes)


def customer(
    slug: str, days: float | None = 100, *, details: CustomerDetails | None = None, **facts: Any
) -> tuple[CustomerFacts, CustomerDetails]:
    active = None if days is None else certificate(days)
    return (
        CustomerFacts(**{"slug": slug, "active": active, **facts}),
        details or CustomerDetails(slug.title(), f"it@{slug}.example", f"mdm@{slug}.example"),
    )


def report(*customers: tuple[CustomerFacts, CustomerDetails], at: datetime = NOW) -> Report:
    return build_report(customers, [("MDM Vendor: Example", NOW + 20 * DAY)], POLICY, at)


EVERYBODY: Customers = [
    customer("ok", 200),
    customer("due", 20),
    customer("urgent", 6),
    customer("urgent-sooner", 5),
    customer("expired", -3),
    customer("revoked", None, active=certificate(90, revoked_at=NOW - DAY)),
    customer("new", None),
    customer("paused", 2, paused=True),
    customer("breached", 250, isolation=IsolationFacts(False, NOW, Verdict.BREACHED)),
    customer("gone", 3, offboarded=True),
]


def test_the_most_urgent_come_first_breaches_before_all_and_the_offboarded_not_at_all() -> None:
    assert [row.slug for row in report(*EVERYBODY).rows] == [
        "breached",
        "revoked",
        "expired",
        "urgent-sooner",
        "urgent",
        "due",
        "new",
        "ok",
        "paused",
    ]


def test_counts_are_by_status() -> None:
    assert report(*EVERYBODY).counts == {
        "revoked": 1,
        "expired": 1,
        "urgent": 2,
        "due": 1,
        "no_certificate": 1,
        "ok": 2,
        "paused": 1,
    }


def test_every_status_has_its_place_in_the_order_of_urgency() -> None:
    assert sorted(URGENCY) == sorted(Status)


instants = st.integers(-400, 400).map(lambda days: NOW + days * DAY)


@given(
    at=instants,
    not_after=st.none() | instants,
    revoked_at=st.none() | instants,
    paused=st.booleans(),
    open_=st.booleans(),
)
def test_the_report_and_the_planner_agree_on_the_status_at_any_instant(
    at: datetime,
    not_after: datetime | None,
    revoked_at: datetime | None,
    paused: bool,
    open_: bool,
) -> None:
    active = (
        None if not_after is None else certificate(0, not_after=not_after, revoked_at=revoked_at)
    )
    who = customer("acme", active=active, paused=paused, renewal=renewal() if open_ else None)
    (row,) = report(who, at=at).rows
    assert row.status == status(who[0], POLICY, at)
    assert row.next_step


def test_a_forecast_says_what_the_status_will_be() -> None:
    who = customer("acme", 30)
    assert report(who).rows[0].status == "due"
    assert report(who, at=NOW + 25 * DAY).rows[0].status == "urgent"
    later = report(who, at=NOW + 31 * DAY).rows[0]
    assert (later.status, later.days_left) == ("expired", -1)


@pytest.mark.parametrize(
    ("facts", "acts", "words"),
    [
        ({"renewal": renewal(RenewalState.REQUESTED)}, "instance", "makes the CSR"),
        ({"renewal": renewal(RenewalState.CSR_RECEIVED)}, "vendor", "signs the CSR"),
        ({"renewal": renewal(RenewalState.SIGNED)}, "vendor", "goes to the customer"),
        ({"renewal": renewal()}, "customer", "uploads the request"),
        ({"renewal": renewal(received=True)}, "instance", "activates"),
        ({"renewal": renewal(blocked_code="signer_missing")}, "vendor", "There is no signer."),
        ({"renewal": renewal(blocked_code="signing_failed")}, "vendor", "There is no signer."),
        ({"renewal": renewal(blocked_code="apns_unreachable")}, "instance", "There is no signer."),
        ({"paused": True}, "nobody", "paused (merger)"),
        ({"active": certificate(200)}, "nobody", "renewal opens 2027-"),
        ({"active": certificate(3)}, "vendor", "opens at the next tick"),
        ({"active": certificate(99, revoked_at=NOW)}, "vendor", "opens at the next tick"),
        ({"active": None}, "vendor", "opens at the next tick"),
    ],
)
def test_the_next_step_says_who_does_what(facts: dict[str, Any], acts: str, words: str) -> None:
    details = CustomerDetails(
        "Acme", "it@acme.example", None, "merger", NOW - DAY, "There is no signer."
    )
    (row,) = report(customer("acme", **facts, details=details)).rows
    assert row.acts == acts
    assert words in row.next_step


def test_only_what_ends_within_a_time_or_has_ended() -> None:
    shown = report(*EVERYBODY).only(within=20 * DAY)
    assert {row.slug for row in shown.rows} == {
        "due",
        "urgent",
        "urgent-sooner",
        "expired",
        "paused",
    }
    assert len(shown.signers) == 1
    assert report(*EVERYBODY).only(within=19 * DAY).signers == ()


def test_only_some_statuses() -> None:
    shown = report(*EVERYBODY).only(statuses=["urgent", "expired"])
    assert [row.slug for row in shown.rows] == ["expired", "urgent-sooner", "urgent"]
    assert shown.counts == {"expired": 1, "urgent": 2}
    assert report(*EVERYBODY).only() == report(*EVERYBODY)


@pytest.mark.parametrize(
    ("days", "stands"), [(46, "ok"), (45, "due"), (7, "urgent"), (0.5, "urgent"), (0, "expired")]
)
def test_the_signer_has_a_status_too(days: float, stands: str) -> None:
    found = build_report([], [("MDM Vendor: Example", NOW + days * DAY)], POLICY, NOW)
    assert found.signers[0].status == stands


def test_the_json_document_has_the_documented_keys() -> None:
    document = json.loads(as_json_text(report(*EVERYBODY)))
    assert list(document) == [
        *("at", "counts", "customers", "signers", "undelivered", "bounces"),
    ]
    assert document["at"] == "2027-03-01T09:00:00+00:00"
    for row in document["customers"]:
        assert list(row) == [field.name for field in fields(ReportRow)]
    for row in document["signers"]:
        assert list(row) == [field.name for field in fields(SignerRow)]
    assert document["customers"][2]["not_after"] == "2027-02-26T09:00:00+00:00"


def test_keys_that_scripts_depend_on_stay() -> None:
    assert {field.name for field in fields(ReportRow)} >= {
        *("slug", "name", "email", "apple_account", "status", "topic", "serial", "not_after"),
        *("days_left", "renewal_state", "renewal_reason", "renewal_opened_at", "blocked_by"),
        *("blocked_since", "blocked_message", "verdict", "last_checked_at", "acts", "next_step"),
    }
    assert {field.name for field in fields(SignerRow)} >= {"name", "not_after", "days_left"}


def test_the_csv_has_a_line_for_each_customer_and_each_certificate_of_the_signer() -> None:
    lines = list(csv.DictReader(io.StringIO(as_csv(report(*EVERYBODY)))))
    assert [line["kind"] for line in lines] == ["customer"] * 9 + ["signer"]
    assert lines[2]["slug"] == "expired"
    assert lines[2]["days_left"] == "-3"
    assert lines[6]["serial"] == ""
    assert (lines[9]["name"], lines[9]["days_left"]) == ("MDM Vendor: Example", "20")


@pytest.mark.parametrize("name", ["=1+1", "+1", "-1", "@x", "\tx", '=cmd|"/c calc"!A1'])
def test_no_cell_of_the_csv_is_a_formula(name: str) -> None:
    text = as_csv(report(customer("acme", details=CustomerDetails(name, "a@b.example", None))))
    (line,) = list(csv.DictReader(io.StringIO(text)))[:1]
    assert line["name"] == f"'{name}"


@given(name=st.text(max_size=40), email=st.text(max_size=40))
@example(name="", email="\r")
@example(name="'=", email="'")
@example(name='a"b\r\nc', email=",;\n")
def test_any_text_comes_back_from_csv_and_json(name: str, email: str) -> None:
    found = report(customer("acme", details=CustomerDetails(name, email, None)))
    document = json.loads(as_json_text(found))
    assert document["customers"][0]["name"] == name
    (line, _) = csv.DictReader(io.StringIO(as_csv(found), newline=""))
    assert as_it_was(line["name"]) == name.replace("\r", " ")
    assert as_it_was(line["email"]) == email.replace("\r", " ")


# The table


def table(found: Report, width: int = 80) -> str:
    out = Console(width=width, record=True, file=io.StringIO(), highlight=False)
    print_report(found, out, None)
    return out.export_text()


BUSY: Customers = [
    *EVERYBODY,
    customer(
        "a-slug-as-long-as-a-slug-can-be-and-not-a-single-character-longer",
        -100,
        isolation=IsolationFacts(False, NOW, Verdict.BREACHED),
        renewal=renewal(blocked_code="signer_expired"),
        details=CustomerDetails(
            "Acme",
            "it@acme.example",
            None,
            blocked_at=NOW - 9 * DAY,
            blocked_message="The MDM signing certificate expired on 2027-02-20. Import another.",
        ),
    ),
]


def test_the_table_fits_80_columns_and_loses_no_slug() -> None:
    text = table(report(*BUSY))
    assert max(len(line) for line in text.splitlines()) <= 80
    for facts, _ in EVERYBODY[:-1]:
        assert facts.slug in text
    folded = "".join(line[:20].strip() for line in text.splitlines())
    assert BUSY[-1][0].slug in folded


def test_the_table_says_what_is_stuck_since_when_and_who_must_act() -> None:
    text = " ".join(table(report(*BUSY), 200).split())
    assert "ISOLATION BREACHED" in text
    assert "held up since 2027-02-20, vendor must act" in text
    assert "The MDM signing certificate expired on 2027-02-20" in text
    assert "signer: MDM Vendor: Example, until 2027-03-21 (20 d)" in text


@pytest.mark.parametrize(("count", "words"), [(1, "1 message could"), (2, "2 messages could")])
def test_the_table_says_in_a_line_what_could_not_be_delivered(count: int, words: str) -> None:
    text = table(build_report([], [], POLICY, NOW, undelivered=count))
    assert f"{words} not be delivered: see pushcert doctor" in text


@pytest.mark.parametrize("width", [80, 132, 220, 300])
def test_the_table_shows_more_where_there_is_room(width: int) -> None:
    text = table(report(*BUSY), width)
    assert max(len(line) for line in text.splitlines()) <= width
    assert ("Apple Account" in text) == (width >= 132)
    assert (TOPIC in text) == (width >= 220)


def test_the_table_of_nobody_says_so() -> None:
    assert "no customers" in table(build_report([], [], POLICY, NOW))


def test_names_are_never_taken_for_markup() -> None:
    details = CustomerDetails("x", "x", None, paused_reason="[bold]see [/nothing]")
    assert "[bold]see [/nothing]" in table(
        report(customer("acme", paused=True, details=details)), 160
    )


def test_the_table_can_go_to_a_file(tmp_path: Path) -> None:
    print_report(report(*EVERYBODY), None, tmp_path / "report.txt")
    assert "expired" in (tmp_path / "report.txt").read_text()


# From the database


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    made = Database(database_url)
    yield made
    made.close()


def test_the_report_from_the_database_carries_every_fact(database: Database) -> None:
    with database.transaction() as session:
        session.add(
            Customer(
                id=1,
                slug="acme",
                name="Acme GmbH",
                email="it@acme.example",
                apple_account="mdm@acme.example",
                created_at=NOW,
            )
        )
        session.flush()
        session.add(
            Certificate(
                id=1,
                customer_id=1,
                state="active",
                topic=TOPIC,
                serial="3FA9C01B77DE",
                common_name="APSP:1",
                issuer="Apple",
                fingerprint="f",
                key_fingerprint="k",
                not_before=NOW - 350 * DAY,
                not_after=NOW + 15 * DAY,
                der=b"",
                recorded_at=NOW,
                activated_at=NOW,
            )
        )
        session.add(
            Renewal(
                id=1,
                customer_id=1,
                state=RenewalState.CSR_RECEIVED,
                reason=RenewalReason.EXPIRY,
                opened_at=NOW - DAY,
                blocked_code="signer_missing",
                blocked_message="There is no signer.",
                blocked_at=NOW - DAY,
            )
        )
        session.flush()
        session.add(
            IsolationCheck(
                customer_id=1,
                certificate_id=1,
                ordered_at=NOW,
                concluded_at=NOW,
                verdict=Verdict.INCONCLUSIVE,
                why="APNs could not be reached.",
                answers=[],
            )
        )
        session.add(
            Customer(id=2, slug="gone", name="x", email="x", created_at=NOW, offboarded_at=NOW)
        )
    found = reporting.build(database, POLICY, NOW)
    assert found.signers == ()
    assert (found.undelivered, found.bounces) == (0, ())
    assert found.rows == (
        ReportRow(
            slug="acme",
            name="Acme GmbH",
            email="it@acme.example",
            apple_account="mdm@acme.example",
            status="due",
            topic=TOPIC,
            serial="3FA9C01B77DE",
            not_after=NOW + 15 * DAY,
            days_left=15,
            renewal_state="csr_received",
            renewal_reason="expiry",
            renewal_opened_at=NOW - DAY,
            blocked_by="signer_missing",
            blocked_since=NOW - DAY,
            blocked_message="There is no signer.",
            verdict="inconclusive",
            verdict_why="APNs could not be reached.",
            last_checked_at=NOW,
            acts="vendor",
            next_step="There is no signer.",
            common_name="APSP:1",
        ),
    )


def test_messages_that_failed_and_addresses_that_bounce_are_in_the_report(
    database: Database,
) -> None:
    with database.transaction() as session:
        session.add(Customer(slug="acme", name="Acme", email="ann@acme.example", created_at=NOW))
        session.add(Bounce(address="ann@acme.example", at=NOW - DAY, why="550 no such user"))
        for number, sent_at in enumerate((NOW, None)):
            session.add(
                OutboxMessage(
                    dedupe_key=str(number),
                    kind="digest",
                    recipients=["ops@vendor.example"],
                    subject="Digest",
                    body="x",
                    created_at=NOW - DAY,
                    next_attempt_at=None if sent_at else NOW,
                    attempts=1,
                    sent_at=sent_at,
                    last_error=None if sent_at else "no route to host",
                )
            )
    found = reporting.build(database, POLICY, NOW)
    assert found.undelivered == 1
    assert found.bounces == (BouncedAddress("ann@acme.example", NOW - DAY, "550 no such user"),)
