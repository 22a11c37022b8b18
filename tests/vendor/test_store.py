"""What the database itself holds, whatever the code above it does."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy.exc import IntegrityError, StatementError
from sqlmodel import Session, select

from lifecycle.errors import Refused, Unavailable
from lifecycle.vendor import registry, store
from lifecycle.vendor.database import Database
from lifecycle.vendor.facts import CustomerKind, RenewalReason
from lifecycle.vendor.models import Certificate, Claim, Customer, OutboxMessage, Renewal

NOW = datetime(2027, 3, 1, 12, 0, 0, 123456, tzinfo=UTC)


class Recorder:
    """A write observer that remembers."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def reached(self, boundary: str) -> None:
        self.seen.append(boundary)


@pytest.fixture
def observer() -> Recorder:
    return Recorder()


@pytest.fixture
def database(database_url: str, observer: Recorder) -> Iterator[Database]:
    database = Database(database_url, observer)
    yield database
    database.close()


def add(session: Session, slug: str) -> Customer:
    new = registry.NewCustomer(slug, slug.title(), f"it@{slug}.example")
    return registry.add(session, new, at=NOW, actor="operator:test")


def certificate(customer: Customer, number: int, state: str) -> Certificate:
    return Certificate(
        customer_id=store.key_of(customer),
        state=state,
        topic="com.apple.mgmt.External.a",
        serial=f"{number:02X}",
        common_name="APSP:a",
        issuer="Apple",
        fingerprint=f"{number:064x}",
        key_fingerprint=f"{number:064x}",
        not_before=NOW,
        not_after=NOW + timedelta(days=365),
        der=b"",
        recorded_at=NOW,
    )


def test_due_customers_come_longest_overdue_first_and_no_others(database: Database) -> None:
    with database.transaction() as session:
        for number, slug in enumerate(("acme", "birch", "cedar", "delta")):
            customer = add(session, slug)
            customer.next_action_at = NOW - timedelta(hours=number) if number < 3 else None
        late = add(session, "ember")
        late.next_action_at = NOW + timedelta(microseconds=1)
    with database.reading() as session:
        names = {store.key_of(c): c.slug for c in session.exec(select(Customer))}
        due = [names[i] for i in store.due_customers(session, NOW, 10)]
        first = [names[i] for i in store.due_customers(session, NOW, 1)]
    assert due == ["cedar", "birch", "acme"]
    assert first == ["cedar"]


def test_a_second_open_renewal_is_impossible(database: Database) -> None:
    with database.transaction() as session:
        acme = add(session, "acme")
        registry.open_renewal(session, acme, RenewalReason.INITIAL, at=NOW, actor="test")
    with database.reading() as session:
        acme = store.customer_by_slug(session, "acme")
    with pytest.raises(IntegrityError), database.transaction() as session:
        registry.open_renewal(session, acme, RenewalReason.MANUAL, at=NOW, actor="test")
    with database.reading() as session:
        assert len(session.exec(select(Renewal)).all()) == 1


def test_a_second_active_certificate_is_impossible(database: Database) -> None:
    with database.transaction() as session:
        acme = add(session, "acme")
        session.add_all([certificate(acme, 1, "active"), certificate(acme, 2, "superseded")])
    with pytest.raises(IntegrityError), database.transaction() as session:
        session.add(certificate(store.customer_by_slug(session, "acme"), 3, "active"))


@pytest.mark.parametrize("kind", ["topic", "serial", "key"])
def test_what_belongs_to_one_customer_cannot_be_booked_for_a_second(
    database: Database, kind: str
) -> None:
    """Two processes may both have checked; the primary key decides."""
    with database.transaction() as session:
        acme, birch = add(session, "acme"), add(session, "birch")
        session.add(Claim(kind=kind, value="x", customer_id=store.key_of(acme)))
    with pytest.raises(IntegrityError), database.transaction() as session:
        session.add(Claim(kind=kind, value="x", customer_id=store.key_of(birch)))


def test_a_rung_cannot_be_told_twice(database: Database) -> None:
    def row(key: str) -> OutboxMessage:
        return OutboxMessage(
            dedupe_key=key,
            kind="reminder",
            ladder="certificate:1",
            rung="expiry:7",
            recipients=[],
            subject="",
            body="",
            created_at=NOW,
        )

    with database.transaction() as session:
        session.add(row("a"))
    with pytest.raises(IntegrityError), database.transaction() as session:
        session.add(row("b"))


def test_instants_come_back_aware_and_to_the_microsecond(database: Database) -> None:
    with database.transaction() as session:
        add(session, "acme")
    with database.reading() as session:
        assert store.customer_by_slug(session, "acme").created_at == NOW
    with pytest.raises(StatementError, match="zone"), database.transaction() as session:
        store.customer_by_slug(session, "acme").paused_at = NOW.replace(tzinfo=None)


def test_every_commit_is_announced_before_and_after(database: Database, observer: Recorder) -> None:
    with database.transaction() as session:
        add(session, "acme")
    assert observer.seen == ["vendor.commit:before", "vendor.commit:after"]
    with pytest.raises(Refused), database.transaction() as session:
        add(session, "acme")
    assert observer.seen.count("vendor.commit:after") == 1


def test_reading_writes_nothing(database: Database) -> None:
    with database.reading() as session:
        add(session, "acme")
        session.flush()
    with database.reading() as session:
        assert session.exec(select(Customer)).all() == []


def test_a_database_that_cannot_be_opened_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    database = Database(f"sqlite:///{tmp_path / 'folder'}")
    with pytest.raises(Unavailable, match="cannot be used"), database.reading():
        pass


def test_all_records_reads_in_batches_and_leaves_the_off_boarded_out(database: Database) -> None:
    with database.transaction() as session:
        for number in range(7):
            add(session, f"customer-{number}")
        gone = store.customer_by_slug(session, "customer-3")
        registry.offboard(session, gone, at=NOW, actor="test")
    with database.reading() as session:
        slugs = [r.customer.slug for r in store.all_records(session, batch=2)]
        everyone = [r.customer.slug for r in store.all_records(session, offboarded=True, batch=3)]
    assert slugs == [f"customer-{n}" for n in range(7) if n != 3]
    assert len(everyone) == 7


@pytest.mark.parametrize(
    ("slug", "name", "email", "codes"),
    [
        ("Acme", "Acme", "it@acme.example", {"slug_malformed"}),
        ("-acme", "Acme", "it@acme.example", {"slug_malformed"}),
        ("../acme", "Acme", "it@acme.example", {"slug_malformed"}),
        ("a" * 65, "Acme", "it@acme.example", {"slug_malformed"}),
        ("acme", " ", "it@acme.example", {"name_missing"}),
        ("acme", "Acme", "it", {"email_malformed"}),
        ("acme", "Acme", "it@acme.example\nBcc: x@y.example", {"email_malformed"}),
        ("ACME", "", "nobody", {"slug_malformed", "name_missing", "email_malformed"}),
    ],
)
def test_malformed_particulars_are_all_named(
    database: Database, slug: str, name: str, email: str, codes: set[str]
) -> None:
    with pytest.raises(Refused) as refused, database.transaction() as session:
        registry.add(session, registry.NewCustomer(slug, name, email), at=NOW, actor="test")
    assert set(refused.value.codes) == codes


def test_canary_tenants_are_found_by_kind(database: Database) -> None:
    with database.transaction() as session:
        add(session, "acme")
        canary = registry.NewCustomer("ours", "Ours", "ops@v.example", None, CustomerKind.CANARY)
        registry.add(session, canary, at=NOW, actor="test")
    with database.reading() as session:
        assert store.slugs_of_kind(session, CustomerKind.CANARY) == ["ours"]
