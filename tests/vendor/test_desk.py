"""What the vendor's side of the link makes of uploads that come more than once."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from lifecycle.rehearsal.stage import Stage

ACCOUNT = "push@acme.example"


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    """A customer in the midst of a renewal; APNs cannot be reached, so nothing is activated."""
    with Stage(tmp_path / "vendor", seed=4).open() as stage:
        stage.import_signer(365)
        stage.add_customer("acme", "Acme", "it@acme.example", ACCOUNT)
        stage.look()
        stage.upload("acme", stage.portal.create(ACCOUNT, request(stage)[0]))
        stage.enrol_device("acme")
        stage.clock.advance(timedelta(days=335))
        stage.look()
        stage.gateway.faults.outage = True
        yield stage


def request(stage: Stage) -> tuple[bytes, str]:
    """The signed request, and the serial to renew ("" for the first time)."""
    found = stage.embedded.desk("acme").work().request
    assert found is not None
    return found.request.encode(), found.renew_serial or ""


def test_a_certificate_that_another_upload_set_aside_is_taken_when_it_comes_again(
    stage: Stage,
) -> None:
    signed, serial = request(stage)
    first, second = (stage.portal.renew(ACCOUNT, signed, serial) for _ in range(2))
    for file in (first, second, first, second, first):
        assert stage.upload("acme", file).setback is not None
    received = stage.record("acme").received
    assert received is not None
    stage.gateway.faults.outage = False
    stage.clock.advance(timedelta(hours=2))
    stage.look()
    record = stage.record("acme")
    assert record.active is not None
    assert record.active.fingerprint == received.fingerprint == stage.deployment.held("acme")
    assert record.received is None
    assert record.renewal is None
