"""Workers and senders on one PostgreSQL share the work: nobody does what another has in hand, what
a crashed one had in hand is taken up, and no clock makes a message go out twice."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, time, timedelta
from email.message import EmailMessage
from typing import TypeVar

import pytest
from sqlalchemy import text
from sqlmodel import Session, select

from lifecycle.vendor import registry, store
from lifecycle.vendor.audit import verify_log
from lifecycle.vendor.database import Database
from lifecycle.vendor.digest import DigestSchedule, tell_digest, write_digest
from lifecycle.vendor.facts import Policy
from lifecycle.vendor.kinds import Kind
from lifecycle.vendor.leases import CUSTOMER_LEASE, CustomerLeases
from lifecycle.vendor.mail import RefusedAddress
from lifecycle.vendor.models import AuditEntry, Bounce, Customer, OutboxMessage, Signer
from lifecycle.vendor.notices import Letterhead, Notices, OpsChannel
from lifecycle.vendor.outbox import DeliverySummary, deliver_due
from lifecycle.vendor.signer import SignerRecord
from lifecycle.vendor.signer_in_force import put_in_force
from lifecycle.vendor.signers import remind_of_signer

NOW = datetime(2027, 3, 1, 9, tzinfo=UTC)
MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)
CUSTOMERS = 120
T = TypeVar("T")
NOTICES = Notices(
    Letterhead("Example MDM", ("ops@vendor.example",), channels=(OpsChannel("slack"),), digest=True)
)


@pytest.fixture
def database(postgres_url: str) -> Iterator[Database]:
    """A registry whose customers are all due, the first since longest."""
    made = Database(postgres_url)
    with made.transaction() as session:
        new = [
            registry.NewCustomer(f"customer-{n:03}", "x", f"it@c{n}.example")
            for n in range(CUSTOMERS)
        ]
        registry.add_all(session, new, at=NOW, actor="ops")
    with made.transaction() as session:
        for place, customer in enumerate(session.exec(select(Customer).order_by(Customer.slug))):
            customer.next_action_at = NOW - DAY + place * MINUTE
    yield made
    made.close()


def workers(number: int, work: Callable[[int], T]) -> list[T]:
    """Lets several work at once; each is given its number."""
    with ThreadPoolExecutor(number) as threads:
        return [one.result() for one in [threads.submit(work, n) for n in range(number)]]


# Customers


def test_workers_take_every_due_customer_between_them_and_none_twice(database: Database) -> None:
    begin = threading.Barrier(4)

    def take(_number: int) -> list[int]:
        leases = CustomerLeases(database)
        begin.wait()
        found: list[int] = []
        while batch := leases.take(NOW, 7):
            found += batch
        return found

    taken = workers(4, take)
    assert sorted(id_ for share in taken for id_ in share) == list(range(1, CUSTOMERS + 1))


def test_a_batch_is_the_longest_overdue_first(database: Database) -> None:
    assert CustomerLeases(database).take(NOW, 5) == [1, 2, 3, 4, 5]
    assert CustomerLeases(database).take(NOW, 3) == [6, 7, 8]


def test_what_a_crashed_worker_had_in_hand_is_taken_up_when_its_lease_is_over(
    database: Database,
) -> None:
    crashed = CustomerLeases(database)
    assert len(crashed.take(NOW, CUSTOMERS)) == CUSTOMERS
    other = CustomerLeases(database)
    assert other.take(NOW, CUSTOMERS) == []
    shift_leases(database, "customer", -CUSTOMER_LEASE)
    assert len(other.take(NOW, CUSTOMERS)) == CUSTOMERS


def test_what_is_given_back_is_anybodys_at_once(database: Database) -> None:
    one = CustomerLeases(database)
    taken = one.take(NOW, 10)
    one.done(taken[0])
    one.give_back()
    assert CustomerLeases(database).take(NOW, 10)[:9] == taken[1:]


def test_a_lease_that_gets_old_is_renewed_unless_it_was_lost(database: Database) -> None:
    seconds = [0.0]
    slow = CustomerLeases(database, monotonic=lambda: seconds[0])
    kept, lost = slow.take(NOW, 2)
    seconds[0] = CUSTOMER_LEASE.total_seconds() / 2
    assert slow.keep(kept)
    shift_leases(database, "customer", -DAY, only=lost)
    assert CustomerLeases(database).take(NOW, 1) == [lost]
    assert not slow.keep(lost)


@pytest.mark.parametrize("jump", [DAY, -DAY])
def test_a_jump_of_the_databases_clock_frees_customers_and_keeps_none_for_ever(
    database: Database, jump: timedelta
) -> None:
    """Customers may be worked on twice at once: their rows' locks keep that harmless."""
    CustomerLeases(database).take(NOW, CUSTOMERS)
    shift_leases(database, "customer", -jump)
    assert len(CustomerLeases(database).take(NOW, CUSTOMERS)) == CUSTOMERS


@pytest.mark.parametrize("skew", [DAY, -DAY])
def test_a_worker_whose_clock_is_a_day_off_robs_nobody(database: Database, skew: timedelta) -> None:
    first = CustomerLeases(database).take(NOW, 10)
    assert not set(CustomerLeases(database).take(NOW + skew, CUSTOMERS)) & set(first)


def shift_leases(database: Database, table: str, by: timedelta, *, only: int | None = None) -> None:
    """As if the database's clock had jumped the other way."""
    with database.transaction() as session:
        session.execute(
            text(
                f"UPDATE {table} SET leased_until = leased_until + :by"
                " WHERE leased_until IS NOT NULL AND (CAST(:only AS int) IS NULL OR id = :only)"
            ),
            {"by": by, "only": only},
        )


def test_an_instance_that_calls_while_its_customer_is_in_hand_is_not_forgotten(
    database: Database,
) -> None:
    """The worker reads, an instance writes, the worker writes: that must not lose the call."""
    worker_has_read, called = threading.Event(), threading.Event()

    def look() -> None:
        with database.transaction() as session:
            customer = store.customer_by_id(session, 1)
            worker_has_read.set()
            while not called.is_set() and not somebody_waits(session):
                pass  # the call comes through, or waits for the lock
            customer.next_action_at = NOW + 14 * DAY
            session.add(customer)

    def call() -> None:
        worker_has_read.wait()
        with database.transaction() as session:
            customer = store.customer_by_slug(session, "customer-000")
            customer.next_action_at = NOW
            session.add(customer)
        called.set()

    with ThreadPoolExecutor(2) as threads:
        for done in [threads.submit(look), threads.submit(call)]:
            done.result()
    with database.reading() as session:
        assert session.get_one(Customer, 1).next_action_at == NOW


def somebody_waits(session: Session) -> bool:
    waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted"
    return bool(session.execute(text(waiting)).scalar_one())


# Messages


@dataclass
class Post:
    """A mail server's end that keeps what it is given; may be told to wait in the midst."""

    during: Callable[[], None] = lambda: None
    sent: list[str] = field(default_factory=list)

    def send(self, message: EmailMessage) -> tuple[RefusedAddress, ...]:
        self.during()
        self.sent.append(str(message["Message-ID"]))
        return ()


def put(database: Database, count: int) -> None:
    with database.transaction() as session:
        session.add_all(
            OutboxMessage(
                dedupe_key=f"message {number}",
                kind=Kind.FULFILLED,
                recipients=["it@acme.example"],
                subject=f"message {number}",
                body="x",
                created_at=NOW,
                next_attempt_at=NOW,
            )
            for number in range(count)
        )


def deliver(database: Database, post: Post, at: datetime = NOW) -> DeliverySummary:
    return deliver_due(database, post, at, sender="push@vendor.example", vendor="Example MDM")


def sent(database: Database) -> int:
    with database.reading() as session:
        return sum(row.sent_at is not None for row in session.exec(select(OutboxMessage)))


def test_senders_send_every_message_between_them_and_none_twice(database: Database) -> None:
    put(database, 150)
    post, begin = Post(), threading.Barrier(4)

    def send(_number: int) -> int:
        begin.wait()
        return deliver(database, post).sent

    shares = workers(4, send)
    assert sum(shares) == 150
    assert set(Counter(post.sent).values()) == {1}
    assert len(post.sent) == sent(database) == 150


@pytest.mark.parametrize("jump", [DAY, -DAY, -timedelta(seconds=1)])
def test_a_jump_of_the_databases_clock_takes_no_message_from_a_sender_that_lives(
    database: Database, jump: timedelta
) -> None:
    put(database, 1)
    others = Post()

    def in_the_midst() -> None:
        shift_leases(database, "outbox", -jump)
        deliver(database, others)
        deliver(database, others, NOW + DAY)

    post = Post(in_the_midst)
    assert deliver(database, post).sent == 1
    assert others.sent == []
    assert sent(database) == 1


def test_a_message_of_a_crashed_sender_goes_out_again_after_two_leases_and_no_sooner(
    database: Database,
) -> None:
    class Killed(BaseException):
        pass

    def die() -> None:
        raise Killed

    put(database, 1)
    with pytest.raises(Killed):
        deliver(database, Post(die))
    post = Post()
    for expected in (0, 0, 1):
        assert deliver(database, post).sent == expected
        shift_leases(database, "outbox", -DAY)
    assert len(post.sent) == 1


def test_a_database_that_is_lost_while_a_message_is_in_hand_makes_no_second_message(
    database: Database, postgres_url: str
) -> None:
    """It is marked when the database is back; meanwhile the lease stands in the database."""
    put(database, 3)
    other = Database(postgres_url)

    def cut() -> None:
        with other.engine.connect() as connection:
            connection.execute(
                text(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE datname = current_database() AND pid != pg_backend_pid()"
                )
            )

    post = Post(cut)
    assert deliver(database, post).sent == 3
    assert len(set(post.sent)) == len(post.sent) == 3
    assert sent(database) == 3
    other.close()


# What is done once, whoever does it


def test_several_workers_write_one_digest_a_day(database: Database) -> None:
    with database.transaction() as session:
        session.add(Bounce(address="it@c1.example", at=NOW - 10 * MINUTE, why="550 no such user"))
    begin = threading.Barrier(4)
    schedule = DigestSchedule(time(8), UTC)

    def write(_number: int) -> bool:
        begin.wait()
        return write_digest(database, Policy(), NOTICES, schedule, NOW)

    workers(4, write)
    with database.reading() as session:
        rows = session.exec(select(OutboxMessage).where(OutboxMessage.kind == Kind.DIGEST)).all()
    assert sorted(row.channel for row in rows) == ["mail", "slack"]


def test_of_two_workers_with_different_news_one_writes_the_whole_digest(
    database: Database,
) -> None:
    """Else the one that came second would tell the chat what the mail does not say."""
    schedule = DigestSchedule(time(8), UTC)
    second_may_begin, second_is_done = threading.Event(), threading.Event()

    def first() -> bool:
        with database.transaction() as session:
            wrote = tell_digest(session, Policy(), NOTICES, schedule, NOW)
            with database.transaction() as other:
                other.add(Bounce(address="it@c1.example", at=NOW - 10 * MINUTE, why="550"))
            second_may_begin.set()
            while not second_is_done.is_set() and not somebody_waits(session):
                pass  # until the other one's row meets this one's
            return wrote

    def second() -> None:
        second_may_begin.wait()
        try:
            write_digest(database, Policy(), NOTICES, schedule, NOW)
        finally:
            second_is_done.set()

    with ThreadPoolExecutor(2) as threads:
        one, two = threads.submit(first), threads.submit(second)
        two.result()
        assert not one.result()
    with database.reading() as session:
        rows = session.exec(select(OutboxMessage).where(OutboxMessage.kind == Kind.DIGEST)).all()
    assert [(row.channel, row.next_attempt_at) for row in rows] == [("mail", None)]


def record(number: int, days: int) -> SignerRecord:
    return SignerRecord(
        fingerprint=f"{number:064x}",
        common_name=f"MDM Vendor: {number}",
        not_before=NOW - DAY,
        not_after=NOW + days * DAY,
        expires_first=f"MDM Vendor: {number}",
        chain_pem="",
    )


def test_several_workers_that_notice_a_new_signer_put_it_in_force_once(database: Database) -> None:
    database.carry_out(lambda session: put_in_force(session, record(1, 100), NOW))
    begin = threading.Barrier(4)

    def notice(_number: int) -> None:
        begin.wait()
        database.carry_out(lambda session: put_in_force(session, record(2, 6), NOW))

    workers(4, notice)
    with database.reading() as session:
        signers = session.exec(select(Signer).order_by(Signer.common_name)).all()
        news = session.exec(select(AuditEntry).where(AuditEntry.action == "signer_in_force")).all()
    assert [signer.retired_at is None for signer in signers] == [False, True]
    assert [entry.subject for entry in news] == ["MDM Vendor: 1", "MDM Vendor: 2"]


def test_several_workers_climb_one_rung_of_the_signers_ladder(database: Database) -> None:
    database.carry_out(lambda session: put_in_force(session, record(1, 6), NOW))
    begin = threading.Barrier(4)

    def remind(_number: int) -> None:
        begin.wait()
        remind_of_signer(database, Policy().ladder, NOTICES, NOW)

    workers(4, remind)
    with database.reading() as session:
        rows = session.exec(
            select(OutboxMessage).where(OutboxMessage.kind == Kind.SIGNER_EXPIRY)
        ).all()
    assert sorted(row.channel for row in rows) == ["mail", "slack"]


def test_the_audit_log_is_one_chain_whoever_writes_at_once(database: Database) -> None:
    begin = threading.Barrier(6)

    def write(number: int) -> None:
        begin.wait()
        for place in range(number, CUSTOMERS, 6):

            def pause(session: Session, place: int = place) -> None:
                customer = store.customer_by_id(session, place + 1)
                registry.pause(session, customer, "x", at=NOW, actor=f"w{number}")

            database.carry_out(pause)

    workers(6, write)
    with database.reading() as session:
        outcome = verify_log(session)
    assert (outcome.problem, outcome.entries) == (None, 2 * CUSTOMERS)
