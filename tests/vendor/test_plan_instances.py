"""What the planner says when a customer's instance is missing, or is not heard of."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from lifecycle.vendor.facts import (
    CustomerFacts,
    InstanceFacts,
    Policy,
    RenewalFacts,
    RenewalReason,
    RenewalState,
)
from lifecycle.vendor.plan import (
    INSTANCE_NOT_ENROLLED,
    INSTANCE_SILENT,
    Block,
    plan,
)

NOW = datetime(2027, 3, 1, 12, 0, tzinfo=UTC)
EMBEDDED = Policy()
DISTRIBUTED = Policy(distributed=True)
SILENT = Policy().instance_silent


def waiting(**renewal: object) -> CustomerFacts:
    opened = RenewalFacts(1, RenewalState.REQUESTED, RenewalReason.INITIAL, NOW)
    return CustomerFacts("acme", renewal=replace(opened, **renewal))  # type: ignore[arg-type]


def heard(ago: timedelta, **renewal: object) -> CustomerFacts:
    return replace(waiting(**renewal), remote=True, instance=InstanceFacts(NOW - ago))


def block(facts: CustomerFacts, policy: Policy) -> str | None:
    found = [action for action in plan(facts, policy, NOW).actions if isinstance(action, Block)]
    assert len(found) <= 1
    return found[0].code if found else None


def test_an_embedded_instance_is_never_missing() -> None:
    assert block(waiting(), EMBEDDED) is None


def test_in_a_distributed_deployment_a_customer_without_an_instance_is_held_up() -> None:
    assert block(waiting(), DISTRIBUTED) == INSTANCE_NOT_ENROLLED
    found = next(a for a in plan(waiting(), DISTRIBUTED, NOW).actions if isinstance(a, Block))
    assert "pushcert customer invite acme" in found.message


def test_a_customer_whose_instance_was_shut_out_is_held_up_wherever_the_others_run() -> None:
    assert block(replace(waiting(), remote=True), EMBEDDED) == INSTANCE_NOT_ENROLLED


def test_an_instance_that_asks_holds_nothing_up() -> None:
    assert block(heard(SILENT - timedelta(seconds=1)), DISTRIBUTED) is None


def test_one_that_was_not_heard_of_for_long_holds_its_renewal_up() -> None:
    assert block(heard(SILENT), DISTRIBUTED) == INSTANCE_SILENT
    assert block(heard(SILENT, received=True), DISTRIBUTED) == INSTANCE_SILENT


def test_the_planner_wakes_when_the_silence_has_grown_too_long() -> None:
    facts = heard(timedelta(hours=1))
    assert plan(facts, DISTRIBUTED, NOW).wake_at == NOW - timedelta(hours=1) + SILENT


@pytest.mark.parametrize("state", [RenewalState.CSR_RECEIVED, RenewalState.DELIVERED])
def test_silence_matters_only_while_the_instance_must_act(state: RenewalState) -> None:
    assert block(heard(SILENT * 9, state=state), DISTRIBUTED) != INSTANCE_SILENT


def test_the_same_is_not_said_twice_and_the_instances_own_words_are_kept() -> None:
    assert block(heard(SILENT, blocked_code=INSTANCE_SILENT), DISTRIBUTED) is None
    assert block(heard(SILENT, blocked_code="csr_key_of_another_customer"), DISTRIBUTED) is None
    assert block(heard(SILENT, blocked_code=INSTANCE_NOT_ENROLLED), DISTRIBUTED) == INSTANCE_SILENT
