"""Who stands behind a signature: the rules alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lifecycle.vendor.four_eyes import (
    is_approved,
    obstacle_to_approving,
    people_behind,
    person_of,
    who_must_act,
)


@pytest.mark.parametrize(
    ("actor", "person"),
    [
        ("operator:anna", "anna"),
        ("operator:Anna", "anna"),
        ("user:anna@example.com", "anna"),
        ("user:anna", "anna"),
        ("operator:uid 1000", "uid 1000"),
        ("worker", None),
        ("instance:acme", None),
        ("operator:", None),
        (None, None),
    ],
)
def test_a_person_is_the_same_on_the_command_line_and_in_the_browser(
    actor: str | None, person: str | None
) -> None:
    assert person_of(actor) == person


actors = st.sampled_from(
    ["operator:anna", "user:anna@example.com", "operator:ben", "user:carla", "worker", "instance:a"]
)


@given(st.none() | actors, st.lists(actors, max_size=6))
def test_whatever_the_order_two_different_people_are_needed_and_enough(
    opened_by: str | None, askers: list[str]
) -> None:
    approved: list[str] = []
    for actor in askers:
        if is_approved(opened_by, approved):
            break
        if obstacle_to_approving(actor, opened_by, approved) is None:
            approved.append(actor)
    behind = people_behind(opened_by, approved)
    assert is_approved(opened_by, approved) == (len(behind) >= 2)
    assert len(behind) <= 2
    if is_approved(opened_by, approved):
        assert person_of(approved[-1]) != person_of(opened_by)
    else:
        assert "pushcert sign --approve 7" in who_must_act(7, opened_by, approved)


def test_the_worker_and_instances_approve_nothing() -> None:
    for actor in ("worker", "instance:acme", ""):
        finding = obstacle_to_approving(actor, "operator:anna", ())
        assert finding is not None
        assert finding.code == "approval_by_nobody"
