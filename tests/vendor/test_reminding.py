"""A reminder because a person wants it: beside the ladder, not too often, and only of use."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlmodel import Session, select

from lifecycle.errors import Refused
from lifecycle.vendor import registry, store
from lifecycle.vendor.database import Database
from lifecycle.vendor.facts import Policy, RenewalReason, RenewalState
from lifecycle.vendor.migrations import upgrade
from lifecycle.vendor.models import AuditEntry, Certificate, Customer, OutboxMessage
from lifecycle.vendor.notices import Letterhead, Notices
from lifecycle.vendor.plan import Remind, plan
from lifecycle.vendor.reminding import NOT_WITHIN, Reminded, remind_now

NOW = datetime(2027, 3, 1, 9, tzinfo=UTC)
END = NOW + timedelta(days=13)
NOTICES = Notices(Letterhead("Example MDM", ("ops@vendor.example",)))


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    url = f"sqlite:///{tmp_path / 'vendor.sqlite'}"
    upgrade(url)
    database = Database(url)
    with database.transaction() as opened:
        yield opened
    database.close()


@pytest.fixture
def acme(session: Session) -> Customer:
    """Has a request to take to the portal; the certificate ends in 13 days."""
    new = registry.NewCustomer("acme", "Acme GmbH", "it@acme.example", contacts=("b@acme.example",))
    customer = registry.add(session, new, at=NOW, actor="operator:test")
    session.add(
        Certificate(
            customer_id=store.key_of(customer),
            state="active",
            topic="com.apple.mgmt.External.x",
            serial="3FA9C01B77DE",
            common_name="APSP:x",
            issuer="Apple",
            fingerprint="f",
            key_fingerprint="k",
            not_before=NOW - timedelta(days=352),
            not_after=END,
            der=b"",
            recorded_at=NOW,
        )
    )
    renewal = registry.open_renewal(session, customer, RenewalReason.EXPIRY, at=NOW, actor="worker")
    renewal.state, renewal.request = RenewalState.DELIVERED, "UmVxdWVzdA=="
    renewal.delivered_at = NOW
    session.add(renewal)
    session.flush()
    return customer


def remind(session: Session, customer: Customer, at: datetime = NOW) -> Reminded:
    return remind_now(session, customer, NOTICES, at=at, actor="user:anna")


def test_everybody_who_gets_the_customers_messages_gets_it_and_nobody_else(
    session: Session, acme: Customer
) -> None:
    done = remind(session, acme)
    assert done.again
    assert done.to == ("it@acme.example", "b@acme.example")
    row = session.get_one(OutboxMessage, done.message_id)
    assert (row.kind, row.copies, row.attach_request) == ("reminder", [], True)
    assert "3FA9C01B77DE" in row.body
    (entry,) = session.exec(select(AuditEntry).where(AuditEntry.action == "reminded_by_hand"))
    assert (entry.actor, entry.subject) == ("user:anna", "acme")
    assert entry.detail["to"] == list(done.to)


def test_the_ladder_goes_on_as_if_nothing_had_been_sent(session: Session, acme: Customer) -> None:
    def owed() -> list[str]:
        facts = store.load(session, acme).facts
        return [a.rung.key for a in plan(facts, Policy(), NOW).actions if isinstance(a, Remind)]

    before = owed()
    assert before == ["expiry:14"]
    remind(session, acme)
    assert owed() == before


def test_it_is_sent_once_within_some_hours_whoever_asks(session: Session, acme: Customer) -> None:
    first = remind(session, acme)
    again = remind(session, acme, NOW + NOT_WITHIN - timedelta(seconds=1))
    assert (again.again, again.at, again.message_id) == (False, NOW, first.message_id)
    later = remind(session, acme, NOW + NOT_WITHIN)
    assert later.again
    assert len(session.exec(select(OutboxMessage)).all()) == 2
    entries = session.exec(select(AuditEntry).where(AuditEntry.action == "reminded_by_hand")).all()
    assert len(entries) == 2


def test_of_nothing_that_the_customer_could_do_nobody_is_reminded(
    session: Session, acme: Customer
) -> None:
    renewal = store.open_renewal(session, acme)
    assert renewal is not None

    def refused() -> str:
        with pytest.raises(Refused) as found:
            remind(session, acme)
        return found.value.codes[0]

    for state in (RenewalState.REQUESTED, RenewalState.CSR_RECEIVED, RenewalState.SIGNED):
        renewal.state = state
        session.add(renewal)
        session.flush()
        assert refused() == "nothing_to_remind_of", state
    renewal.state = RenewalState.DELIVERED
    session.add(renewal)
    registry.pause(session, acme, "moving", at=NOW, actor="operator:test")
    assert refused() == "customer_not_in_care"
    registry.resume(session, acme, at=NOW, actor="operator:test")
    registry.cancel_renewal(session, acme, renewal, "by hand", at=NOW, actor="operator:test")
    session.flush()
    assert refused() == "nothing_to_remind_of"
    registry.offboard(session, acme, at=NOW, actor="operator:test")
    assert refused() == "customer_not_in_care"
    assert session.exec(select(OutboxMessage)).all() == []


@pytest.mark.parametrize(
    ("query", "index"),
    [
        (
            "SELECT * FROM audit WHERE subject = 'acme' ORDER BY seq DESC LIMIT 40",
            "ix_audit_subject",
        ),
        ("SELECT id FROM outbox WHERE sent_at IS NULL AND attempts > 0", "ix_outbox_unsent"),
    ],
)
def test_what_a_page_asks_of_long_tables_is_found_by_an_index(
    session: Session, query: str, index: str
) -> None:
    plan_of = session.connection().execute(text(f"EXPLAIN QUERY PLAN {query}"))
    said = " ".join(str(row[3]) for row in plan_of)
    assert index in said
    assert "TEMP B-TREE" not in said
