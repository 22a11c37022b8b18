"""What waits in the outbox goes out once, in order, and never when it is out of date."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, time, timedelta
from email.message import EmailMessage
from typing import Any

import pytest
from sqlmodel import select

from lifecycle.errors import Refused, Unavailable, refuse
from lifecycle.vendor import registry
from lifecycle.vendor.database import Database
from lifecycle.vendor.facts import RenewalReason, RenewalState
from lifecycle.vendor.kinds import Kind
from lifecycle.vendor.mail import AddressesRefused, RefusedAddress, ServerDown
from lifecycle.vendor.models import (
    Bounce,
    Certificate,
    Customer,
    OutboxMessage,
    Renewal,
)
from lifecycle.vendor.outbox import (
    DeliverySummary,
    deliver_due,
    retry_after,
)
from lifecycle.vendor.quiet_hours import QuietHours
from lifecycle.vendor.undelivered import (
    CHANNEL_GONE,
    CUSTOMER_GONE,
    CUSTOMER_PAUSED,
    RENEWAL_ENDED,
    SUPERSEDED,
    failing,
)

NOW = datetime(2027, 3, 1, 9, tzinfo=UTC)
OVER = timedelta(0)
"""A lease that is over as soon as it is given."""
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
REQUEST = "UmVxdWVzdA=="


@dataclass
class Post:
    """A transport that keeps what it was given, and fails as told."""

    sent: list[EmailMessage] = field(default_factory=list)
    faults: dict[str, Refused | Unavailable] = field(default_factory=dict)
    """By the address of the first recipient."""
    refused: tuple[RefusedAddress, ...] = ()
    """Addresses that are passed over."""

    def send(self, message: EmailMessage) -> tuple[RefusedAddress, ...]:
        fault = self.faults.get(message["To"].addresses[0].addr_spec)
        if fault is not None:
            raise fault
        self.sent.append(message)
        return self.refused

    @property
    def subjects(self) -> list[str]:
        return [message["Subject"] for message in self.sent]


class Killed(BaseException):
    """Stands for SIGKILL."""


@dataclass
class Killer:
    """Ends the process when a boundary is reached."""

    at: str
    seen: list[str] = field(default_factory=list)

    def reached(self, boundary: str) -> None:
        self.seen.append(boundary)
        if boundary == self.at:
            raise Killed


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    made = Database(database_url)
    with made.transaction() as session:
        for number, slug in enumerate(("acme", "globex"), 1):
            session.add(
                Customer(
                    id=number, slug=slug, name=slug, email=f"it@{slug}.example", created_at=NOW
                )
            )
        session.flush()
        for number in (1, 2):
            session.add(
                Renewal(
                    id=number,
                    customer_id=number,
                    state=RenewalState.DELIVERED,
                    reason=RenewalReason.EXPIRY,
                    opened_at=NOW,
                    request=REQUEST,
                )
            )
    yield made
    made.close()


@pytest.fixture
def post() -> Post:
    return Post()


def put(database: Database, subject: str, kind: Kind = Kind.DELIVERY, **changes: Any) -> int:
    """Writes a row, for acme if nothing else is said."""
    values: dict[str, Any] = {
        "dedupe_key": subject,
        "kind": kind,
        "customer_id": 1,
        "renewal_id": 1,
        "recipients": ["it@acme.example"],
        "copies": [],
        "subject": subject,
        "body": "Hello\n",
        "attach_request": kind in (Kind.DELIVERY, Kind.REMINDER),
        "created_at": NOW,
        "next_attempt_at": NOW,
    }
    with database.transaction() as session:
        row = OutboxMessage(**{**values, **changes})
        session.add(row)
        session.flush()
        assert row.id is not None
        return row.id


def for_globex(database: Database, subject: str, kind: Kind = Kind.DELIVERY) -> int:
    return put(
        database, subject, kind, customer_id=2, renewal_id=2, recipients=["it@globex.example"]
    )


def deliver(database: Database, post: Post, at: datetime = NOW) -> DeliverySummary:
    return deliver_due(database, post, at, sender="push@vendor.example", vendor="Example MDM")


def row_of(database: Database, row_id: int) -> OutboxMessage:
    with database.reading() as session:
        return session.get_one(OutboxMessage, row_id)


def change(database: Database, model: type[Customer | Renewal], **values: object) -> None:
    """Changes acme, or acme's renewal."""
    with database.transaction() as session:
        row = session.get_one(model, 1)
        for name, value in values.items():
            setattr(row, name, value)
        session.add(row)


def test_a_due_row_is_sent_once_with_the_request_attached(database: Database, post: Post) -> None:
    row_id = put(database, "renew", copies=["ops@vendor.example"])
    assert deliver(database, post).sent == 1
    assert deliver(database, post, NOW + DAY) == DeliverySummary()
    (message,) = post.sent
    assert message["To"] == "it@acme.example"
    assert message["Cc"] == "ops@vendor.example"
    (attached,) = message.iter_attachments()
    assert attached.get_filename() == "acme-push-certificate-request.txt"
    assert attached.get_content() == REQUEST.encode()
    row = row_of(database, row_id)
    assert (row.sent_at, row.next_attempt_at, row.attempts) == (NOW, None, 1)


def test_rows_go_out_in_the_order_they_were_written_and_not_before_their_time(
    database: Database, post: Post
) -> None:
    put(database, "one", Kind.FULFILLED, next_attempt_at=NOW - HOUR)
    put(database, "later", Kind.FULFILLED, next_attempt_at=NOW + MINUTE)
    put(database, "two", Kind.BREACH, next_attempt_at=NOW - DAY)
    deliver(database, post)
    assert post.subjects == ["one", "two"]
    deliver(database, post, NOW + MINUTE)
    assert post.subjects == ["one", "two", "later"]


def test_more_rows_than_one_batch_are_all_sent(database: Database, post: Post) -> None:
    for number in range(230):
        put(database, f"message {number}", Kind.FULFILLED)
    assert deliver(database, post).sent == 230
    assert post.subjects == [f"message {number}" for number in range(230)]


def test_stop_is_asked_between_rows(database: Database, post: Post) -> None:
    for number in range(3):
        put(database, f"message {number}", Kind.FULFILLED)
    summary = deliver_due(
        database,
        post,
        NOW,
        sender="push@vendor.example",
        vendor="V",
        stop=lambda: len(post.sent) == 2,
    )
    assert summary.sent == 2


# Failures


def test_a_temporary_failure_is_tried_again_with_growing_pauses_and_given_up_after_thirty_days(
    database: Database, post: Post
) -> None:
    row_id = put(database, "renew")
    post.faults["it@acme.example"] = Unavailable("greylisted")
    pauses, at = [], NOW
    for _ in range(140):
        summary = deliver(database, post, at)
        assert summary.failed == 1
        row = row_of(database, row_id)
        assert row.last_error == "greylisted"
        if row.next_attempt_at is None:
            break
        assert deliver(database, post, row.next_attempt_at - MINUTE) == DeliverySummary()
        pauses.append(row.next_attempt_at - at)
        at = row.next_attempt_at
    assert pauses[:8] == [5 * MINUTE * 2**n for n in range(7)] + [6 * HOUR]
    assert set(pauses[7:]) == {6 * HOUR}
    assert sum(pauses, timedelta()) <= 30 * DAY
    assert row.given_up_at == at
    assert summary.given_up == 1
    assert at + 6 * HOUR > NOW + 30 * DAY
    assert deliver(database, post, NOW + 40 * DAY) == DeliverySummary()


def test_a_row_that_failed_and_then_went_through_carries_no_error(
    database: Database, post: Post
) -> None:
    row_id = put(database, "renew")
    post.faults["it@acme.example"] = Unavailable("greylisted")
    deliver(database, post)
    post.faults.clear()
    deliver(database, post, NOW + 5 * MINUTE)
    row = row_of(database, row_id)
    assert (row.attempts, row.last_error, row.sent_at) == (2, None, NOW + 5 * MINUTE)


def test_a_permanent_failure_is_given_up_at_once_and_the_others_are_sent(
    database: Database, post: Post
) -> None:
    refused = put(database, "to acme")
    for_globex(database, "to globex")
    post.faults["it@acme.example"] = refuse("mail_refused", "No such user.", "Correct it.")
    summary = deliver(database, post)
    assert (summary.sent, summary.failed, summary.given_up) == (1, 1, 1)
    assert "No such user." in summary.faults[0]
    row = row_of(database, refused)
    assert (row.given_up_at, row.next_attempt_at) == (NOW, None)


def test_an_address_that_is_none_is_given_up_and_the_others_are_sent(
    database: Database, post: Post
) -> None:
    bad = put(database, "to nobody", recipients=["nobody"])
    for_globex(database, "to globex")
    assert deliver(database, post).given_up == 1
    assert post.subjects == ["to globex"]
    assert "not an email address" in str(row_of(database, bad).last_error)


def test_a_server_that_is_down_is_asked_once_and_the_others_wait(
    database: Database, post: Post
) -> None:
    first = put(database, "to acme")
    second = for_globex(database, "to globex")
    post.faults["it@acme.example"] = ServerDown("connection refused")
    summary = deliver(database, post)
    assert (summary.sent, summary.failed, summary.stopped) == (0, 1, "connection refused")
    assert row_of(database, first).attempts == 1
    assert row_of(database, second).attempts == 0
    post.faults.clear()
    assert deliver(database, post, NOW + MINUTE).sent == 1
    assert post.subjects == ["to globex"]


def test_backoff_never_grows_past_its_bound() -> None:
    assert retry_after(1) == 5 * MINUTE
    assert retry_after(10_000) == 6 * HOUR


# Out of date


@pytest.mark.parametrize(
    "state", [RenewalState.FULFILLED, RenewalState.CANCELLED, RenewalState.SUPERSEDED]
)
@pytest.mark.parametrize("kind", [Kind.DELIVERY, Kind.REMINDER, Kind.OPS_REMINDER])
def test_nobody_is_urged_on_in_a_renewal_that_has_ended(
    database: Database, post: Post, kind: Kind, state: RenewalState
) -> None:
    row_id = put(database, "renew", kind)
    change(database, Renewal, state=state)
    assert deliver(database, post).withdrawn == 1
    assert post.sent == []
    row = row_of(database, row_id)
    assert (row.last_error, row.given_up_at, row.attempts) == (RENEWAL_ENDED, NOW, 0)
    assert row.next_attempt_at is None


@pytest.mark.parametrize("kind", [Kind.FULFILLED, Kind.BREACH, Kind.REVOKED])
def test_news_is_sent_although_the_renewal_has_ended(
    database: Database, post: Post, kind: Kind
) -> None:
    put(database, "news", kind)
    change(database, Renewal, state=RenewalState.FULFILLED)
    assert deliver(database, post).sent == 1


@pytest.mark.parametrize(
    ("column", "why"), [("paused_at", CUSTOMER_PAUSED), ("offboarded_at", CUSTOMER_GONE)]
)
@pytest.mark.parametrize("kind", [k for k in Kind if k is not Kind.SIGNER_EXPIRY])
def test_a_customer_out_of_care_gets_nothing_and_ops_still_learn_of_dangers(
    database: Database, post: Post, column: str, why: str, kind: Kind
) -> None:
    row_id = put(database, "message", kind)
    change(database, Customer, **{column: NOW - DAY})
    deliver(database, post)
    if kind in (Kind.BREACH, Kind.REVOKED, Kind.DIGEST, Kind.TEST):
        assert post.subjects == ["message"]
    else:
        assert post.sent == []
        assert row_of(database, row_id).last_error == why


def test_after_an_outage_of_the_mail_server_one_message_arrives_and_not_a_burst(
    database: Database, post: Post
) -> None:
    ids = [put(database, "request")]
    ids += [put(database, f"rung {d}", Kind.REMINDER) for d in (30, 14, 7)]
    for_globex(database, "globex's own")
    put(database, "for ops", Kind.OPS_REMINDER, recipients=["ops@vendor.example"])
    summary = deliver(database, post)
    assert post.subjects == ["rung 7", "globex's own", "for ops"]
    assert summary.withdrawn == 3
    assert [row_of(database, i).last_error for i in ids] == [SUPERSEDED] * 3 + [None]


def test_a_message_is_not_sent_after_a_later_one_has_been(database: Database, post: Post) -> None:
    early = put(database, "rung 14", Kind.REMINDER, next_attempt_at=NOW + HOUR)
    put(database, "rung 7", Kind.REMINDER)
    deliver(database, post)
    deliver(database, post, NOW + HOUR)
    assert post.subjects == ["rung 7"]
    assert row_of(database, early).last_error == SUPERSEDED


def test_a_message_is_still_tried_when_the_later_one_was_given_up(
    database: Database, post: Post
) -> None:
    put(database, "rung 14", Kind.REMINDER)
    put(database, "rung 7", Kind.REMINDER, given_up_at=NOW, next_attempt_at=None)
    assert deliver(database, post).sent == 1


def test_only_the_latest_rung_of_a_signer_is_sent(database: Database, post: Post) -> None:
    for subject, ladder in (("old 14", "signer:1"), ("old 7", "signer:1"), ("new", "signer:2")):
        put(
            database,
            subject,
            Kind.SIGNER_EXPIRY,
            customer_id=None,
            renewal_id=None,
            ladder=ladder,
            rung=subject,
        )
    deliver(database, post)
    assert post.subjects == ["old 7", "new"]


# Crashes


@pytest.mark.parametrize("at", ["mail.sent:before", "mail.sent:after"])
def test_killed_around_sending_the_row_goes_out_again_under_the_same_message_id(
    database: Database, post: Post, at: str
) -> None:
    row_id = put(database, "renew")
    killer = Killer(at)
    with pytest.raises(Killed):
        deliver_due(
            database,
            post,
            NOW,
            sender="push@vendor.example",
            vendor="V",
            observer=killer,
        )
    assert row_of(database, row_id).sent_at is None
    if not database.has_one_writer:
        assert deliver(database, post, NOW + MINUTE).sent == 0, "it may be alive, and sending"
        assert deliver_with(database, post, NOW + MINUTE, lease=OVER).sent == 0, "found over once"
    assert deliver_with(database, post, NOW + MINUTE, lease=OVER).sent == 1
    assert row_of(database, row_id).sent_at == NOW + MINUTE
    assert len(post.sent) == (2 if at.endswith("after") else 1)
    assert len({message["Message-ID"] for message in post.sent}) == 1


def test_the_boundaries_enclose_the_sending(database: Database, post: Post) -> None:
    put(database, "renew")
    watcher = Killer("never")
    deliver_due(
        database,
        post,
        NOW,
        sender="push@vendor.example",
        vendor="V",
        observer=watcher,
    )
    assert watcher.seen == ["mail.sent:before", "mail.sent:after"]


# What somebody should look into


def test_failing_lists_what_failed_until_something_gets_through(
    database: Database, post: Post
) -> None:
    put(database, "renew")
    for_globex(database, "fine")
    post.faults["it@acme.example"] = refuse("mail_refused", "No such user.", "Correct it.")
    deliver(database, post)
    with database.reading() as session:
        assert [row.subject for row in failing(session)] == ["renew"]
    put(database, "to ops", Kind.BREACH, recipients=["ops@vendor.example"])
    deliver(database, post)
    with database.reading() as session:
        assert [row.subject for row in failing(session)] == ["renew"]
    post.faults.clear()
    put(database, "reminder", Kind.REMINDER)
    deliver(database, post)
    with database.reading() as session:
        assert failing(session) == []


def test_failing_lists_what_is_being_retried_and_nothing_withdrawn(
    database: Database, post: Post
) -> None:
    put(database, "renew")
    post.faults["it@acme.example"] = Unavailable("greylisted")
    deliver(database, post)
    with database.reading() as session:
        assert [row.subject for row in failing(session)] == ["renew"]
    change(database, Renewal, state=RenewalState.FULFILLED)
    deliver(database, post, NOW + DAY)
    with database.reading() as session:
        assert failing(session) == []
        assert session.exec(select(OutboxMessage)).one().last_error == RENEWAL_ENDED


def bounces(database: Database) -> dict[str, str]:
    with database.reading() as session:
        return {row.address: row.why for row in session.exec(select(Bounce))}


def test_an_address_refused_for_good_is_flagged_until_a_message_gets_through(
    database: Database, post: Post
) -> None:
    gone = AddressesRefused((RefusedAddress("it@acme.example", "no such user (550)."),))
    post.faults["it@acme.example"] = gone
    put(database, "first", Kind.FULFILLED)
    assert deliver(database, post).given_up == 1
    assert bounces(database) == {"it@acme.example": "no such user (550)."}
    put(database, "second", Kind.FULFILLED)
    deliver(database, post, NOW + DAY)
    with database.reading() as session:
        assert session.get_one(Bounce, "it@acme.example").at == NOW, "since when, not when last"
    del post.faults["it@acme.example"]
    put(database, "third", Kind.FULFILLED)
    assert deliver(database, post, NOW + 2 * DAY).sent == 1
    assert bounces(database) == {}


def test_of_several_addresses_the_refused_one_alone_is_flagged(
    database: Database, post: Post
) -> None:
    post.refused = (RefusedAddress("old@acme.example", "no such user (550)."),)
    put(
        database,
        "both",
        Kind.FULFILLED,
        recipients=["it@acme.example", "old@acme.example"],
    )
    summary = deliver(database, post)
    assert summary.sent == 1
    assert summary.faults == ["no such user (550)."]
    assert bounces(database) == {"old@acme.example": "no such user (550)."}


@dataclass
class Chat:
    """A channel that keeps what it was given, and is down when told."""

    down: bool = False
    sent: list[tuple[str, str]] = field(default_factory=list)

    def send(self, subject: str, body: str) -> None:
        if self.down:
            raise Unavailable("The channel 'slack' did not take the message.")
        self.sent.append((subject, body))


def deliver_with(
    database: Database, post: Post | None, at: datetime = NOW, **options: Any
) -> DeliverySummary:
    return deliver_due(database, post, at, sender="push@vendor.example", vendor="V", **options)


def test_a_chat_that_is_down_keeps_no_mail_waiting_nor_the_other_way_round(
    database: Database, post: Post
) -> None:
    put(database, "alert", Kind.BREACH, channel="slack", recipients=["slack"])
    put(database, "mail", Kind.BREACH)
    chat = Chat(down=True)
    summary = deliver_with(database, post, chats={"slack": chat})
    assert (summary.sent, summary.failed) == (1, 1)
    assert post.subjects == ["mail"]
    chat.down = False
    post.faults["it@acme.example"] = ServerDown("The mail server cannot be used.")
    put(database, "more mail", Kind.BREACH)
    put(database, "more alert", Kind.BREACH, channel="slack", recipients=["slack"])
    deliver_with(database, post, NOW + HOUR, chats={"slack": chat})
    assert [subject for subject, _ in chat.sent] == ["alert", "more alert"]


def test_without_a_mail_server_chats_are_served_and_mail_waits(database: Database) -> None:
    mail = put(database, "mail", Kind.BREACH)
    put(database, "alert", Kind.BREACH, channel="slack", recipients=["slack"])
    chat = Chat()
    assert deliver_with(database, None, chats={"slack": chat}).sent == 1
    row = row_of(database, mail)
    assert (row.next_attempt_at, row.attempts) == (NOW, 0)


def test_a_channel_that_is_no_longer_configured_is_withdrawn(
    database: Database, post: Post
) -> None:
    row_id = put(database, "alert", Kind.BREACH, channel="slack", recipients=["slack"])
    assert deliver(database, post).withdrawn == 1
    assert row_of(database, row_id).last_error == CHANNEL_GONE
    with database.reading() as session:
        assert failing(session) == []


def test_the_same_occasion_in_another_channel_is_no_successor(
    database: Database, post: Post
) -> None:
    put(database, "rung", Kind.OPS_REMINDER)
    put(database, "rung@slack", Kind.OPS_REMINDER, channel="slack", recipients=["slack"])
    chat = Chat()
    assert deliver_with(database, post, chats={"slack": chat}).sent == 2


NIGHT = QuietHours(UTC, time(8), time(12))


def test_customers_are_left_alone_and_ops_are_not(database: Database, post: Post) -> None:
    row_id = put(database, "reminder", Kind.REMINDER)
    put(database, "alert", Kind.BREACH)
    summary = deliver_with(database, post, quiet=NIGHT)
    assert (summary.sent, summary.held) == (1, 1)
    assert post.subjects == ["alert"]
    row = row_of(database, row_id)
    assert (row.next_attempt_at, row.attempts, row.last_error) == (NOW + 3 * HOUR, 0, None)
    deliver_with(database, post, NOW + 3 * HOUR, quiet=NIGHT)
    assert post.subjects == ["alert", "reminder"]


@pytest.mark.parametrize(
    ("ends", "held"), [(NOW + 2 * HOUR, 0), (NOW + 3 * HOUR, 0), (NOW + 4 * HOUR, 1), (NOW, 1)]
)
def test_nobody_sleeps_while_the_certificate_ends(
    database: Database, post: Post, ends: datetime, held: int
) -> None:
    with database.transaction() as session:
        session.add(
            Certificate(
                customer_id=1,
                state="active",
                topic="com.apple.mgmt.External.x",
                serial="1",
                common_name="APSP:x",
                issuer="Apple",
                fingerprint="f",
                key_fingerprint="k",
                not_before=NOW - 365 * DAY,
                not_after=ends,
                der=b"",
                recorded_at=NOW,
            )
        )
    put(database, "reminder", Kind.REMINDER)
    assert deliver_with(database, post, quiet=NIGHT).held == held


def test_a_request_waits_for_the_end_of_a_pause(database: Database, post: Post) -> None:
    row_id = put(database, "renew")
    change(database, Customer, paused_at=NOW - DAY)
    assert deliver(database, post).held == 1
    assert deliver(database, post, NOW + 30 * DAY) == DeliverySummary()
    with database.transaction() as session:
        registry.resume(session, session.get_one(Customer, 1), at=NOW + 31 * DAY, actor="ops")
    assert deliver(database, post, NOW + 31 * DAY).sent == 1
    assert row_of(database, row_id).last_error is None


def test_a_rung_that_a_pause_withheld_can_be_decided_on_anew(
    database: Database, post: Post
) -> None:
    place = {"ladder": "certificate:1", "rung": "expiry:14"}
    row_id = put(database, "rung", Kind.REMINDER, **place)
    change(database, Customer, paused_at=NOW - DAY)
    deliver(database, post)
    row = row_of(database, row_id)
    assert (row.ladder, row.rung, row.last_error) == (None, None, CUSTOMER_PAUSED)
    put(database, "rung", Kind.REMINDER, **place)
