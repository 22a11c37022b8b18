"""What the page says, decided from what is known."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lifecycle.setup_page.decide import decide
from lifecycle.setup_page.facts import RUNNING, Attempt, Contact, Deed, Stage, VaultFacts
from lifecycle.setup_page.situation import Check, Phase, Situation, StepState, Urgency
from lifecycle.wire.messages import Work
from tests.setup_page.situations import (
    ACTIVE,
    CASES,
    CHANGED,
    CREATE,
    CUT_OFF,
    EMPTY,
    IDLE,
    NEW_TOPIC,
    NEWER,
    NOW,
    ORDER,
    PASTED,
    RECEIVED,
    REQUEST,
    SILENT,
    VAULT,
    at_hand,
    attempt,
    heard,
    standing,
)

LATER, NEXT, RUNS = StepState.LATER, StepState.NEXT, StepState.RUNNING
CURRENT, DONE, STOPPED = StepState.NOW, StepState.DONE, StepState.STOPPED


@pytest.mark.parametrize("name", CASES)
def test_the_page_is_about_the_one_thing_that_counts(name: str) -> None:
    assert CASES[name].situation().phase is CASES[name].phase


def test_every_phase_is_met_by_a_case() -> None:
    assert {case.phase for case in CASES.values()} == set(Phase)
    assert {case.situation().urgency for case in CASES.values()} == set(Urgency)
    states = {state for case in CASES.values() for state in case.situation().steps}
    assert states == set(StepState)


@pytest.mark.parametrize(
    ("name", "steps"),
    [
        ("preparing", (RUNS, LATER, LATER)),
        ("preparing after a long silence", (RUNS, LATER, LATER)),
        ("signing", (RUNS, LATER, LATER)),
        ("held up by the signer", (STOPPED, LATER, LATER)),
        ("take", (CURRENT, NEXT, NEXT)),
        ("take, downloaded", (DONE, CURRENT, NEXT)),
        ("unreached with a key that waits", (STOPPED, CURRENT, NEXT)),
        ("take, refused", (DONE, CURRENT, NEXT)),
        ("taking", (DONE, DONE, RUNS)),
        ("unsent", (DONE, DONE, RUNS)),
        ("accepted", (DONE, DONE, RUNS)),
        ("accepted and held up", (DONE, DONE, STOPPED)),
        ("verifying", (DONE, DONE, RUNS)),
        ("settled, just renewed", (DONE, DONE, DONE)),
        ("settled", (LATER, LATER, LATER)),
        ("settled, just checked", (LATER, LATER, LATER)),
        ("checking alone", (LATER, LATER, LATER)),
        ("paused", (LATER, LATER, LATER)),
    ],
)
def test_each_step_says_where_it_stands(name: str, steps: tuple[StepState, ...]) -> None:
    assert CASES[name].situation().steps == steps


@pytest.mark.parametrize(
    ("name", "states"),
    [
        ("taking", (RUNS, LATER, LATER, LATER)),
        ("unsent", (DONE, STOPPED, LATER, LATER)),
        ("accepted", (DONE, DONE, RUNS, LATER)),
        ("accepted and held up", (DONE, DONE, STOPPED, LATER)),
        ("verifying", (DONE, DONE, DONE, RUNS)),
        ("settled, just renewed", (DONE, DONE, DONE, DONE)),
        ("settled, just renewed and not verified", (DONE, DONE, DONE, STOPPED)),
        ("checking alone", (RUNS,)),
        ("settled", ()),
        ("take", ()),
    ],
)
def test_a_file_is_followed_to_its_end(name: str, states: tuple[StepState, ...]) -> None:
    progress = CASES[name].situation().progress
    assert tuple(state for _, state in progress) == states
    if len(states) == 4:
        assert tuple(check for check, _ in progress) == tuple(Check)


def test_a_verdict_that_is_not_isolated_leaves_the_last_check_open() -> None:
    for verdict in (None, "inconclusive", "breached"):
        work = Work(standing=standing(IDLE.work.standing, verdict=verdict))  # type: ignore[union-attr, arg-type]
        found = decide(heard(work), VAULT, attempt(Stage.DONE, brought=ACTIVE), NOW)
        assert found.progress[-1] == (Check.VERIFIED, STOPPED)
        assert found.verification is not None
        assert found.verification.verdict == verdict


def test_the_row_to_renew_is_the_vendors_with_the_account_and_the_vaults_without_it() -> None:
    row = decide(at_hand(), VAULT, None, NOW).row
    assert row is not None
    assert (row.creates, row.serial, row.apple_account) == (
        False,
        REQUEST.renew_serial,
        "mdm@acme.example",
    )
    alone = decide(SILENT, VAULT, None, NOW)
    assert alone.row is not None
    assert (alone.row.creates, alone.row.serial, alone.row.common_name, alone.row.not_after) == (
        False,
        ACTIVE.serial,
        ACTIVE.common_name,
        ACTIVE.not_after,
    )
    assert alone.row.apple_account is None
    assert alone.request_file is None, "there is none to download"
    assert alone.can_upload


def test_create_is_right_for_a_first_certificate_and_for_another_apple_account_alone() -> None:
    first = decide(at_hand(CREATE, fingerprint=None), VaultFacts(waiting=True), None, NOW).row
    assert first is not None
    assert (first.creates, first.moves) == (True, False)
    moved = decide(at_hand(CREATE, renewal_reason="apple_account_changed"), VAULT, None, NOW).row
    assert moved is not None
    assert (moved.creates, moved.moves) == (True, True)
    for name, case in CASES.items():
        row = case.situation().row
        if row is not None and not row.creates:
            assert row.serial, name


def test_a_new_topic_is_offered_to_be_accepted_only_when_the_account_changes_on_purpose() -> None:
    brought = replace(NEWER, topic=NEW_TOPIC)
    refused = attempt(Stage.REFUSED, brought=brought, findings=(CHANGED, PASTED))
    meant = at_hand(CREATE, renewal_reason="apple_account_changed")
    found = decide(meant, VAULT, refused, NOW)
    assert found.new_topic is not None
    assert (found.new_topic.topic, found.new_topic.devices) == (NEW_TOPIC, 12)
    assert found.findings == ()
    by_mistake = decide(at_hand(), VAULT, refused, NOW)
    assert by_mistake.new_topic is None
    assert by_mistake.findings == (CHANGED,)
    also = replace(refused, findings=(CHANGED, replace(CHANGED, code="key_mismatch")))
    assert decide(meant, VAULT, also, NOW).new_topic is None, "there is more wrong with it"


@pytest.mark.parametrize(
    ("left", "urgency", "days"),
    [
        (timedelta(days=28), Urgency.NONE, 28),
        (timedelta(days=7, seconds=1), Urgency.NONE, 8),
        (timedelta(days=7), Urgency.SOON, 7),
        (timedelta(days=1, seconds=1), Urgency.SOON, 2),
        (timedelta(days=1), Urgency.LAST_DAY, 1),
        (timedelta(seconds=1), Urgency.LAST_DAY, 1),
        (timedelta(0), Urgency.EXPIRED, 0),
        (timedelta(days=-2), Urgency.EXPIRED, -2),
    ],
)
def test_the_page_presses_as_the_end_comes_near(
    left: timedelta, urgency: Urgency, days: int
) -> None:
    found = decide(at_hand(), VAULT, None, ACTIVE.not_after - left)
    assert (found.urgency, found.days) == (urgency, days)


def test_a_revoked_certificate_is_said_to_be_revoked_also_after_its_end() -> None:
    late = ACTIVE.not_after + timedelta(days=3)
    assert decide(at_hand(renewal_reason="revoked"), VAULT, None, late).urgency is Urgency.REVOKED


def test_an_old_refusal_is_not_shown_once_the_renewal_has_gone_on() -> None:
    refused = attempt(Stage.REFUSED, brought=NEWER, findings=(CHANGED,))
    assert decide(IDLE, VAULT, refused, NOW).findings == ()
    assert decide(IDLE, VAULT, refused, NOW).attempt is None


def test_a_finished_upload_is_celebrated_only_while_its_certificate_is_in_use() -> None:
    done = attempt(Stage.DONE, brought=NEWER)
    assert decide(IDLE, replace(VAULT, active=NEWER), done, NOW).finished
    assert not decide(IDLE, VAULT, done, NOW).finished


def test_the_next_renewal_is_not_announced_for_a_day_that_has_passed() -> None:
    opens = IDLE.work.standing.renewal_opens_at  # type: ignore[union-attr]
    assert opens is not None
    assert decide(IDLE, VAULT, None, NOW).renewal_opens_at == opens
    assert decide(IDLE, VAULT, None, opens).renewal_opens_at is None


def test_books_that_differ_are_told_but_not_while_a_new_certificate_is_on_its_way() -> None:
    other = standing(fingerprint="c" * 64)
    assert decide(heard(Work(standing=other, request=REQUEST)), VAULT, None, NOW).books_differ
    received = heard(Work(standing=other, received=RECEIVED))
    assert not decide(received, VAULT, None, NOW).books_differ


CONTACTS = st.sampled_from([case.contact for case in CASES.values()])
VAULTS = st.sampled_from([VAULT, EMPTY, VaultFacts(waiting=True), VaultFacts(NEWER, devices=1)])


@st.composite
def deeds(draw: st.DrawFn) -> Attempt:
    stage = draw(st.sampled_from(Stage))
    refusing = stage is Stage.REFUSED  # a file that is taken carries notes alone
    return Attempt(
        number="n",
        deed=draw(st.sampled_from(Deed)),
        stage=stage,
        began_at=NOW,
        file=draw(st.none() | st.just("file.pem")),
        brought=draw(st.none() | st.sampled_from([ACTIVE, NEWER])),
        findings=(*draw(st.lists(st.just(PASTED))), *([CHANGED] if refusing else [])),
        unverified=draw(st.booleans()),
    )


ATTEMPTS = st.none() | deeds()


def situations() -> st.SearchStrategy[tuple[Contact, Attempt | None, Situation]]:
    def made(
        contact: Contact, vault: VaultFacts, deed: Attempt | None, days: int, downloaded: bool
    ) -> tuple[Contact, Attempt | None, Situation]:
        at = NOW + timedelta(days=days)
        return contact, deed, decide(contact, vault, deed, at, downloaded=downloaded)

    return st.builds(made, CONTACTS, VAULTS, ATTEMPTS, st.integers(-400, 400), st.booleans())


@given(situations())
def test_whatever_is_known_the_page_holds_together(
    made: tuple[Contact, Attempt | None, Situation],
) -> None:
    contact, deed, found = made
    # A file is taken exactly where a request is out, and the page keeps still under it.
    assert found.can_upload == (found.phase is Phase.TAKE) == (found.row is not None)
    assert not (found.can_upload and found.refresh)
    # What is under way refreshes; where nobody works, nothing does.
    if StepState.RUNNING in found.steps or (deed is not None and deed.stage in RUNNING):
        assert found.refresh
    if found.phase in (Phase.SETTLED, Phase.PAUSED) and contact.silent_since is None:
        assert found.refresh is None
    # A downloadable request comes with the row it is for.
    if found.request_file is not None:
        assert found.row is not None
    # A refusal and a celebration never meet; a new topic takes the place of its finding.
    assert not (found.findings and found.finished)
    if found.new_topic is not None:
        assert found.findings == ()
    # At most one step is the person's.
    assert found.steps.count(StepState.NOW) <= 1
    assert all(finding.refuses for finding in found.findings)


@given(ATTEMPTS, VAULTS)
def test_a_vendor_that_is_silent_loses_nothing_that_was_known(
    deed: Attempt | None, vault: VaultFacts
) -> None:
    before = decide(at_hand(), vault, deed, NOW)
    after = decide(CUT_OFF, vault, deed, NOW)
    known = replace(after, silent_since=None, refresh=before.refresh)
    assert known == before
    assert after.silent_since is not None


def test_the_instance_is_not_said_to_wait_for_a_csr_that_it_has_sent() -> None:
    sent = heard(Work(standing=standing(renewal_state="csr_received"), csr=None))
    assert decide(sent, VAULT, None, NOW).phase is Phase.SIGNING
    wanted = heard(Work(standing=standing(renewal_state="requested"), csr=ORDER))
    assert decide(wanted, VAULT, None, NOW).phase is Phase.PREPARING
