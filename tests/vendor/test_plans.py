"""What must not grow with the number of customers runs on an index: read from the plans.

The tables are filled first, and the database has looked at them: of a table with a few rows it
reads all, whatever there is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import ClauseElement, insert
from sqlmodel import Session, col, select

from bench.postgres import PostgresServer
from lifecycle.vendor import leases, outbox, store
from lifecycle.vendor.database import Database
from lifecycle.vendor.facts import OPEN_STATES
from lifecycle.vendor.migrations import upgrade
from lifecycle.vendor.models import (
    AuditEntry,
    Certificate,
    Customer,
    IsolationCheck,
    OutboxMessage,
    Renewal,
)
from lifecycle.vendor.report_groups import BREACHED, GROUPS, Group, everybody, statement

NOW = datetime(2027, 3, 1, 12, tzinfo=UTC)
MANY = 20_000
DAY = timedelta(days=1)


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def database(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Database]:
    """A registry of many customers, each with a certificate, checks and messages."""
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path_factory.mktemp('plans') / 'vendor.sqlite'}"
    else:
        server: PostgresServer = request.getfixturevalue("postgres")
        url = server.create("plans")
    upgrade(url)
    made = Database(url)
    with made.transaction() as session:
        fill(session)
    with made.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("ANALYZE")
    yield made
    made.close()
    if request.param != "sqlite":
        server.drop("plans")


def fill(session: Session) -> None:
    numbers = range(1, MANY + 1)
    session.execute(
        insert(Customer),
        [
            {
                "id": number,
                "slug": f"customer-{number:06}",
                "name": "x",
                "email": "it@x.example",
                "kind": "customer",
                "remote": False,
                "created_at": NOW,
                "next_action_at": NOW + timedelta(minutes=number),
            }
            for number in numbers
        ],
    )
    session.execute(insert(Renewal), [renewal(number) for number in numbers])
    session.execute(insert(Certificate), [certificate(number) for number in numbers])
    session.execute(insert(IsolationCheck), [check(number) for number in numbers])
    session.execute(insert(OutboxMessage), [message(number) for number in numbers])
    session.execute(insert(AuditEntry), [entry(number) for number in numbers])


def renewal(number: int) -> dict[str, Any]:
    return {
        "id": number,
        "customer_id": number,
        "state": "delivered" if number % 10 == 0 else "fulfilled",
        "reason": "expiry",
        "opened_at": NOW,
    }


def certificate(number: int) -> dict[str, Any]:
    return {
        "id": number,
        "customer_id": number,
        "state": "active",
        "topic": f"t{number}",
        "serial": f"{number:X}",
        "common_name": "x",
        "issuer": "x",
        "fingerprint": f"{number:064x}",
        "key_fingerprint": f"{number:064x}",
        "not_before": NOW,
        "not_after": NOW + timedelta(minutes=20 * number),
        "der": b"",
        "names_responder": False,
        "recorded_at": NOW,
    }


def check(number: int) -> dict[str, Any]:
    return {
        "id": number,
        "customer_id": number,
        "certificate_id": number,
        "ordered_at": NOW,
        "concluded_at": NOW - timedelta(minutes=number),
        "verdict": "isolated",
        "answers": [],
    }


def message(number: int) -> dict[str, Any]:
    return {
        "id": number,
        "dedupe_key": f"k{number}",
        "kind": "reminder",
        "channel": "mail",
        "customer_id": number,
        "renewal_id": number,
        "recipients": [],
        "copies": [],
        "subject": "x",
        "body": "x",
        "attach_request": False,
        "created_at": NOW,
        "attempts": 1,
        "lease_lapsed": False,
        "sent_at": None if number % 500 == 0 else NOW - timedelta(minutes=number),
        "next_attempt_at": NOW - DAY if number % 500 == 0 else None,
    }


def entry(number: int) -> dict[str, Any]:
    return {
        "seq": number,
        "at": NOW,
        "actor": "worker",
        "action": "a",
        "subject": f"customer-{number:06}",
        "detail": {},
        "previous": "",
        "hash": "",
    }


def plan_of(database: Database, statement: ClauseElement) -> str:
    """How the database means to carry a statement out, in its own words."""
    with database.reading() as session:
        connection = session.connection()
        if database.has_one_writer:
            said = statement.compile(connection, compile_kwargs={"literal_binds": True})
            found = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {said}")
        else:
            said = statement.compile(connection, compile_kwargs={"render_postcompile": True})
            found = connection.exec_driver_sql(f"EXPLAIN (COSTS OFF) {said}", said.params)
        return "\n".join(str(line[-1]) for line in found)


def reads_all_of(plan: str, table: str) -> bool:
    """Whether a plan goes through a whole table."""
    return f"Seq Scan on {table}" in plan or f"SCAN {table}\n" in plan + "\n"


def plan_of_group(database: Database, group: Group) -> str:
    """The same of a page of the report's group, which is SQL of our own."""
    sql = statement(group, postgresql=not database.has_one_writer, limit=50)
    bounds = {"at": NOW, "low": NOW + 7 * DAY, "high": NOW + 45 * DAY, "latest": NOW}
    for name, value in bounds.items():
        sql = sql.replace(f":{name}", f"'{value:%Y-%m-%d %H:%M:%S.%f}'")
    return plan_of_sql(database, sql)


def plan_of_sql(database: Database, sql: str) -> str:
    """The same of SQL of our own."""
    explain = "EXPLAIN QUERY PLAN" if database.has_one_writer else "EXPLAIN (COSTS OFF)"
    with database.reading() as session:
        found = session.connection().exec_driver_sql(f"{explain} {sql}")
        return "\n".join(str(line[-1]) for line in found)


SORTS = ("TEMP B-TREE", "Sort Key")


def test_the_due_query_runs_on_its_index_and_sorts_nothing(database: Database) -> None:
    plan = plan_of(database, store.due_statement(NOW + DAY, 100))
    assert "ix_customer_due" in plan
    assert not reads_all_of(plan, "customer")
    assert not any(word in plan for word in SORTS), plan


def test_taking_due_customers_runs_on_the_index_of_the_due(database: Database) -> None:
    if database.has_one_writer:
        return  # nothing is leased there
    statement = leases.take_statement(NOW + DAY, 100, "0123456789abcdef", leases.CUSTOMER_LEASE)
    plan = plan_of(database, statement)
    assert "LockRows" in plan
    assert "ix_customer_due" in plan
    assert not reads_all_of(plan, "customer")


@pytest.mark.parametrize("after", [None, (NOW - 2 * DAY, 3)])
def test_a_page_of_what_is_due_in_the_outbox_runs_on_its_index(
    database: Database, after: tuple[datetime, int] | None
) -> None:
    plan = plan_of(database, outbox.due_statement(NOW, after, 50))
    assert "ix_outbox_due" in plan
    assert not reads_all_of(plan, "outbox")
    assert not any(word in plan for word in SORTS), plan


LOOKUPS: dict[str, tuple[str, Callable[[], ClauseElement]]] = {
    "the open renewal of a customer": (
        "uq_renewal_one_open",
        lambda: select(Renewal).where(
            Renewal.customer_id == 77, col(Renewal.state).in_(sorted(OPEN_STATES))
        ),
    ),
    "the active certificate of a customer": (
        "uq_certificate_one_active|ix_certificate_active_of",
        lambda: select(Certificate).where(
            Certificate.customer_id == 77, Certificate.state == "active"
        ),
    ),
    "a customer by slug": (
        "uq_customer_slug",
        lambda: select(Customer).where(Customer.slug == "customer-000077"),
    ),
    "the check that was judged last": (
        "ix_isolation_check_latest",
        lambda: (
            select(IsolationCheck)
            .where(IsolationCheck.customer_id == 77, col(IsolationCheck.verdict).is_not(None))
            .order_by(col(IsolationCheck.concluded_at).desc(), col(IsolationCheck.id).desc())
            .limit(1)
        ),
    ),
    "the messages of a customer": (
        "ix_outbox_customer_id",
        lambda: select(OutboxMessage).where(OutboxMessage.customer_id == 77),
    ),
    "the messages of a renewal": (
        "ix_outbox_renewal_id",
        lambda: select(OutboxMessage).where(OutboxMessage.renewal_id == 77),
    ),
    "what was sent since yesterday": (
        "ix_outbox_sent_at",
        lambda: select(OutboxMessage).where(col(OutboxMessage.sent_at) > NOW - timedelta(hours=1)),
    ),
    "the newest entries about a customer": (
        "ix_audit_subject",
        lambda: (
            select(AuditEntry)
            .where(AuditEntry.subject == "customer-000077")
            .order_by(col(AuditEntry.seq).desc())
            .limit(10)
        ),
    ),
}


@pytest.mark.parametrize("what", LOOKUPS)
def test_what_a_customer_page_and_a_step_look_up_runs_on_an_index(
    database: Database, what: str
) -> None:
    index, statement = LOOKUPS[what]
    plan = plan_of(database, statement())
    named = {"uq_customer_slug": "sqlite_autoindex_customer_1"} if database.has_one_writer else {}
    assert re.search(named.get(index, index), plan), plan


def test_without_its_index_a_plan_would_be_found_wanting(database: Database) -> None:
    assert reads_all_of(plan_of(database, select(Customer).where(Customer.name == "y")), "customer")


_A_SCAN = re.compile(r"SCAN \w+|Seq Scan on (?:customer|certificate|isolation_check|renewal)\b")


@pytest.mark.parametrize("group", [BREACHED, *GROUPS], ids=lambda group: str(group.name))
def test_a_page_of_the_report_goes_through_no_table(database: Database, group: Group) -> None:
    plan = plan_of_group(database, group)
    if group.name == "no_certificate":
        # Who has none is found by looking at everybody: no index holds what is not there.
        assert _A_SCAN.search(plan), plan
    else:
        assert not _A_SCAN.search(plan), plan


def test_the_whole_report_is_read_along_the_customers_keys(database: Database) -> None:
    """A stretch of keys fetches no row of a certificate's: they are wide, and in no such order."""
    sql = everybody(postgresql=not database.has_one_writer)
    plan = plan_of_sql(database, sql.replace(":low", "4000").replace(":high", "4500"))
    if database.has_one_writer:
        assert "SEARCH cu USING INTEGER PRIMARY KEY" in plan
        assert "SEARCH c USING COVERING INDEX ix_certificate_active_of" in plan, plan
    else:
        assert "pk_customer" in plan
        assert not _A_SCAN.search(plan), plan
    joined = re.split("CORRELATED|SubPlan", plan)[0]  # a customer's own few words are sorted
    assert not any(word in joined for word in SORTS), plan
