"""The registry's rows on their way into a database on a server: all of them as they were, or none.

That they are the same again, and that the year goes on with them, is in test_restored_year.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlmodel import func, select

from lifecycle.errors import InternalFault, Refused
from lifecycle.vendor import registry, store
from lifecycle.vendor.audit import verify_log
from lifecycle.vendor.database import Database
from lifecycle.vendor.models import AuditEntry, Customer
from lifecycle.vendor.snapshot import put_rows, take_snapshot

NOW = datetime(2027, 3, 1, 9, tzinfo=UTC)
LEASED = "UPDATE customer SET leased_to = 'a worker', leased_until = next_action_at"


def add(database: Database, slug: str) -> int:
    new = registry.NewCustomer(slug, slug.title(), f"it@{slug}.example")
    with database.transaction() as session:
        registry.add(session, new, at=NOW, actor="operator:test")
        return store.key_of(store.customer_by_slug(session, slug))


def count(database: Database) -> tuple[int, int]:
    with database.reading() as session:
        customers = session.exec(select(func.count()).select_from(Customer)).one()
        return customers, session.exec(select(func.count()).select_from(AuditEntry)).one()


@pytest.fixture
def saved(sqlite_url: str, tmp_path: Path) -> Path:
    """A snapshot with three customers, one of whom was being worked on."""
    database, made = Database(sqlite_url), tmp_path / "registry.sqlite"
    for slug in ("acme", "birch", "cedar"):
        add(database, slug)
    with database.transaction() as session:
        session.connection().execute(text(LEASED))
    take_snapshot(database, made)
    database.close()
    return made


@pytest.fixture
def server(postgres_url: str) -> Iterator[Database]:
    database = Database(postgres_url)
    yield database
    database.close()


def test_the_servers_counters_go_on_and_nobody_holds_a_lease_there(
    saved: Path, server: Database
) -> None:
    put_rows(saved, server)
    assert add(server, "dogwood") == 4
    assert count(server) == (4, 4)
    with server.reading() as session:
        assert verify_log(session).problem is None
        leases = session.connection().execute(text("SELECT leased_to, leased_until FROM customer"))
        assert {tuple(lease) for lease in leases} == {(None, None)}


def test_what_is_taken_from_a_server_is_put_onto_another_file_and_back(
    saved: Path, server: Database, tmp_path: Path
) -> None:
    put_rows(saved, server)
    take_snapshot(server, tmp_path / "again.sqlite")
    again = Database(f"sqlite:///{tmp_path / 'again.sqlite'}")
    try:
        assert count(again) == count(server) == (3, 3)
        assert add(again, "dogwood") == 4
    finally:
        again.close()


def test_nothing_is_put_where_a_registry_is(saved: Path, server: Database) -> None:
    add(server, "yew")
    with pytest.raises(Refused) as refused:
        put_rows(saved, server)
    assert refused.value.codes == ("restore_not_empty",)
    assert count(server) == (1, 1)


@pytest.mark.parametrize(
    ("table", "fault", "said"),
    [
        ("customer", "IF NEW.slug = 'birch' THEN RETURN NULL; END IF", "3 rows of the table"),
        ("audit", "IF NEW.seq = 2 THEN NEW.actor = 'nobody'; END IF", "audit log is not whole"),
    ],
    ids=["swallows", "alters"],
)
def test_a_server_that_changes_what_it_is_given_keeps_none_of_it(
    saved: Path, server: Database, table: str, fault: str, said: str
) -> None:
    with server.transaction() as session:
        body = f"BEGIN {fault}; RETURN NEW; END"
        session.connection().execute(
            text(f"CREATE FUNCTION meddle() RETURNS trigger LANGUAGE plpgsql AS '{quoted(body)}'")
        )
        session.connection().execute(
            text(
                f"CREATE TRIGGER meddle BEFORE INSERT ON {table}"
                " FOR EACH ROW EXECUTE FUNCTION meddle()"
            )
        )
    with pytest.raises(InternalFault, match=said):
        put_rows(saved, server)
    assert count(server) == (0, 0)


def quoted(body: str) -> str:
    return body.replace("'", "''")


@pytest.mark.parametrize(
    ("name", "said"),
    [("x" * 5000, "too long"), ("a\0b", "NUL")],
    ids=["longer than the column", "a character that it does not take"],
)
def test_a_value_that_only_sqlite_takes_is_refused_with_its_table_and_without_itself(
    saved: Path, server: Database, name: str, said: str
) -> None:
    with closing(sqlite3.connect(saved)) as database, database:
        database.execute("UPDATE customer SET name = ? WHERE slug = 'birch'", (name,))
    with pytest.raises(Refused) as refused:
        put_rows(saved, server)
    assert refused.value.codes == ("restore_row_unfit",)
    sentence = refused.value.findings[0].message
    assert "customer" in sentence
    assert said in sentence
    assert name not in sentence
    assert count(server) == (0, 0)
