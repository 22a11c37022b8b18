"""What is owed to a deploy target, and when."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lifecycle.instance.deploy.plan import (
    FIRST_WAIT,
    LONGEST_WAIT,
    About,
    Record,
    Step,
    decide,
    wait_after,
)

NOW = datetime(2027, 3, 1, 9, tzinfo=UTC)
HOUR = timedelta(hours=1)
OLD, NEW = "a" * 64, "b" * 64
ABOUT = About("mdm", "nanomdm", "https://mdm.example", "settings")
UP_TO_DATE = Record(
    "mdm", "nanomdm", "settings", NEW, NOW - HOUR, NOW - HOUR, NEW, attempted_at=NOW - HOUR
)


def step(record: Record | None, about: About = ABOUT, active: str | None = NEW) -> Step:
    return decide(about, {} if record is None else {"mdm": record}, active, NOW).step


def test_what_has_never_been_deployed_is_owed() -> None:
    assert step(None) is Step.DEPLOY


def test_without_an_active_certificate_nothing_is_owed() -> None:
    assert step(None, active=None) is Step.NOTHING


def test_what_has_the_active_certificate_is_left_alone() -> None:
    assert step(UP_TO_DATE) is Step.NOTHING


def test_another_active_certificate_makes_it_owed() -> None:
    assert step(replace(UP_TO_DATE, fingerprint=OLD, wanted=OLD)) is Step.DEPLOY


def test_changed_settings_make_it_owed() -> None:
    assert step(replace(UP_TO_DATE, settings="others")) is Step.DEPLOY


@pytest.mark.parametrize(("since", "owed"), [(23, Step.NOTHING), (24, Step.CHECK)])
def test_a_verification_counts_for_a_day(since: int, owed: Step) -> None:
    assert step(replace(UP_TO_DATE, checked_at=NOW - since * HOUR)) is owed


def test_where_it_is_not_to_be_checked_again_it_is_not() -> None:
    about = replace(ABOUT, recheck=None)
    assert step(replace(UP_TO_DATE, checked_at=NOW - 900 * HOUR), about) is Step.NOTHING


class TestAfterAFailure:
    FAILED = Record("mdm", "nanomdm", wanted=NEW, code="x", attempts=1, next_at=NOW + HOUR)

    def test_it_waits_its_time(self) -> None:
        decision = decide(ABOUT, {"mdm": self.FAILED}, NEW, NOW)
        assert decision.step is Step.WAIT
        assert "2027-03-01 10:00 UTC" in decision.why

    def test_then_it_is_owed_again(self) -> None:
        assert step(replace(self.FAILED, next_at=NOW)) is Step.DEPLOY

    def test_a_person_need_not_wait(self) -> None:
        decision = decide(ABOUT, {"mdm": self.FAILED}, NEW, NOW, at_once=True)
        assert decision.step is Step.DEPLOY

    def test_a_new_certificate_need_not_wait(self) -> None:
        assert step(replace(self.FAILED, wanted=OLD)) is Step.DEPLOY

    def test_a_failed_check_is_made_again(self) -> None:
        failed = replace(UP_TO_DATE, code="mdm_server_down", next_at=NOW)
        assert step(failed) is Step.CHECK

    def test_waits_double_up_to_an_hour(self) -> None:
        assert [wait_after(n) / FIRST_WAIT for n in (1, 2, 3, 6)] == [1, 2, 4, 32]
        assert wait_after(7) == wait_after(5000) == LONGEST_WAIT


class TestNeeds:
    RELOAD = replace(ABOUT, name="reload", kind="command", needs=("mdm",))
    DONE = replace(UP_TO_DATE, target="reload", kind="command")

    def decide(self, mdm: Record | None, reload: Record | None) -> Step:
        records = {r.target: r for r in (mdm, reload) if r is not None}
        return decide(self.RELOAD, records, NEW, NOW).step

    def test_it_waits_for_what_it_needs(self) -> None:
        assert self.decide(None, None) is Step.WAIT
        assert self.decide(replace(UP_TO_DATE, fingerprint=OLD), None) is Step.WAIT
        assert self.decide(replace(UP_TO_DATE, code="x"), None) is Step.WAIT

    def test_its_turn_comes_when_that_is_done(self) -> None:
        assert self.decide(UP_TO_DATE, None) is Step.DEPLOY
        assert self.decide(UP_TO_DATE, self.DONE) is Step.NOTHING

    def test_when_that_was_deployed_again_so_is_this(self) -> None:
        assert self.decide(replace(UP_TO_DATE, deployed_at=NOW), self.DONE) is Step.DEPLOY


@settings(deadline=None)
@given(
    fingerprint=st.sampled_from([None, OLD, NEW]),
    code=st.sampled_from([None, "x"]),
    wanted=st.sampled_from([OLD, NEW]),
    next_in=st.integers(-3, 3),
)
def test_whatever_is_not_at_the_active_certificate_is_owed_now_or_has_a_time(
    fingerprint: str | None, code: str | None, wanted: str, next_in: int
) -> None:
    record = replace(
        UP_TO_DATE, fingerprint=fingerprint, code=code, wanted=wanted, next_at=NOW + next_in * HOUR
    )
    if fingerprint == NEW and code is None:
        return
    first = decide(ABOUT, {"mdm": record}, NEW, NOW)
    later = decide(ABOUT, {"mdm": record}, NEW, NOW + 3 * HOUR)
    assert Step.NOTHING not in (first.step, later.step)
    assert later.step in (Step.DEPLOY, Step.CHECK), "it is never waited for without end"
