"""A scheduler that was off for days returns with one message for each customer: the right one."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from sqlmodel import col, select

from lifecycle.rehearsal.stage import START, Stage
from lifecycle.vendor.ladder import current_rung, expiry_ladder
from lifecycle.vendor.models import OutboxMessage

CUSTOMERS = ("acme", "birch", "cedar")
EXPIRY = START + timedelta(days=365)


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    """Three customers with a certificate each, a year before it ends."""
    with Stage(tmp_path / "vendor", seed=2).open() as stage:
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
        stage.mailbox.take()
        yield stage


def rungs_told(stage: Stage) -> list[str]:
    with stage.embedded.database.reading() as session:
        return [
            row.rung or ""
            for row in session.exec(
                select(OutboxMessage)
                .where(col(OutboxMessage.ladder).startswith("certificate:"))
                .order_by(col(OutboxMessage.id))
            )
        ]


def customer_mail(stage: Stage) -> list[str]:
    return sorted(str(m["To"]) for m in stage.mailbox.take() if "ops@" not in str(m["To"]))


@pytest.mark.parametrize("off_days", [1, 6, 20, 33, 60])
@pytest.mark.parametrize("back_before_expiry", [29, 6, 0, -10])
def test_the_return_is_one_message_and_the_most_urgent(
    stage: Stage, off_days: int, back_before_expiry: int
) -> None:
    """Off for ``off_days`` until so many days before (negative: after) expiry; nobody uploads."""
    back = EXPIRY - timedelta(days=back_before_expiry) + timedelta(hours=1)
    stage.clock.set(back - timedelta(days=off_days))
    stage.embedded.tick()
    stage.mailbox.take()
    before = rungs_told(stage)

    stage.clock.set(back)
    stage.embedded.tick()
    ladder = expiry_ladder(EXPIRY, stage.embedded.policy.ladder)
    rung = current_rung(ladder, back)
    assert rung is not None
    owed = [] if rung.key in before else [rung.key] * len(CUSTOMERS)
    assert rungs_told(stage)[len(before) :] == owed
    mail = customer_mail(stage)
    assert len(mail) <= len(CUSTOMERS)
    assert mail == sorted(set(mail)), "somebody got two"
    if owed:
        assert mail == [f"it@{slug}.example" for slug in CUSTOMERS]

    stage.clock.advance(timedelta(hours=2))
    stage.embedded.tick()
    assert customer_mail(stage) == []


def test_a_mail_server_that_was_down_gets_one_message_each(stage: Stage) -> None:
    stage.clock.set(EXPIRY - timedelta(days=31))
    stage.embedded.tick()
    stage.mailbox.take()
    stage.mailbox.outage = True
    for days in range(30, 2, -1):
        stage.clock.set(EXPIRY - timedelta(days=days))
        stage.embedded.tick()
    assert customer_mail(stage) == []
    stage.mailbox.outage = False
    stage.clock.advance(timedelta(hours=7))
    stage.embedded.tick()
    told = [m for m in stage.mailbox.take() if "ops@" not in str(m["To"])]
    assert sorted(str(m["To"]) for m in told) == [f"it@{slug}.example" for slug in CUSTOMERS]
    assert all("3 days" in str(m["Subject"]) for m in told)


def test_a_revoked_certificate_is_noticed_within_a_day(tmp_path: Path) -> None:
    """The certificate names the lab's OCSP responder; it is asked over real HTTP."""
    from lifecycle.lab.portal_http import OCSP_PATH, PortalServer

    with Stage(tmp_path / "vendor", seed=2).open() as stage:
        server = PortalServer(stage.portal, stage.gateway, stage.clock)
        server.start()
        stage.authority.ocsp_url = server.url + OCSP_PATH
        try:
            stage.import_signer(900)
            stage.add_customer("acme", "Acme", "it@acme.example", "push@acme.example")
            stage.embedded.tick()
            request = stage.embedded.desk("acme").work().request
            assert request is not None
            stage.embedded.upload(
                "acme", stage.portal.create("push@acme.example", request.request.encode())
            )
            stage.embedded.tick()
            stage.mailbox.take()
            active = stage.record("acme").active
            assert active is not None
            assert active.revocation_checked_at == stage.clock.now()

            stage.portal.revoke("push@acme.example", active.serial)
            stage.clock.advance(timedelta(hours=23))
            stage.embedded.tick()
            assert stage.record("acme").facts.active.revoked_at is None  # type: ignore[union-attr]
            stage.clock.advance(timedelta(hours=1))
            tick = stage.embedded.tick()
            record = stage.record("acme")
            assert record.active is not None
            assert record.active.revoked_at is not None, tick.work.faults
            assert record.renewal is not None
            assert record.renewal.reason == "revoked"
            alarms = [m for m in stage.mailbox.take() if "ops@" in str(m["To"])]
            assert any("revoked" in str(m["Subject"]).lower() for m in alarms)
        finally:
            server.stop()


def test_a_responder_that_is_down_is_asked_again_and_stops_nothing(tmp_path: Path) -> None:
    with Stage(tmp_path / "vendor", seed=2).open() as stage:
        stage.authority.ocsp_url = "http://127.0.0.1:9/ocsp"
        stage.import_signer(900)
        stage.add_customer("acme", "Acme", "it@acme.example", "push@acme.example")
        stage.embedded.tick()
        request = stage.embedded.desk("acme").work().request
        assert request is not None
        stage.embedded.upload(
            "acme", stage.portal.create("push@acme.example", request.request.encode())
        )
        record = stage.record("acme")
        assert record.active is not None
        assert record.active.revocation_checked_at is None
        wake = record.customer.next_action_at
        assert wake is not None
        assert wake - stage.clock.now() <= stage.embedded.policy.retry
        stage.clock.set(wake)
        assert any("OCSP" in fault for fault in stage.embedded.tick().work.faults)
