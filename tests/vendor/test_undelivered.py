"""Who has not heard, and what a corrected address sets going again."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import select

from lifecycle.errors import Refused
from lifecycle.lab.mailbox import Mailbox
from lifecycle.vendor import registry, reporting, store
from lifecycle.vendor.database import Database
from lifecycle.vendor.facts import Policy, RenewalReason, RenewalState
from lifecycle.vendor.kinds import Kind
from lifecycle.vendor.mail import SmtpTransport, message_id
from lifecycle.vendor.models import Bounce, Contact, Customer, OutboxMessage, Renewal, VendorTable
from lifecycle.vendor.outbox import DeliverySummary, deliver_due
from lifecycle.vendor.registry import Changes
from lifecycle.vendor.undelivered import (
    RENEWAL_ENDED,
    SUPERSEDED,
    count_undelivered,
    failing,
    not_received,
)

NOW = datetime(2027, 3, 1, 9, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
WRONG, RIGHT = "it@acme.exmaple", "it@acme.example"
SENDER = "push@vendor.example"


class World:
    """Acme with an open renewal, and a real mail server that knows no ``WRONG``."""

    def __init__(self, database: Database, mailbox: Mailbox) -> None:
        self.database = database
        self.mailbox = mailbox
        mailbox.bounce = {WRONG}

    def write(self, kind: Kind = Kind.DELIVERY, at: datetime = NOW, **values: Any) -> int:
        row = OutboxMessage(
            **{
                "dedupe_key": f"{kind}:{at.isoformat()}",
                "kind": kind,
                "customer_id": 1,
                "renewal_id": 1,
                "recipients": [WRONG],
                "subject": str(kind),
                "body": "Hello\n",
                "attach_request": True,
                "created_at": at,
                "next_attempt_at": at,
                **values,
            }
        )
        with self.database.transaction() as session:
            session.add(row)
            session.flush()
            return row.id or 0

    def deliver(self, at: datetime = NOW) -> DeliverySummary:
        server = SmtpTransport(self.mailbox.host, self.mailbox.port, "none", timeout=10)
        return deliver_due(self.database, server, at, sender=SENDER, vendor="Example MDM")

    def correct(self, at: datetime, **changes: Any) -> None:
        with self.database.transaction() as session:
            acme = store.customer_by_slug(session, "acme")
            assert registry.edit(session, acme, Changes(**changes), at=at, actor="ops")

    def row(self, row_id: int) -> OutboxMessage:
        with self.database.reading() as session:
            return session.get_one(OutboxMessage, row_id)

    def failing(self) -> list[str]:
        with self.database.reading() as session:
            return [row.kind for row in failing(session)]

    def not_received(self) -> dict[int, str]:
        with self.database.reading() as session:
            return not_received(session)

    def set(self, model: type[Customer | Renewal], **values: object) -> None:
        with self.database.transaction() as session:
            row = session.get_one(model, 1)
            for name, value in values.items():
                setattr(row, name, value)
            session.add(row)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    database = Database(f"sqlite:///{tmp_path / 'vendor.sqlite'}")
    VendorTable.metadata.create_all(database.engine)
    with database.transaction() as session:
        session.add(Customer(id=1, slug="acme", name="Acme", email=WRONG, created_at=NOW))
        session.flush()
        session.add(
            Renewal(
                id=1,
                customer_id=1,
                state=RenewalState.DELIVERED,
                reason=RenewalReason.EXPIRY,
                opened_at=NOW,
                delivered_at=NOW,
                request="UmVxdWVzdA==",
            )
        )
    mailbox = Mailbox()
    mailbox.start()
    yield World(database, mailbox)
    mailbox.stop()
    database.close()


def test_a_request_that_was_refused_goes_to_the_corrected_address_with_its_file_and_once(
    world: World,
) -> None:
    row_id = world.write()
    assert world.deliver().given_up == 1
    assert world.deliver(NOW + HOUR) == DeliverySummary()
    world.correct(NOW + DAY, email=RIGHT)
    assert world.deliver(NOW + DAY).sent == 1
    assert world.deliver(NOW + 2 * DAY) == DeliverySummary()
    (message,) = world.mailbox.messages
    assert message["To"] == RIGHT
    assert message["Message-ID"] == message_id(world.row(row_id), SENDER)
    assert [part.get_filename() for part in message.iter_attachments()] == [
        "acme-push-certificate-request.txt"
    ]


def test_the_request_goes_to_a_contact_that_is_added_as_well(world: World) -> None:
    world.write()
    world.deliver()
    world.correct(NOW + HOUR, add_contacts=("ann@acme.example",))
    assert world.deliver(NOW + HOUR).sent == 1
    assert world.mailbox.messages[0]["To"] == f"{WRONG}, ann@acme.example"


def test_what_waits_goes_to_the_address_of_now(world: World) -> None:
    world.write(next_attempt_at=NOW + DAY)
    world.correct(NOW + HOUR, email=RIGHT)
    assert world.deliver(NOW + HOUR).sent == 0, "its time has not come"
    assert world.deliver(NOW + DAY).sent == 1
    assert world.mailbox.messages[0]["To"] == RIGHT


def test_of_several_that_were_refused_only_the_last_is_sent(world: World) -> None:
    first = world.write()
    world.deliver()
    world.write(Kind.REMINDER, NOW + 7 * DAY)
    world.deliver(NOW + 7 * DAY)
    world.correct(NOW + 8 * DAY, email=RIGHT)
    world.deliver(NOW + 8 * DAY)
    assert [message["Subject"] for message in world.mailbox.messages] == ["reminder"]
    assert world.row(first).last_error == SUPERSEDED


def test_what_is_out_of_date_or_old_is_not_sent_to_a_corrected_address(world: World) -> None:
    old = world.write(Kind.FULFILLED)
    world.deliver()
    ended = world.write(Kind.REMINDER, NOW + 60 * DAY)
    world.deliver(NOW + 60 * DAY)
    world.set(Renewal, state=RenewalState.FULFILLED)
    world.correct(NOW + 61 * DAY, email=RIGHT)
    world.deliver(NOW + 61 * DAY)
    assert world.mailbox.messages == ()
    assert world.row(ended).last_error == RENEWAL_ENDED
    assert world.row(old).recipients == [WRONG]


def test_another_name_sends_nothing(world: World) -> None:
    world.write()
    world.deliver()
    world.correct(NOW + DAY, name="Acme Corp")
    assert world.deliver(NOW + DAY) == DeliverySummary()


def test_a_malformed_correction_changes_no_message(world: World) -> None:
    row_id = world.write()
    world.deliver()
    with pytest.raises(Refused):
        world.correct(NOW + DAY, email="nowhere")
    assert world.row(row_id).recipients == [WRONG]


def test_somebody_who_does_not_know_of_the_request_is_waited_for_in_vain_and_the_report_says_so(
    world: World,
) -> None:
    world.write()
    world.deliver()
    assert list(world.not_received()) == [1]
    with world.database.reading() as session:
        assert (list(not_received(session, [1])), list(not_received(session, [2]))) == ([1], [])
    (row,) = reporting.build(world.database, Policy(), NOW).rows
    assert (row.acts, row.bounced) == ("vendor", (WRONG,))
    assert "corrects the customer's address" in row.next_step
    assert row.undelivered is not None
    assert "550" in row.undelivered
    world.correct(NOW + HOUR, email=RIGHT)
    world.deliver(NOW + HOUR)
    (row,) = reporting.build(world.database, Policy(), NOW + HOUR).rows
    assert (row.acts, row.undelivered, row.bounced) == ("customer", None, ())
    assert "uploads the request" in row.next_step


def test_a_message_that_is_tried_again_is_not_counted_as_not_received(world: World) -> None:
    world.write()
    world.mailbox.outage = True
    assert world.deliver().failed == 1
    assert world.not_received() == {}
    assert world.failing() == ["delivery"]


def test_an_address_is_named_only_while_somebody_in_care_has_it(world: World) -> None:
    with world.database.transaction() as session:
        session.add(Contact(customer_id=1, address="ann@acme.example"))
        for address in (WRONG, "ann@acme.example", "ops@vendor.example", "past@acme.example"):
            session.add(Bounce(address=address, at=NOW, why="no such user"))

    def named() -> list[str]:
        with world.database.reading() as session:
            return [b.address for b in store.bounces_in_use(session, ["ops@vendor.example"])]

    assert named() == ["ann@acme.example", WRONG, "ops@vendor.example"]
    world.correct(NOW, email=RIGHT, remove_contacts=("ann@acme.example",))
    assert named() == ["ops@vendor.example"]
    world.correct(NOW, email=WRONG)
    world.set(Customer, offboarded_at=NOW)
    assert named() == ["ops@vendor.example"]


def test_nobody_looks_into_what_has_been_made_good_or_is_past(world: World) -> None:
    world.write()
    world.deliver()
    assert world.failing() == ["delivery"]
    world.set(Renewal, state=RenewalState.CANCELLED)
    assert world.failing() == [], "the renewal has ended"
    world.write(Kind.FULFILLED, NOW + DAY)
    world.deliver(NOW + DAY)
    assert world.failing() == ["fulfilled"]
    world.correct(NOW + 2 * DAY, email=RIGHT)
    world.write(Kind.FULFILLED, NOW + 2 * DAY, recipients=[RIGHT])
    world.deliver(NOW + 2 * DAY)
    assert world.failing() == [], "a later one got through, to another address of theirs"
    world.mailbox.bounce = {RIGHT}
    world.write(Kind.FULFILLED, NOW + 3 * DAY, recipients=[RIGHT])
    world.deliver(NOW + 3 * DAY)
    assert world.failing() == ["fulfilled"]
    world.set(Customer, offboarded_at=NOW)
    assert world.failing() == []


def test_news_for_ops_is_made_good_by_later_news_for_ops_alone(world: World) -> None:
    world.mailbox.bounce = {"old@vendor.example"}
    world.write(Kind.BREACH, recipients=["old@vendor.example"])
    world.deliver()
    world.write(Kind.FULFILLED, NOW + HOUR, recipients=[RIGHT])
    world.deliver(NOW + HOUR)
    assert world.failing() == ["breach"]
    world.write(Kind.REVOKED, NOW + DAY, recipients=["new@vendor.example"])
    world.deliver(NOW + DAY)
    assert world.failing() == []


def test_those_that_wait_behind_a_server_that_is_down_are_counted(world: World) -> None:
    world.mailbox.stop()
    for number in range(5):
        world.write(Kind.FULFILLED, NOW + number * timedelta(seconds=1), recipients=[RIGHT])
    later = NOW + timedelta(minutes=1)
    assert world.deliver(later).failed == 1
    with world.database.reading() as session:
        assert count_undelivered(session, later) == 1
        assert count_undelivered(session, later + 2 * HOUR) == 5
        rows = session.exec(select(OutboxMessage)).all()
        assert sorted(row.attempts for row in rows) == [0, 0, 0, 0, 1]


def test_a_refused_copy_is_no_reason_to_send_again(world: World) -> None:
    world.write(recipients=[RIGHT], copies=[WRONG])
    assert world.deliver().sent == 1
    world.correct(NOW + HOUR, email=RIGHT)
    assert world.deliver(NOW + HOUR) == DeliverySummary()
    with world.database.reading() as session:
        assert "no such mailbox" in session.get_one(Bounce, WRONG).why
