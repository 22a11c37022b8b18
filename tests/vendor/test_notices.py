"""What is written into the outbox: once for each occasion, and fitting the facts."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlmodel import Session, select

from lifecycle.vendor.database import Database
from lifecycle.vendor.facts import RenewalReason, RenewalState
from lifecycle.vendor.kinds import Kind
from lifecycle.vendor.ladder import LadderPolicy, Rung, expiry_ladder
from lifecycle.vendor.models import (
    Certificate,
    Contact,
    Customer,
    IsolationCheck,
    OutboxMessage,
    Renewal,
)
from lifecycle.vendor.notices import About, Letterhead, Notices, OpsChannel
from lifecycle.vendor.undelivered import IN_DIGEST

NOW = datetime(2027, 3, 1, 9, tzinfo=UTC)
END = NOW + timedelta(days=14)
OPS = ("ops@vendor.example",)


@pytest.fixture
def session(database_url: str) -> Iterator[Session]:
    database = Database(database_url)
    with database.transaction() as opened:
        yield opened
    database.close()


@pytest.fixture
def acme(session: Session) -> About:
    """A customer with an active certificate, and a request to take to the portal."""
    customer = Customer(
        id=1, slug="acme", name="Acme GmbH", email="it@acme.example", created_at=NOW
    )
    certificate = Certificate(
        id=1,
        customer_id=1,
        state="active",
        topic="com.apple.mgmt.External.x",
        serial="3FA9C01B77DE",
        common_name="APSP:x",
        issuer="Apple",
        fingerprint="f",
        key_fingerprint="k",
        not_before=NOW,
        not_after=END,
        der=b"",
        recorded_at=NOW,
    )
    renewal = Renewal(
        id=1,
        customer_id=1,
        state=RenewalState.DELIVERED,
        reason=RenewalReason.EXPIRY,
        opened_at=NOW,
        request="UmVxdWVzdA==",
    )
    for row in (customer, certificate, renewal):
        session.add(row)
        session.flush()
    return About(customer, certificate, renewal)


def rung(days: int) -> Rung:
    return next(r for r in expiry_ladder(END, LadderPolicy()) if r.days == days)


def notices(ops: tuple[str, ...] = OPS) -> Notices:
    return Notices(Letterhead("Example MDM", ops))


def outbox(session: Session) -> list[OutboxMessage]:
    return list(session.exec(select(OutboxMessage)).all())


def test_one_rung_is_one_row_however_often_it_is_written(session: Session, acme: About) -> None:
    for _ in range(3):
        notices().reminder(session, acme, rung(14), NOW)
    (row,) = outbox(session)
    assert (row.ladder, row.rung, row.attach_request) == ("certificate:1", "expiry:14", True)
    assert (row.recipients, row.copies) == (["it@acme.example"], [])


def test_ops_are_copied_on_the_last_rungs_and_not_twice(session: Session, acme: About) -> None:
    notices().reminder(session, acme, rung(7), NOW)
    notices(("it@acme.example",)).reminder(session, acme, rung(3), NOW)
    first, second = outbox(session)
    assert first.copies == list(OPS)
    assert second.copies == []


def test_a_reminder_about_a_revoked_certificate_does_not_speak_of_its_expiry(
    session: Session, acme: About
) -> None:
    assert acme.certificate is not None
    acme.certificate.revoked_at = NOW
    notices().reminder(session, acme, rung(14), NOW)
    (row,) = outbox(session)
    assert row.subject.startswith("REVOKED")
    assert "expires in" not in row.body


def test_a_message_to_nobody_books_its_rung_and_says_that_nobody_was_told(
    session: Session, acme: About
) -> None:
    notices(()).ops_reminder(session, acme, rung(14), NOW)
    (row,) = outbox(session)
    assert (row.next_attempt_at, row.given_up_at) == (None, NOW)
    assert "no recipient" in (row.last_error or "")


SLACK = OpsChannel("slack", frozenset({Kind.BREACH, Kind.OPS_REMINDER, Kind.DIGEST}))


def with_head(**changes: Any) -> Notices:
    return Notices(Letterhead(**{"vendor": "Example MDM", "ops": OPS, **changes}))


def test_every_contact_of_a_customer_gets_its_messages_in_its_language(
    session: Session, acme: About
) -> None:
    acme.customer.language = "de"
    session.add(Contact(customer_id=1, address="zoe@acme.example"))
    session.add(Contact(customer_id=1, address="ann@acme.example"))
    session.add(Contact(customer_id=1, address="it@acme.example"))
    session.flush()
    with_head(language="fr").reminder(session, acme, rung(14), NOW)
    (row,) = outbox(session)
    assert row.recipients == ["it@acme.example", "ann@acme.example", "zoe@acme.example"]
    assert "15. März 2027" in row.body
    assert row.html is not None


def test_ops_are_written_to_in_the_vendors_language(session: Session, acme: About) -> None:
    acme.customer.language = "de"
    with_head(language="en").ops_reminder(session, acme, rung(14), NOW)
    (row,) = outbox(session)
    assert "15 March 2027" in row.body


def test_alerts_go_to_the_chat_channels_that_want_them(session: Session, acme: About) -> None:
    both = with_head(channels=(SLACK, OpsChannel("quiet", frozenset())))
    both.ops_reminder(session, acme, rung(14), NOW)
    both.ops_reminder(session, acme, rung(14), NOW)
    both.reminder(session, acme, rung(7), NOW)
    mail, chat, reminder = outbox(session)
    assert (mail.channel, chat.channel, reminder.channel) == ("mail", "slack", "mail")
    assert (mail.ladder, mail.rung) == (chat.ladder, chat.rung)
    assert (chat.html, chat.recipients) == (None, ["slack"])


def test_with_a_digest_ops_get_no_copies_and_reminders_still_book_their_rungs(
    session: Session, acme: About
) -> None:
    digest = with_head(digest=True, channels=(SLACK,))
    digest.reminder(session, acme, rung(7), NOW)
    digest.ops_reminder(session, acme, rung(3), NOW)
    copied, booked = outbox(session)
    assert copied.copies == []
    assert (booked.rung, booked.next_attempt_at, booked.last_error) == ("expiry:3", None, IN_DIGEST)


def test_with_a_digest_a_breach_is_told_at_once(session: Session, acme: About) -> None:
    check = IsolationCheck(id=1, customer_id=1, certificate_id=1, ordered_at=NOW, why="Found.")
    with_head(digest=True, channels=(SLACK,)).breach(session, acme, check, NOW)
    mail, chat = outbox(session)
    assert mail.recipients == list(OPS)
    assert mail.next_attempt_at == chat.next_attempt_at == NOW
