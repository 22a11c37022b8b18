"""A PostgreSQL that is restarted, cut off, full of others' locks, or away: nothing is lost, nothing
is done twice, and nobody is told what a statement carried."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest
from sqlalchemy import text
from sqlmodel import Session, col, select

from bench.cutting import CuttingProxy
from bench.postgres import PostgresServer
from lifecycle.config import load_config
from lifecycle.errors import DatabaseLost, Refused, Unavailable
from lifecycle.registry_database import configured_database
from lifecycle.vendor import registry, store
from lifecycle.vendor.audit import verify_log
from lifecycle.vendor.database import ATTEMPTS, Database
from lifecycle.vendor.models import AuditEntry, Customer

NOW = datetime(2027, 3, 1, 9, tzinfo=UTC)
SECRET = "a-value-that-a-statement-carries"


@pytest.fixture
def proxy(postgres: PostgresServer) -> Iterator[CuttingProxy]:
    with CuttingProxy(postgres.socket) as made:
        yield made


@pytest.fixture
def database(postgres_url: str, proxy: CuttingProxy) -> Iterator[Database]:
    """A vendor database behind a proxy; nobody sleeps between two tries."""
    name = postgres_url.partition("@/")[2].partition("?")[0]
    made = Database(proxy.url(name), sleep=lambda _: None)
    yield made
    made.close()


def add(session: Session, slug: str) -> None:
    registry.add(
        session,
        registry.NewCustomer(slug, slug.title(), f"it@{slug}.example", notes=SECRET),
        at=NOW,
        actor="ops",
    )


def slugs(database: Database) -> list[str]:
    with database.reading() as session:
        return list(session.exec(select(Customer.slug).order_by(Customer.slug)))


def test_connections_that_were_cut_between_transactions_are_not_noticed(
    database: Database, proxy: CuttingProxy
) -> None:
    with database.transaction() as session:
        add(session, "acme")
    assert proxy.cut() > 0
    with database.transaction() as session:
        add(session, "birch")
    assert slugs(database) == ["acme", "birch"]


def test_a_connection_cut_inside_a_transaction_undoes_it_and_says_so(
    database: Database, proxy: CuttingProxy
) -> None:
    def lose() -> None:
        with database.transaction() as session:
            add(session, "acme")
            proxy.cut()
            add(session, "birch")

    with pytest.raises(Unavailable, match="cannot be used just now") as lost:
        lose()
    assert SECRET not in str(lost.value)
    assert lost.value.__cause__ is None
    assert "INSERT" not in str(lost.value)
    assert slugs(database) == []


def test_work_that_is_carried_out_begins_anew_and_is_done_once(
    database: Database, proxy: CuttingProxy
) -> None:
    begun: list[int] = []

    def work(session: Session) -> str:
        begun.append(len(begun))
        add(session, "acme")
        if len(begun) < 4:
            proxy.cut()
        add(session, "birch")
        return "done"

    assert database.carry_out(work) == "done"
    assert len(begun) == 4
    assert slugs(database) == ["acme", "birch"]


def test_a_commit_whose_answer_is_lost_is_carried_out_again_and_does_no_harm(
    database: Database, proxy: CuttingProxy
) -> None:
    with database.transaction() as session:
        add(session, "acme")
    begun: list[bool] = []

    def pause(session: Session) -> bool:
        customer = store.customer_by_slug(session, "acme")
        begun.append(customer.paused_at is None)
        if len(begun) == 1:
            proxy.swallow = True
        return registry.pause(session, customer, "on hold", at=NOW, actor="ops")

    assert database.carry_out(pause) is False
    assert (begun, proxy.swallowed) == ([True, False], 1)
    with database.reading() as session:
        assert verify_log(session).problem is None
        actions = list(session.exec(select(AuditEntry.action).order_by(col(AuditEntry.seq))))
    assert actions == ["customer_added", "customer_paused"]


def test_a_backend_that_an_administrator_ends_is_unavailable_in_a_sentence(
    database: Database, postgres_url: str
) -> None:
    other = Database(postgres_url)

    def end_it() -> None:
        with database.transaction() as session:
            pid = session.execute(text("SELECT pg_backend_pid()")).scalar_one()
            with other.engine.connect() as connection:
                connection.execute(text("SELECT pg_terminate_backend(:pid, 1000)"), {"pid": pid})
            add(session, "acme")

    with pytest.raises(DatabaseLost) as lost:
        end_it()
    other.close()
    assert str(lost.value).count("\n") == 0
    assert SECRET not in str(lost.value)


def test_a_server_that_is_away_is_waited_for_and_then_unavailable() -> None:
    with PostgresServer() as server:
        waits: list[float] = []
        database = Database(server.url("postgres"), sleep=waits.append)
        server.stop("immediate")
        with pytest.raises(Unavailable, match="Check that it is running"), database.reading():
            pass
        assert len(waits) == ATTEMPTS - 2
        server.start()

        def until_it_is_back(_seconds: float) -> None:
            waits.append(0)
            if len(waits) == 3:
                server.start()

        waits.clear()
        patient = Database(server.url("postgres"), sleep=until_it_is_back)
        server.stop("immediate")
        assert patient.carry_out(lambda session: session.execute(text("SELECT 1")).scalar()) == 1
        database.close()
        patient.close()


def test_a_primary_that_has_become_a_standby_is_unavailable(database: Database) -> None:
    with database.transaction() as session:
        # What a connection meets whose server was demoted under it.
        session.execute(text("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY"))
    with pytest.raises(DatabaseLost, match="read-only"), database.transaction() as session:
        add(session, "acme")


def test_two_transactions_in_each_others_way_are_both_done(postgres_url: str) -> None:
    database = Database(postgres_url)
    with database.transaction() as session:
        add(session, "acme")
        add(session, "birch")
    both_hold_one = threading.Barrier(2)

    def pause_both(first: str, second: str) -> int:
        tries = 0

        def work(session: Session) -> None:
            nonlocal tries
            tries += 1
            one = store.customer_by_slug(session, first)
            if tries == 1:
                both_hold_one.wait()
            other = store.customer_by_slug(session, second)
            for customer in (one, other):
                registry.pause(session, customer, first, at=NOW, actor="ops")

        database.carry_out(work)
        return tries

    with ThreadPoolExecutor(2) as threads:
        done = [
            threads.submit(pause_both, *order) for order in (("acme", "birch"), ("birch", "acme"))
        ]
        tries = sorted(one.result() for one in done)
    # Mostly one of them. The one that begins anew may be quicker at the free row than the other,
    # which waited for it: then they are in each other's way once more.
    assert tries[1] > 1, "one of them was begun anew"
    with database.reading() as session:
        assert verify_log(session).problem is None
        assert len({c.paused_reason for c in session.exec(select(Customer))}) == 1
    database.close()


def test_what_two_write_at_one_instant_is_seen_by_the_one_that_comes_second(
    postgres_url: str,
) -> None:
    database = Database(postgres_url)
    both_have_looked = threading.Barrier(2)

    def add_acme() -> str:
        tries = 0

        def work(session: Session) -> None:
            nonlocal tries
            tries += 1
            taken = session.exec(select(Customer).where(Customer.slug == "acme")).first()
            if tries == 1:
                both_have_looked.wait()
            if taken is None:
                add(session, "acme")

        database.carry_out(work)
        return "done"

    with ThreadPoolExecutor(2) as threads:
        assert [one.result() for one in [threads.submit(add_acme) for _ in range(2)]] == [
            "done",
            "done",
        ]
    assert slugs(database) == ["acme"]
    database.close()


# The password


def config(tmp_path_factory: pytest.TempPathFactory, lines: str) -> Database:
    directory = tmp_path_factory.mktemp("config")
    (directory / "config.toml").write_text(f"[vendor]\n{lines}\n")
    return configured_database(load_config(directory / "config.toml"))


def test_the_password_comes_from_its_source_for_each_connection_and_is_in_no_url(
    postgres_url: str,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = config(
        tmp_path_factory,
        f'database = "{postgres_url}"\ndatabase_password = "env:PUSHCERT_TEST_DATABASE"',
    )
    for password in ("first", "second"):
        monkeypatch.setenv("PUSHCERT_TEST_DATABASE", password)
        made.close()
        with made.reading() as session:
            driver = session.connection().connection.driver_connection
            assert driver.info.password == password  # type: ignore[union-attr]
    assert made.url.password is None
    assert "second" not in repr(made.engine)
    made.close()


@pytest.mark.parametrize(
    "url",
    [
        "postgresql+psycopg://pushcert:hunter2@db.example/pushcert",
        "postgresql+psycopg://pushcert@db.example/pushcert?password=hunter2",
        "mysql://db.example/pushcert",
    ],
)
def test_a_password_in_the_url_and_a_foreign_database_are_refused(
    tmp_path_factory: pytest.TempPathFactory, url: str
) -> None:
    with pytest.raises(Refused) as refused:
        config(tmp_path_factory, f'database = "{url}"')
    assert refused.value.codes == ("config_invalid",)
    assert "vendor.database" in str(refused.value)
    assert "hunter2" not in str(refused.value)
