"""The work behind the page: asking the vendor, taking files, trying again."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta

import pytest

from lifecycle.errors import refuse
from lifecycle.instance.agent import Agent
from lifecycle.pki.keys import generate_key, key_to_pem
from lifecycle.setup_page.attendant import KEPT, Attendant
from lifecycle.setup_page.facts import Attempt, Deed, Stage
from lifecycle.setup_page.lookout import Lookout
from lifecycle.vendor.facts import RenewalReason
from tests.setup_page.conftest import FILE_NAME, Acme, apart

PATIENCE = 60.0
"""A bound for a busy machine, and nothing that is measured."""


@dataclass
class Behind:
    """What is behind the page of one customer."""

    acme: Acme
    lookout: Lookout
    attendant: Attendant

    def bring(self, data: bytes) -> Attempt:
        return self.at(self.attendant.bring(FILE_NAME, data))

    def at(self, number: str | None) -> Attempt:
        found = self.attendant.attempt(number)
        assert found is not None
        return found


@contextmanager
def behind(acme: Acme, patience: float = PATIENCE, retry: float = 0.02) -> Iterator[Behind]:
    with ExitStack() as closing:
        lookout = Lookout(acme, patience=patience)
        closing.callback(lookout.close)
        attendant = Attendant(acme, lookout, patience=patience, retry=retry)
        closing.callback(attendant.close)
        yield Behind(acme, lookout, attendant)


def eventually(attendant: Attendant, number: str, stage: Stage) -> Attempt:
    """The deed, once it has come to ``stage``."""
    beat = threading.Event()
    for _ in range(3000):
        found = attendant.attempt(number)
        if found is not None and found.stage is stage:
            return found
        beat.wait(0.02)
    raise AssertionError(f"it never came to {stage}: {attendant.attempt(number)}")


class TestLooking:
    def test_a_look_gives_what_the_vendor_says_and_when(self, acme: Acme) -> None:
        with behind(acme) as b:
            contact = b.lookout.look()
        assert contact.work is not None
        assert contact.work.request is not None
        assert contact.heard_at == acme.clock.now()
        assert contact.silent_since is None

    def test_a_first_look_after_a_renewal_has_begun_makes_the_csr(self, settled: Acme) -> None:
        database = settled.stage.embedded.database
        from lifecycle.vendor import registry, store

        with database.transaction() as session:
            customer = store.customer_by_slug(session, "acme")
            registry.request_renewal(
                session,
                customer,
                RenewalReason.MANUAL,
                at=settled.clock.now(),
                actor="operator:test",
            )
        assert settled.state() == "requested"
        with behind(settled) as b:
            contact = b.lookout.look()
        assert settled.state() == "csr_received"
        assert contact.work is not None
        assert contact.work.csr is None, "the answer is the one after the CSR was sent"

    def test_a_vendor_that_does_not_answer_is_said_to_be_silent_since_the_first_try(
        self, acme: Acme
    ) -> None:
        with behind(acme) as b:
            heard = b.lookout.look()
            acme.line.cut = True
            acme.stage.clock.advance(timedelta(hours=1))
            began = acme.clock.now()
            b.lookout.look()
            acme.stage.clock.advance(timedelta(hours=1))
            silent = b.lookout.look()
            assert silent.silent_since == began
            assert (silent.work, silent.heard_at) == (heard.work, heard.heard_at)
            acme.line.cut = False
            assert b.lookout.look().silent_since is None

    def test_a_vendor_that_turns_the_instance_away_is_not_merely_silent(self, acme: Acme) -> None:
        class Revoked(Acme):
            @contextmanager
            def agent(self) -> Iterator[Agent]:
                raise refuse("credential_revoked", "It was revoked.", "Ask for another.")
                yield

        with behind(Revoked(acme.stage)) as b:
            contact = b.lookout.look()
        assert [finding.code for finding in contact.refused] == ["credential_revoked"]
        assert contact.silent_since is None

    def test_a_page_is_not_kept_waiting_by_a_vendor_that_takes_its_time(self, acme: Acme) -> None:
        answer = threading.Event()

        class Slow(Acme):
            @contextmanager
            def agent(self) -> Iterator[Agent]:
                answer.wait(PATIENCE)
                with super().agent() as agent:
                    yield agent

        with behind(Slow(acme.stage), patience=0.01) as b:
            assert b.lookout.look().work is None
            answer.set()
            for _ in range(1000):
                if b.lookout.look().work is not None:
                    break
            assert b.lookout.look().work is not None

    def test_the_request_is_noted_as_downloaded_until_there_is_another(self, acme: Acme) -> None:
        with behind(acme) as b:
            assert not b.lookout.has_been_downloaded(b.lookout.look().work)
            assert b.lookout.request() == acme.request().request.encode()
            assert b.lookout.has_been_downloaded(b.lookout.look().work)
            acme.renew(RenewalReason.MANUAL)
            apart(lambda: acme.upload(acme.renew_at_portal()))
            assert b.lookout.request() is None
            acme.renew(RenewalReason.MANUAL)
            assert not b.lookout.has_been_downloaded(b.lookout.look().work)

    def test_a_defect_is_told_without_what_it_was_about_and_the_page_goes_on(
        self, acme: Acme, capsys: pytest.CaptureFixture[str]
    ) -> None:
        class Broken(Acme):
            @contextmanager
            def agent(self) -> Iterator[Agent]:
                raise RuntimeError("-----BEGIN PRIVATE KEY-----")
                yield

        with behind(Broken(acme.stage)) as b:
            assert b.lookout.look().silent_since is not None
        said = "".join(capsys.readouterr())
        assert "setup_page_look_failed" in said
        assert "RuntimeError" in said
        assert "PRIVATE KEY" not in said


class TestBringing:
    def test_the_right_file_is_taken_activated_and_verified(self, acme: Acme) -> None:
        with behind(acme) as b:
            done = b.bring(acme.renew_at_portal())
            standing = b.lookout.look().work.standing  # type: ignore[union-attr]
        assert (done.deed, done.stage, done.file) == (Deed.UPLOAD, Stage.DONE, FILE_NAME)
        assert not done.unverified
        assert done.brought is not None
        assert standing is not None
        assert standing.fingerprint == done.brought.fingerprint
        assert standing.verdict == "isolated"
        assert standing.verdict_at == acme.clock.now()

    def test_a_wrong_file_changes_nothing_and_everything_wrong_is_found(self, acme: Acme) -> None:
        before = acme.active_pem()
        with behind(acme) as b:
            refused = b.bring(acme.create_at_portal())
        assert refused.stage is Stage.REFUSED
        assert [finding.code for finding in refused.refusals] == ["topic_changed"]
        assert refused.brought is not None
        assert acme.active_pem() == before
        assert acme.state() == "delivered"

    def test_a_key_in_the_file_is_noted_and_does_not_wait_with_it(self, acme: Acme) -> None:
        key = key_to_pem(generate_key(), None)
        acme.line.cut = True
        with behind(acme, retry=0.5) as b:
            unsent = b.bring(acme.renew_at_portal() + key)
            assert unsent.stage is Stage.UNSENT
            waiting = b.attendant._unsent
            while waiting is None:  # it is being tried again just now
                waiting = b.attendant._unsent
            for kept in (waiting.data, b.attendant._certificates[unsent.number]):
                assert kept.count(b"BEGIN CERTIFICATE") == 1
                assert b"PRIVATE" not in kept
            acme.line.cut = False
            done = eventually(b.attendant, unsent.number, Stage.DONE)
        assert [finding.code for finding in done.notes] == ["key_pasted"]
        assert "PRIVATE" not in repr(done)

    def test_a_file_that_the_vendor_was_not_there_for_is_sent_by_itself(self, acme: Acme) -> None:
        acme.line.cut = True
        with behind(acme) as b:
            unsent = b.bring(acme.renew_at_portal())
            assert unsent.stage is Stage.UNSENT
            assert unsent.brought is not None
            assert b.attendant.attempt(None) is not None, "everybody sees that it waits"
            acme.line.cut = False
            done = eventually(b.attendant, unsent.number, Stage.DONE)
            assert b.attendant.attempt(None) is None
        assert done.brought == unsent.brought
        assert acme.state() is None

    def test_a_newer_file_takes_the_place_of_one_that_waits(self, acme: Acme) -> None:
        acme.line.cut = True
        with behind(acme, retry=3600) as b:
            first = b.bring(acme.renew_at_portal())
            second = b.bring(acme.renew_at_portal())
            assert b.attendant.attempt(first.number) == second
            acme.line.cut = False
            third = b.bring(acme.renew_at_portal())
            assert third.stage is Stage.DONE
            assert b.attendant.attempt(None) is None

    def test_a_wrong_file_is_refused_also_while_the_vendor_is_away(self, acme: Acme) -> None:
        acme.line.cut = True
        with behind(acme) as b:
            assert b.bring(b"not a certificate").stage is Stage.REFUSED
            assert b.bring(acme.create_at_portal()).stage is Stage.REFUSED

    @pytest.mark.parametrize("calls", range(1, 7))
    def test_a_line_that_breaks_anywhere_loses_nothing(self, acme: Acme, calls: int) -> None:
        acme.line.cut_after = calls
        with behind(acme) as b:
            first = b.bring(acme.renew_at_portal())
            acme.line.cut, acme.line.cut_after = False, None
            if first.stage is Stage.UNSENT:
                first = eventually(b.attendant, first.number, Stage.DONE)
            assert first.stage is Stage.DONE
            if first.unverified:
                assert b.at(b.attendant.check()).stage is Stage.DONE
            standing = b.lookout.look().work.standing  # type: ignore[union-attr]
        assert standing is not None
        assert first.brought is not None
        assert standing.fingerprint == first.brought.fingerprint
        assert standing.renewal_id is None
        assert standing.verdict == "isolated"

    def test_without_apns_the_certificate_waits_and_is_tried_again_when_told(
        self, acme: Acme
    ) -> None:
        acme.stage.gateway.faults.outage = True
        before = acme.active_pem()
        with behind(acme) as b:
            held = b.bring(acme.renew_at_portal())
            assert held.stage is Stage.HELD_UP
            assert acme.active_pem() == before
            assert b.at(b.attendant.again()).stage is Stage.HELD_UP
            acme.stage.gateway.faults.outage = False
            again = b.at(b.attendant.again())
        assert (again.deed, again.stage) == (Deed.AGAIN, Stage.DONE)
        assert acme.active_pem() != before
        assert acme.state() is None

    def test_a_check_that_a_person_wants_is_made_at_once(self, settled: Acme) -> None:
        settled.stage.clock.advance(timedelta(hours=5))
        with behind(settled) as b:
            checked = b.at(b.attendant.check())
            standing = b.lookout.look().work.standing  # type: ignore[union-attr]
        assert (checked.deed, checked.stage, checked.unverified) == (Deed.CHECK, Stage.DONE, False)
        assert standing is not None
        assert standing.verdict_at == settled.clock.now()

    def test_a_check_without_the_vendor_says_that_it_was_not_made(self, settled: Acme) -> None:
        settled.line.cut = True
        with behind(settled) as b:
            assert b.at(b.attendant.check()).unverified

    def test_a_new_topic_is_accepted_by_typing_it_without_bringing_the_file_again(
        self, acme: Acme
    ) -> None:
        from lifecycle.pki.push_certificate import PushCertificate
        from lifecycle.pki.upload import read_upload
        from lifecycle.renewing import start

        apart(
            lambda: start(
                acme.stage.embedded,
                "acme",
                RenewalReason.APPLE_ACCOUNT_CHANGED,
                actor="operator:test",
                apple_account="new@acme.example",
            )
        )
        acme.tick()
        file = acme.create_at_portal("new@acme.example")
        topic = read_upload(file).certificate.topic
        with behind(acme) as b:
            refused = b.bring(file)
            assert refused.stage is Stage.REFUSED
            mistyped = b.at(b.attendant.accept(refused.number, topic[:-1]))
            assert mistyped.stage is Stage.REFUSED
            accepted = b.at(b.attendant.accept(mistyped.number, topic))
            assert b.attendant.accept("unknown", topic) is None
        assert accepted.stage is Stage.DONE
        with acme.vault() as vault:
            active: PushCertificate = vault.require_active().certificate
        assert active.topic == topic

    def test_a_defect_fails_one_deed_and_not_the_next(
        self, acme: Acme, capsys: pytest.CaptureFixture[str]
    ) -> None:
        @dataclass
        class Once(Acme):
            broken: list[int] = field(default_factory=lambda: [1])

            @contextmanager
            def agent(self) -> Iterator[Agent]:
                if self.broken:
                    self.broken.pop()
                    raise RuntimeError("-----BEGIN PRIVATE KEY-----")
                with super().agent() as agent:
                    yield agent

        with behind(Once(acme.stage)) as b:
            assert b.bring(acme.renew_at_portal()).stage is Stage.FAILED
            said = "".join(capsys.readouterr())
            assert "RuntimeError" in said
            assert "PRIVATE KEY" not in said
            assert b.bring(acme.renew_at_portal()).stage is Stage.DONE

    def test_only_the_last_deeds_are_remembered(self, acme: Acme) -> None:
        with behind(acme) as b:
            numbers = [b.attendant.bring("x", b"") for _ in range(KEPT + 3)]
            assert b.attendant.attempt(numbers[0]) is None
            assert b.attendant.attempt(numbers[-1]) is not None
        assert len(set(numbers)) == len(numbers)

    def test_closing_finishes_the_deed_in_hand(self, acme: Acme) -> None:
        with behind(acme, patience=0.0) as b:
            number = b.attendant.bring(FILE_NAME, acme.renew_at_portal())
        assert b.at(number).stage is Stage.DONE
        assert acme.state() is None
