"""What fell due between a backup and the loss is taken as sent, named, and nothing else is."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from sqlmodel import col, select

from lifecycle.rehearsal.stage import START, Stage
from lifecycle.vendor.kinds import Kind
from lifecycle.vendor.lost_time import TakenAsSent, pass_over
from lifecycle.vendor.models import OutboxMessage
from lifecycle.vendor.restores import LostTime, last_restore
from lifecycle.vendor.undelivered import TAKEN_AS_SENT

EXPIRY = START + timedelta(days=365)
HOUR = timedelta(hours=1)


def before(days: float) -> timedelta:
    return timedelta(days=days)


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    """A customer whose request was handed over, 31 days before the certificate ends."""
    with Stage(tmp_path / "vendor", seed=5).open() as stage:
        stage.import_signer(900)
        stage.add_customer("acme", "Acme", "it@acme.example", "push@acme.example")
        stage.embedded.tick()
        request = stage.embedded.desk("acme").work().request
        assert request is not None
        pem = stage.portal.create("push@acme.example", request.request.encode())
        stage.embedded.upload("acme", pem)
        stage.clock.set(EXPIRY - before(31))
        stage.embedded.tick()
        stage.mailbox.take()
        yield stage


def restored(stage: Stage, since: timedelta, until: timedelta) -> list[TakenAsSent]:
    """The registry as it is now, taken for a backup; both instants count back from the end."""
    now = stage.clock.now()
    lost = LostTime(EXPIRY - since, EXPIRY - until)
    with stage.embedded.database.transaction() as session:
        return pass_over(session, stage.embedded.policy, None, lost, at=now, actor="operator:test")


def mail(stage: Stage) -> list[str]:
    stage.embedded.tick()
    return [str(m["Subject"]).strip() for m in stage.mailbox.take() if "acme" in str(m["To"])]


def test_a_rung_of_the_lost_time_is_named_and_the_next_one_is_sent(stage: Stage) -> None:
    stage.clock.set(EXPIRY - before(29))
    (taken,) = restored(stage, before(31), before(29))
    assert (taken.slug, taken.rung, taken.due_at) == ("acme", "expiry:30", EXPIRY - before(30))
    assert taken.next_at == EXPIRY - before(14)
    assert mail(stage) == []
    stage.clock.set(EXPIRY - before(14) + HOUR)
    assert len(mail(stage)) == 1


def test_a_rung_that_fell_due_after_the_loss_is_sent(stage: Stage) -> None:
    stage.clock.set(EXPIRY - before(29))
    assert restored(stage, before(31), before(30.5)) == []
    assert len(mail(stage)) == 1


def test_of_a_long_lost_time_only_what_came_after_it_is_sent(stage: Stage) -> None:
    stage.clock.set(EXPIRY - before(5))
    (taken,) = restored(stage, before(31), before(13))
    assert taken.rung == "expiry:14"
    assert len(mail(stage)) == 1, "the rung at 7 days, which the lost machine did not live to see"


def test_a_deployment_that_was_stopped_before_its_backup_leaves_nothing_out(stage: Stage) -> None:
    stage.clock.set(EXPIRY - before(29))
    assert restored(stage, before(31), before(31)) == []
    assert len(mail(stage)) == 1


def test_a_rung_that_fell_due_just_before_the_backup_may_have_been_sent_after_it(
    stage: Stage,
) -> None:
    stage.clock.set(EXPIRY - before(29))
    (taken,) = restored(stage, before(30) - HOUR, before(29))
    assert taken.rung == "expiry:30"


def test_a_message_that_waited_is_named_and_an_alert_is_sent_again(stage: Stage) -> None:
    stage.mailbox.outage = True
    stage.clock.set(EXPIRY - before(30) + HOUR)
    stage.embedded.tick()
    now = stage.clock.now()
    with stage.embedded.database.transaction() as session:
        session.add(
            OutboxMessage(
                dedupe_key="breach:1",
                kind=Kind.BREACH,
                recipients=["ops@vendor.example"],
                subject="Breach",
                body="A breach.",
                created_at=now,
                next_attempt_at=now,
            )
        )
    stage.mailbox.outage = False
    stage.clock.set(EXPIRY - before(29))
    (taken,) = restored(stage, before(30) - HOUR, before(29))
    assert (taken.kind, taken.rung) == (Kind.REMINDER, "expiry:30")
    assert mail(stage) == []
    assert [str(m["Subject"]).strip() for m in stage.mailbox.messages][-1] == "Breach"


def test_a_paused_customer_loses_no_rung(stage: Stage) -> None:
    from lifecycle.vendor import registry, store

    with stage.embedded.database.transaction() as session:
        customer = store.customer_by_slug(session, "acme")
        registry.pause(session, customer, "on hold", at=stage.clock.now(), actor="ops")
    stage.clock.set(EXPIRY - before(29))
    assert restored(stage, before(31), before(29)) == []


def test_the_registry_remembers_its_last_restore_and_who_did_it(stage: Stage) -> None:
    stage.clock.set(EXPIRY - before(29))
    with stage.embedded.database.reading() as session:
        assert last_restore(session) is None
    restored(stage, before(31), before(29))
    with stage.embedded.database.reading() as session:
        memory = last_restore(session)
        assert memory is not None
        assert memory.lost == LostTime(EXPIRY - before(31), EXPIRY - before(29))
        assert memory.restored_at == stage.clock.now()
        booked = session.exec(
            select(OutboxMessage).where(col(OutboxMessage.last_error) == TAKEN_AS_SENT)
        ).one()
        assert (booked.sent_at, booked.next_attempt_at) == (None, None)
