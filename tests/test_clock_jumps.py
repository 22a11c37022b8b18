"""Clocks that jump, on each kind of database: nothing is sent twice, and nothing is left out.

The worker's clock is a day ahead or behind for a tick now and then, repeats a second as a leap
second makes some clocks do, and the host's zone goes through a change to summer time. The
database's clock is the host's: in these plays it is months away from the worker's.
"""

from __future__ import annotations

import os
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlmodel import col, select

from lifecycle.clock import SystemClock
from lifecycle.rehearsal.stage import START, Stage
from lifecycle.vendor.audit import verify_log
from lifecycle.vendor.database import Database
from lifecycle.vendor.models import Customer, OutboxMessage

CUSTOMERS = ("acme", "birch")
EXPIRY = START + timedelta(days=365)
DAY = timedelta(days=1)
HALF_DAY = timedelta(hours=12)
STEPS = 2 * 57

Told = Counter[tuple[str, str | None, str | None]]


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest) -> str | None:
    """None: in the stage's folder."""
    return None if request.param == "sqlite" else str(request.getfixturevalue("postgres_url"))


def play(
    directory: Path, database: str | None, jump: Callable[[int], timedelta]
) -> tuple[Told, Told]:
    """Nobody uploads: the whole ladder is climbed, from the window on into the time of grace,
    with two ticks a day. Gives what the outbox has, and what came to the mail server."""
    with Stage(directory, seed=2, database=database).open() as stage:
        stage.import_signer(900)
        for slug in CUSTOMERS:
            stage.add_customer(slug, slug.title(), f"it@{slug}.example", f"push@{slug}.example")
        stage.embedded.tick()
        for slug in CUSTOMERS:
            request = stage.embedded.desk(slug).work().request
            assert request is not None
            certificate = stage.portal.create(f"push@{slug}.example", request.request.encode())
            stage.embedded.upload(slug, certificate)
        stage.embedded.tick()
        for step in range(STEPS):
            now = EXPIRY - 46 * DAY + step * HALF_DAY + timedelta(minutes=17)
            stage.clock.set(now + jump(step))
            done = stage.embedded.tick()
            assert not done.work.defects
        with stage.embedded.database.reading() as session:
            assert verify_log(session).problem is None
            slugs = {c.id: c.slug for c in session.exec(select(Customer))}
            told: Told = Counter(
                (row.kind, slugs.get(row.customer_id), row.rung)
                for row in session.exec(
                    select(OutboxMessage).where(col(OutboxMessage.sent_at).is_not(None))
                )
            )
        came: Told = Counter((str(m["Message-ID"]), None, None) for m in stage.mailbox.messages)
        return told, came


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Told:
    told, _ = play(tmp_path_factory.mktemp("calm") / "vendor", None, lambda _: timedelta())
    rungs = {rung for _, slug, rung in told if slug == "acme" and rung}
    assert rungs == {f"expiry:{days}" for days in (30, 14, 7, 3, 1, 0, -7)}
    return told


def test_a_clock_that_jumps_a_day_now_and_then_tells_everything_once(
    tmp_path: Path, database: str | None, undisturbed: Told
) -> None:
    rng = random.Random(5)  # noqa: S311 - repeatable, no secret
    jumps = [rng.choice([timedelta(), timedelta(), DAY, -DAY]) for _ in range(STEPS)]
    told, came = play(tmp_path / "vendor", database, lambda step: jumps[step])
    assert told == undisturbed
    assert set(came.values()) == {1}
    assert len(came) == told.total()


def test_a_clock_that_repeats_a_second_tells_everything_once(
    tmp_path: Path, undisturbed: Told
) -> None:
    """A leap second: 23:59:59 comes twice, or the clock goes back from 00:00:00."""
    told, came = play(
        tmp_path / "vendor", None, lambda step: -(step % 2) * (HALF_DAY + timedelta(seconds=1))
    )
    assert told == undisturbed
    assert set(came.values()) == {1}


@pytest.fixture
def in_new_york() -> Iterator[None]:
    """The host's zone is one with summer time."""
    before = os.environ.get("TZ")
    os.environ["TZ"] = "America/New_York"
    time.tzset()
    yield
    if before is None:
        del os.environ["TZ"]
    else:
        os.environ["TZ"] = before
    time.tzset()


@pytest.mark.usefixtures("in_new_york")
def test_the_hosts_zone_and_its_summer_time_change_no_instant(database_url: str) -> None:
    """2027-03-14 07:00 UTC: at 02:00 the clocks of New York go on to 03:00."""
    assert SystemClock().now().utcoffset() == timedelta()
    opened = Database(database_url)
    if not opened.has_one_writer:
        with opened.engine.connect() as connection:
            name = opened.url.database
            connection.execute(text(f"ALTER DATABASE \"{name}\" SET timezone = 'Asia/Kolkata'"))
            connection.commit()
        opened.close()
    instants = [
        datetime(2027, 3, 14, 6, 30, tzinfo=UTC) + n * timedelta(minutes=15) for n in range(5)
    ]
    instants += [
        datetime(2027, 11, 7, 5, 30, tzinfo=UTC) + n * timedelta(minutes=30) for n in range(4)
    ]
    with opened.transaction() as session:
        session.add_all(
            Customer(slug=f"c{n}", name="x", email="x@x.example", created_at=at, next_action_at=at)
            for n, at in enumerate(instants)
        )
    with opened.reading() as session:
        found = session.exec(select(Customer).order_by(col(Customer.next_action_at))).all()
        assert [customer.created_at for customer in found] == instants
        assert [customer.slug for customer in found] == [f"c{n}" for n in range(len(instants))]
    opened.close()
