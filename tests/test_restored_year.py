"""Last night's backup, restored on another machine, goes on with the year: nobody is told twice.

The machine that is lost went on for a day after the backup, and sent what fell due on it. What
arrived is read at a real SMTP server, where every machine's mail goes. The other machine may keep
its registry in a database of the other kind: some weeks around the loss are played for that.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pyrage
import pytest
from sqlalchemy import create_engine, text
from sqlalchemy import select as rows_in
from sqlmodel import select

from bench.postgres import PostgresServer
from lifecycle.backup.encryption import ForRecipients, Opener
from lifecycle.config import load_config
from lifecycle.doctor import diagnose
from lifecycle.embedded import Embedded
from lifecycle.evidence_key import make_evidence_key
from lifecycle.instance import vault_backup
from lifecycle.registry_backup import back_up
from lifecycle.registry_restore import Restored, restore
from lifecycle.rehearsal.stage import START, Stage
from lifecycle.vendor import snapshot, store
from lifecycle.vendor.audit import verify_log
from lifecycle.vendor.database import Database
from lifecycle.vendor.facts import RenewalState
from lifecycle.vendor.kinds import Kind
from lifecycle.vendor.mail import message_id
from lifecycle.vendor.models import Certificate, Customer, OutboxMessage

DAY = timedelta(days=1)
STEP = timedelta(hours=12)
OPENS_ON_THE_LOST_DAY = "juniper"
JOINED = {f"customer-{number:02}": 2 * number for number in range(12)} | {OPENS_ON_THE_LOST_DAY: 34}
"""Each customer, and the day of its first certificate."""
UPLOADS_IN_THE_LOST_DAY = "customer-01"
NIGHT = START + 345 * DAY + timedelta(hours=20)
"""When the backup is taken: 02:00. The certificates end 356 to 378 days after the start, so on the
day after it somebody is at 30 days, and somebody at 14."""
LOSS = NIGHT + DAY
END = START + 400 * DAY
LATE = {1, 2, 10}
PATIENCE = {slug: (52 if n in LATE else 8 + n) * DAY for n, slug in enumerate(JOINED)}
"""How long after the hand-over somebody finds the time."""
WEEKS = ("customer-01", "customer-02", "customer-04", "customer-10", OPENS_ON_THE_LOST_DAY)
"""Who is there where only some weeks are played: on the lost day two of them are on a rung."""
ONCE = "\n[isolation]\nevery_days = 9000\nretry_hours = 90000\n"
"""Isolation is another test's matter."""


@dataclass(frozen=True)
class Arrival:
    """A message at the mail server."""

    at: datetime
    kind: str
    rung: str | None
    to: str
    subject: str


@dataclass
class Year:
    """The machines of one vendor, one after the other, and what their mail server took."""

    stage: Stage
    machine: Embedded
    arrivals: list[Arrival] = field(default_factory=list)

    def tick(self) -> None:
        done = self.machine.tick()
        assert not done.work.faults
        assert not done.work.defects
        with self.machine.database.reading() as session:
            sender = "pushcert@vendor.example"
            rows = {message_id(row, sender): row for row in session.exec(select(OutboxMessage))}
        for message in self.stage.mailbox.take():
            row = rows[str(message["Message-ID"])]
            self.arrivals.append(
                Arrival(
                    self.stage.clock.now(),
                    row.kind,
                    row.rung,
                    str(message["To"]),
                    str(message["Subject"]),
                )
            )

    def go_on(self, until: datetime) -> None:
        """Everybody does what is owed, twice a day; customers renew when they find the time."""
        while self.stage.clock.now() < until:
            self.stage.clock.advance(STEP)
            for slug in self.delivered_long_ago():
                self.renew(slug)
            self.tick()

    def delivered_long_ago(self) -> list[str]:
        now = self.stage.clock.now()
        with self.machine.database.reading() as session:
            records = store.load_many(session, session.exec(select(Customer)).all())
        return [
            record.customer.slug
            for record in records
            if record.renewal is not None
            and record.renewal.state == RenewalState.DELIVERED
            and record.renewal.delivered_at is not None
            and record.renewal.delivered_at + PATIENCE[record.customer.slug] <= now
        ]

    def renew(self, slug: str) -> bytes:
        """The customer's admin does what the message says, and uploads what the portal gave."""
        request = self.machine.desk(slug).work().request
        assert request is not None
        account = f"push@{slug}.example"
        if request.renew_serial is None:
            pem = self.stage.portal.create(account, request.request.encode())
        else:
            pem = self.stage.portal.renew(account, request.request.encode(), request.renew_serial)
        self.machine.upload(slug, pem)
        return pem

    def urging(self) -> list[Arrival]:
        return [one for one in self.arrivals if one.kind in (Kind.REMINDER, Kind.DELIVERY)]

    def rungs(self) -> Counter[tuple[str, str]]:
        """How often each rung arrived at each customer; each has one ladder in this play."""
        return Counter((one.to, one.rung) for one in self.arrivals if one.rung is not None)


@dataclass
class Lost:
    """What there is after the loss: the backups, and where they are to be restored."""

    year: Year
    registry: Path
    vaults: dict[str, Path]
    opener: Opener
    folder: Path
    uploaded: bytes
    saved: dict[str, list[Any]]

    def configure(self, vendor: str) -> None:
        """The other machine has a configuration of its own, which says where the registry is."""
        was = (self.year.stage.directory / "config.toml").read_text()
        lines = [vendor if line.startswith("database = ") else line for line in was.splitlines()]
        self.folder.mkdir(mode=0o700)
        (self.folder / "config.toml").write_text("\n".join(lines))

    def restore(self, lost_until: datetime | None) -> Restored:
        """Onto another machine; its clock is the same."""
        config_file = self.folder / "config.toml"
        clock = self.year.stage.clock
        done = restore(
            config_file,
            self.registry,
            self.opener,
            clock,
            lost_until=lost_until,
            actor="operator:test",
        )
        for slug, file in self.vaults.items():
            vault_backup.restore(self.folder / "instances" / slug, file, self.opener, None)
        self.year.machine.close()
        self.year.machine = Embedded(load_config(config_file), clock)
        return done


@contextmanager
def lost_machine(
    tmp_path: Path,
    *,
    database: str | None = None,
    cast: tuple[str, ...] = tuple(JOINED),
    since: datetime = START + 300 * DAY + timedelta(hours=20),
) -> Iterator[Lost]:
    key = pyrage.x25519.Identity.generate()
    encryption = ForRecipients((str(key.to_public()),))
    with Stage(tmp_path / "one", seed=11, database=database).open() as stage:
        stage.clock.set(START - 10 * DAY)
        config_file = tmp_path / "one" / "config.toml"
        config_file.write_text(config_file.read_text() + ONCE)
        stage.embedded.close()
        stage.reopen()
        stage.import_signer(900)
        make_evidence_key(stage.embedded.config.path(stage.embedded.config.evidence.key))
        year = Year(stage, stage.embedded)
        for slug in cast:
            day = JOINED[slug]
            stage.clock.set(START + (day - 9) * DAY)
            stage.add_customer(slug, slug, f"it@{slug}.example", f"push@{slug}.example")
            stage.embedded.tick()
            year.renew(slug)
        stage.clock.set(since)
        stage.mailbox.take()
        year.go_on(NIGHT)
        registry, vaults = tmp_path / "registry.age", {}
        back_up(year.machine, config_file, registry, encryption, keys=True)
        saved = contents(year.machine.database)
        for slug in cast:
            vaults[slug] = tmp_path / f"{slug}.age"
            vault_backup.back_up(
                year.machine.vault_directory(slug), vaults[slug], encryption, NIGHT, key=True
            )
        stage.clock.advance(timedelta(minutes=1))
        uploaded = year.renew(UPLOADS_IN_THE_LOST_DAY)
        year.go_on(LOSS)
        stage.clock.advance(timedelta(hours=5))
        opener = Opener(identities=lambda: (str(key),))
        folder = tmp_path / "two"
        yield Lost(year, registry, vaults, opener, folder, uploaded, saved)
        if year.machine is not stage.embedded:
            year.machine.close()
            stage.reopen()  # Stage closes it


def contents(database: Database) -> dict[str, list[Any]]:
    """Every row of every table, as the types of Python that the product works with."""
    with database.reading() as session:
        return {
            table.name: sorted(map(tuple, session.connection().execute(rows_in(table))), key=repr)
            for table in snapshot.tables()
        }


def slug_of(one: Arrival) -> str:
    return one.to.removeprefix("it@").removesuffix(".example")


def repeated(year: Year) -> list[tuple[str, str]]:
    return [message for message, count in year.rungs().items() if count > 1]


def test_the_restored_machine_goes_on_with_the_year_and_repeats_no_reminder(
    tmp_path: Path,
) -> None:
    with lost_machine(tmp_path) as lost:
        year = lost.year
        on_the_lost_day = [one for one in year.urging() if one.at > NIGHT]
        rungs = {(slug_of(one), one.rung) for one in on_the_lost_day if one.rung is not None}
        assert len({rung for _, rung in rungs}) > 1, "the loss must cost something"

        done = lost.restore(None)
        assert rungs <= {(one.slug, one.rung) for one in done.taken}
        assert all(one.due_at <= done.lost.until for one in done.taken)

        before = len(year.arrivals)
        year.tick()
        # What the portal gave on the lost day is uploaded again, as restore says.
        year.machine.upload(UPLOADS_IN_THE_LOST_DAY, lost.uploaded)
        year.go_on(END)
        assert repeated(year) == []
        after = year.arrivals[before:]
        assert len([one for one in after if one.rung is not None]) > 5, "the ladders go on"
        # The key of the request that went out on the lost day is gone, and the customer hears it.
        twice = [one for one in year.urging() if slug_of(one) == OPENS_ON_THE_LOST_DAY]
        assert [one.kind for one in twice][:2] == [Kind.DELIVERY, Kind.DELIVERY]
        assert "New request file: renew" in twice[1].subject
        with year.machine.database.reading() as session:
            assert verify_log(session).problem is None
            customers = session.exec(select(Customer)).all()
            for record in store.load_many(session, customers):
                assert record.renewal is None
                assert record.active is not None
                assert record.active.not_after > END
            certificates = session.exec(select(Certificate)).all()
        assert len(certificates) == 2 * len(JOINED)


def test_without_the_lost_time_in_mind_reminders_would_be_repeated(tmp_path: Path) -> None:
    """What the test above is worth: said to have been stopped before the backup, it goes wrong."""
    with lost_machine(tmp_path) as lost:
        done = lost.restore(NIGHT)
        assert done.taken == ()
        lost.year.tick()
        assert len(repeated(lost.year)) > 1


CHANGED_BY_A_RESTORE = {"outbox", "audit", "audit_head", "user_session"}


@pytest.mark.parametrize("onto", ["postgresql", "sqlite"])
def test_a_machine_with_the_other_kind_of_database_goes_on_with_the_year_just_so(
    tmp_path: Path,
    onto: str,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source = None if onto == "postgresql" else str(request.getfixturevalue("postgres_url"))
    since = NIGHT - 2 * DAY
    with lost_machine(tmp_path, database=source, cast=WEEKS, since=since) as lost:
        year, target = lost.year, 'database = "sqlite:///other.sqlite"'
        if onto == "postgresql":
            target = with_a_password(request.getfixturevalue("postgres"), monkeypatch)
        lost.configure(target)
        before = [one for one in year.urging() if one.at > NIGHT and one.rung is not None]
        assert len({one.rung for one in before}) > 1, "the loss must cost something"

        done = lost.restore(None)
        assert year.machine.database.url.get_backend_name() == onto
        assert {(slug_of(one), one.rung) for one in before} <= {
            (one.slug, one.rung) for one in done.taken
        }
        there = contents(year.machine.database)
        for table, rows in lost.saved.items():
            if table not in CHANGED_BY_A_RESTORE:
                assert there[table] == rows, table
        gone = [entry for entry in lost.saved["audit"] if entry not in there["audit"]]
        assert gone == []

        count = len(year.arrivals)
        year.tick()
        now = year.stage.clock.now()
        ill = [one for one in diagnose(year.machine, now, network=False) if not one.well]
        assert ill == []
        year.machine.upload(UPLOADS_IN_THE_LOST_DAY, lost.uploaded)
        year.go_on(LOSS + 11 * DAY)
        assert repeated(year) == []
        assert len([one for one in year.arrivals[count:] if one.rung is not None]) > 2
        with year.machine.database.reading() as session:
            assert verify_log(session).problem is None
            new = session.exec(select(Certificate).where(Certificate.not_before > LOSS)).all()
        assert new, "somebody has renewed on the other machine"


def with_a_password(server: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> str:
    """A bare database, whose owner must say a password: what a vendor's server will have."""
    password = "correct horse battery staple"
    engine = create_engine(server.url("postgres"), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f"CREATE ROLE keeper LOGIN PASSWORD '{password}'"))
        connection.execute(text("CREATE DATABASE other OWNER keeper TEMPLATE template0"))
        rules = server.data / "pg_hba.conf"
        rules.write_text(f"local other keeper scram-sha-256\n{rules.read_text()}")
        connection.execute(text("SELECT pg_reload_conf()"))
    engine.dispose()
    monkeypatch.setenv("PUSHCERT_TEST_OTHER", password)
    url = server.url("other").replace("//postgres@", "//keeper@")
    return f'database = "{url}"\ndatabase_password = "env:PUSHCERT_TEST_OTHER"'
