"""``remind`` sends what is owed to people and does nothing else; its dry run says exactly what."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from email.message import EmailMessage
from pathlib import Path

import pytest
from sqlmodel import func, select

from lifecycle import turns
from lifecycle.rehearsal.stage import OPS, START, Stage
from lifecycle.vendor import registry, store
from lifecycle.vendor.models import AuditEntry, OutboxMessage

DAY = timedelta(days=1)
CUSTOMERS = ("acme", "birch", "cedar")
EXPIRY = START + 365 * DAY


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    """Three customers with a certificate each, a year before it ends."""
    with Stage(tmp_path / "vendor", seed=2).open() as stage:
        stage.import_signer(400)
        for slug in CUSTOMERS:
            stage.add_customer(slug, slug.title(), f"it@{slug}.example", f"push@{slug}.example")
        stage.embedded.tick()
        for slug in CUSTOMERS:
            request = stage.embedded.desk(slug).work().request
            assert request is not None
            certificate = stage.portal.create(f"push@{slug}.example", request.request.encode())
            stage.embedded.upload(slug, certificate)
        stage.embedded.tick()
        stage.mailbox.take()
        yield stage


def counted(stage: Stage) -> tuple[int, int]:
    with stage.embedded.database.reading() as session:
        messages = session.exec(select(func.count()).select_from(OutboxMessage)).one()
        return messages, session.exec(select(func.count()).select_from(AuditEntry)).one()


def in_short(message: EmailMessage) -> tuple[str, str, str]:
    return str(message["To"]), str(message["Cc"] or ""), str(message["Subject"]).strip()


@pytest.mark.parametrize("day", [333, 335, 351, 358, 362, 364, 365, 366, 372, 379, 392, 400])
def test_the_dry_run_is_what_remind_then_sends_and_writes_nothing(stage: Stage, day: int) -> None:
    stage.clock.set(START + 331 * DAY)
    stage.embedded.tick()  # the requests are handed over
    stage.mailbox.take()
    stage.clock.set(START + day * DAY + timedelta(hours=1))
    before = counted(stage)
    upcoming = stage.embedded.preview()
    assert counted(stage) == before
    done = stage.embedded.remind()
    sent = [in_short(message) for message in stage.mailbox.take()]
    assert sent == [(", ".join(u.to), ", ".join(u.copies), u.subject) for u in upcoming]
    assert done.mail.sent == len(sent)
    assert stage.embedded.preview() == []


def test_what_failed_and_waits_is_in_the_dry_run_and_what_is_out_of_date_is_not(
    stage: Stage,
) -> None:
    stage.clock.set(EXPIRY - 34 * DAY)
    stage.embedded.tick()
    stage.mailbox.outage = True
    stage.clock.set(EXPIRY - 30 * DAY + timedelta(hours=1))
    stage.embedded.remind()
    stage.clock.set(EXPIRY - 13 * DAY)
    upcoming = stage.embedded.preview()
    assert [u.rung for u in upcoming] == ["expiry:14"] * 3, "those of 30 days are out of date"
    stage.embedded.remind()
    stage.clock.advance(timedelta(hours=1))
    assert {u.failed for u in stage.embedded.preview()} == {1}
    stage.mailbox.outage = False
    stage.mailbox.take()
    assert stage.embedded.remind().mail.sent == 3
    assert sorted(str(m["To"]) for m in stage.mailbox.take()) == [
        f"it@{slug}.example" for slug in CUSTOMERS
    ]


def test_remind_opens_no_renewal_and_checks_nothing_and_the_next_tick_does(stage: Stage) -> None:
    stage.clock.set(START + 331 * DAY)
    done = stage.embedded.remind()
    assert done.work.actions == {}
    assert all(stage.record(slug).renewal is None for slug in CUSTOMERS)
    with stage.embedded.database.reading() as session:
        assert len(store.due_customers(session, stage.clock.now(), 10)) == 3, "they stay due"
    did = stage.embedded.tick().work.actions
    assert did["OpenRenewal"] == did["Deliver"] == 3
    assert did["AskForProbes"] >= 3


def test_the_signers_rung_goes_to_ops_by_remind_as_well(stage: Stage) -> None:
    stage.clock.set(START + 386 * DAY + timedelta(hours=1))
    for slug in CUSTOMERS:
        with stage.embedded.database.transaction() as session:
            customer = store.customer_by_slug(session, slug)
            registry.offboard(session, customer, at=stage.clock.now(), actor="ops")
    (upcoming,) = stage.embedded.preview()
    assert (upcoming.slug, upcoming.kind, upcoming.rung) == (None, "signer_expiry", "expiry:14")
    stage.embedded.remind()
    (message,) = stage.mailbox.take()
    assert message["To"] == OPS


def test_one_process_of_a_deployment_sends_at_a_time(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turns, "SENDER_WAITS_SECONDS", 0)
    stage.clock.set(EXPIRY - 34 * DAY)
    with turns.one_sender(stage.embedded.config) as mine:
        assert mine
        done = stage.embedded.tick()
        assert done.mail.sent == 0
        assert done.mail.stopped == "Another pushcert is sending."
        assert stage.mailbox.take() == ()
    assert stage.embedded.send_mail().sent == 3


def test_a_request_after_one_that_was_cancelled_says_that_it_takes_its_place(stage: Stage) -> None:
    stage.clock.set(EXPIRY - 34 * DAY)
    stage.embedded.tick()
    first = {str(m["To"]): m.get_body(("plain",)) for m in stage.mailbox.take()}
    again = "can no longer be used"
    assert first
    assert all(again not in " ".join(str(body).split()) for body in first.values())
    with stage.embedded.database.transaction() as session:
        acme = store.customer_by_slug(session, "acme")
        renewal = store.open_renewal(session, acme)
        assert renewal is not None
        registry.cancel_renewal(
            session, acme, renewal, "by hand", at=stage.clock.now(), actor="ops"
        )
    stage.clock.advance(timedelta(minutes=1))
    stage.embedded.tick()
    (message,) = stage.mailbox.take()
    body = message.get_body(("plain",))
    assert body is not None
    assert again in " ".join(body.get_content().split())
