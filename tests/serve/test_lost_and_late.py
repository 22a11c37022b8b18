"""Answers that are lost for long, and messages that come late: what each of them must not do."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest

from lifecycle.errors import Refused, Unavailable
from lifecycle.lab.network_faults import NetworkFault
from lifecycle.vendor.credentials import ROTATION_GRACE
from lifecycle.wire.http_link import HttpLink
from tests.serve.disturbed import DAY, Disturbance, Play, Scene

LOST = (NetworkFault.LOST_ANSWER,) * 3
"""One for each attempt at one request."""


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with Scene(tmp_path_factory.mktemp("scene")).open() as scene:
        yield scene


@pytest.fixture
def play(scene: Scene) -> Iterator[Play]:
    """A vendor with an instance that has just enrolled, and the network between."""
    with scene.playing(Disturbance()) as play:
        play.acme.make_vault()
        play.acme.enrol(play.invite("acme"))
        yield play


def to_the_first_certificate(play: Play) -> None:
    play.tick()
    play.ask()
    play.tick()
    play.upload(play.acme, "acme", play.scene.lab.portal.create)
    play.import_device(play.acme)
    play.ask(play.canary)
    play.look()


class TestTheChangeOfKeys:
    def test_whose_answer_was_lost_before_weeks_offline_is_completed_afterwards(
        self, play: Play
    ) -> None:
        before = play.acme.enrolled()
        play.clock.advance(100 * DAY)
        play.tap.faults.queue(None, *LOST)
        play.acme.work()
        with pytest.raises(Unavailable):
            play.acme.step()
        play.clock.advance(30 * DAY)
        play.acme.step()
        after = play.acme.enrolled()
        assert before is not None
        assert after is not None
        assert after.credential_id != before.credential_id
        play.clock.advance(ROTATION_GRACE)
        with pytest.raises(Refused) as refused:
            HttpLink(play.acme._open_client(), play.clock, before.signer).work()
        assert refused.value.codes == ("credential_revoked",), "the old keys have had their day"


class TestAMessageThatComesLate:
    def test_does_not_order_the_check_that_a_person_wanted_and_got(self, play: Play) -> None:
        to_the_first_certificate(play)
        made = play.checks()
        play.clock.advance(timedelta(minutes=1))
        # work, and what is wanted; the latter arrives again when everything is over.
        play.tap.faults.queue(None, NetworkFault.AGAIN_WHEN_TOLD)
        assert play.acme.verify().verdict == "isolated"
        assert play.tap.faults.done[NetworkFault.AGAIN_WHEN_TOLD] == 1
        play.tap.deliver_late()
        play.look()
        assert play.checks() == made + 1
