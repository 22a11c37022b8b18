"""The digest: once a day, everything that changed since the last one, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from sqlmodel import select

from lifecycle.vendor import registry
from lifecycle.vendor.database import Database
from lifecycle.vendor.digest import SETTLED, DigestSchedule, changes, write_digest
from lifecycle.vendor.facts import Policy, RenewalReason
from lifecycle.vendor.kinds import Kind
from lifecycle.vendor.messages import DigestTopic
from lifecycle.vendor.models import (
    Bounce,
    Certificate,
    Customer,
    IsolationCheck,
    OutboxMessage,
    Renewal,
)
from lifecycle.vendor.notices import Letterhead, Notices, OpsChannel

NOW = datetime(2027, 3, 1, 9, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
NOTICES = Notices(
    Letterhead("Example MDM", ("ops@vendor.example",), channels=(OpsChannel("slack"),), digest=True)
)
AT_EIGHT = DigestSchedule(time(8), UTC)


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    made = Database(database_url)
    yield made
    made.close()


def add(database: Database, slug: str, at: datetime, not_after: datetime | None = None) -> int:
    """A customer, with an active certificate until ``not_after``."""
    with database.transaction() as session:
        new = registry.NewCustomer(slug, slug.title(), f"it@{slug}.example")
        customer = registry.add(session, new, at=at, actor="ops")
        assert customer.id is not None
        if not_after is not None:
            session.add(
                Certificate(
                    id=customer.id,
                    customer_id=customer.id,
                    state="active",
                    topic=f"com.apple.mgmt.External.{slug}",
                    serial=slug,
                    common_name=f"APSP:{slug}",
                    issuer="Apple",
                    fingerprint=slug,
                    key_fingerprint=slug,
                    not_before=not_after - 365 * DAY,
                    not_after=not_after,
                    der=b"",
                    recorded_at=at,
                )
            )
        return customer.id


def told(database: Database, since: datetime, now: datetime = NOW) -> dict[DigestTopic, list[str]]:
    with database.reading() as session:
        return {
            section.topic: [line.slug or line.detail or "" for line in section.lines]
            for section in changes(session, Policy(), since, now)
        }


def write(database: Database, now: datetime, schedule: DigestSchedule = AT_EIGHT) -> bool:
    return write_digest(database, Policy(), NOTICES, schedule, now)


def digests(database: Database) -> list[OutboxMessage]:
    with database.reading() as session:
        return list(session.exec(select(OutboxMessage).where(OutboxMessage.kind == Kind.DIGEST)))


def test_what_happened_is_told_under_its_heading(database: Database) -> None:
    before, since = NOW - 3 * DAY, NOW - DAY
    for slug, ends in {
        "long-expired": since - HOUR,
        "expired": NOW - HOUR,
        "urgent": NOW + 7 * DAY - HOUR,
        "long-urgent": NOW + 5 * DAY,
        "fine": NOW + 90 * DAY,
        "paused": NOW - HOUR,
    }.items():
        add(database, slug, before, ends)
    waits = add(database, "waits", before)
    breached = add(database, "breached", before, NOW + 90 * DAY)
    with database.transaction() as session:
        paused = session.exec(select(Customer).where(Customer.slug == "paused")).one()
        registry.pause(session, paused, "", at=before, actor="ops")
        waiting = session.get_one(Customer, waits)
        renewal = registry.open_renewal(
            session, waiting, RenewalReason.INITIAL, at=NOW - HOUR, actor="worker"
        )
        renewal.blocked_at, renewal.blocked_message = NOW - HOUR, "Import a signer."
        renewal.blocked_code = "signer_missing"
        session.add(
            IsolationCheck(
                customer_id=breached,
                certificate_id=breached,
                ordered_at=NOW - HOUR,
                concluded_at=NOW - HOUR,
                verdict="breached",
                why="200",
            )
        )
        session.add(Bounce(address="it@fine.example", at=NOW - HOUR, why="no such user"))
        session.add(Bounce(address="old@fine.example", at=before, why="no such user"))
    assert told(database, since) == {
        DigestTopic.BREACHED: ["breached"],
        DigestTopic.EXPIRED: ["expired"],
        DigestTopic.URGENT: ["urgent"],
        DigestTopic.HELD_UP: ["waits"],
        DigestTopic.BOUNCED: ["it@fine.example: no such user"],
        DigestTopic.OPENED: ["waits"],
    }
    assert told(database, NOW, NOW + HOUR / 2) == {}


def test_one_a_day_from_its_hour_on(database: Database) -> None:
    add(database, "acme", NOW - HOUR, NOW - HOUR)
    assert not write(database, NOW.replace(hour=7, minute=59))
    assert write(database, NOW)
    assert not write(database, NOW + HOUR)
    mail, chat = digests(database)
    assert (mail.channel, chat.channel) == ("mail", "slack")
    assert "acme" in mail.body
    assert mail.recipients == ["ops@vendor.example"]


def test_the_hour_is_that_of_the_vendors_clock(database: Database) -> None:
    add(database, "acme", NOW - HOUR, NOW - HOUR)
    tokyo = DigestSchedule(time(8), ZoneInfo("Asia/Tokyo"))
    assert tokyo.due(datetime(2027, 3, 1, 22, 59, tzinfo=UTC)) is None
    assert tokyo.due(datetime(2027, 3, 1, 23, 0, tzinfo=UTC)) == "2027-03-02"


def test_a_day_without_news_has_no_digest_and_counts_as_told(database: Database) -> None:
    add(database, "fine", NOW - 3 * DAY, NOW + 90 * DAY)
    assert not write(database, NOW)
    (row,) = digests(database)
    assert (row.next_attempt_at, row.recipients) == (None, [])
    assert not write(database, NOW + HOUR)
    assert len(digests(database)) == 1


def test_after_an_outage_one_digest_tells_of_the_whole_time(database: Database) -> None:
    add(database, "first", NOW - 40 * DAY, NOW - 39 * DAY + HOUR)
    assert write(database, NOW - 38 * DAY)
    add(database, "second", NOW - 37 * DAY, NOW - 20 * DAY)
    add(database, "third", NOW - 37 * DAY, NOW - DAY)
    assert write(database, NOW)
    last = [row for row in digests(database) if row.channel == "mail"][-1]
    assert "second" in last.body
    assert "third" in last.body
    assert "first" not in last.body


def test_a_reminder_that_was_sent_is_told_and_one_that_waits_is_not(database: Database) -> None:
    for number, slug in enumerate(("sent", "waits"), 1):
        customer = add(database, slug, NOW - 3 * DAY, NOW + 14 * DAY)
        with database.transaction() as session:
            session.add(
                Renewal(
                    id=number,
                    customer_id=customer,
                    state="delivered",
                    reason="expiry",
                    opened_at=NOW - 3 * DAY,
                )
            )
            session.flush()
            session.add(
                OutboxMessage(
                    dedupe_key=slug,
                    kind=Kind.REMINDER,
                    customer_id=customer,
                    renewal_id=number,
                    recipients=[f"it@{slug}.example"],
                    subject="14 days left",
                    body="",
                    created_at=NOW - HOUR,
                    sent_at=NOW - HOUR if slug == "sent" else None,
                )
            )
    assert told(database, NOW - DAY)[DigestTopic.REMINDERS_SENT] == ["sent"]


def test_what_happened_a_moment_ago_is_told_the_next_day_and_once(database: Database) -> None:
    """Another worker may be about to commit something that it began before this instant."""
    minute = timedelta(minutes=1)
    with database.transaction() as session:
        for name, at in {
            "settled": NOW - SETTLED - minute,
            "at-the-edge": NOW - SETTLED,
            "fresh": NOW - SETTLED + minute,
            "committed-late": NOW - minute,
        }.items():
            session.add(Bounce(address=f"{name}@acme.example", at=at, why="550 no such user"))
    for now in (NOW, NOW + DAY):
        assert write(database, now)
    first, second = (
        [name for name in ("settled", "at-the-edge", "fresh", "committed-late") if name in row.body]
        for row in digests(database)
        if row.channel == "mail"
    )
    assert (first, second) == (["settled", "at-the-edge"], ["fresh", "committed-late"])
