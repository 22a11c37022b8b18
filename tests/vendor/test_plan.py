"""The planner against the tables in docs/operations.md, and its own promises."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lifecycle.vendor.facts import (
    CertificateFacts,
    CustomerFacts,
    CustomerKind,
    IsolationFacts,
    Policy,
    RenewalFacts,
    RenewalReason,
    RenewalState,
    SignerFacts,
    Status,
    Verdict,
)
from lifecycle.vendor.plan import (
    AskForActivation,
    AskForCsr,
    AskForProbes,
    Block,
    CancelRenewal,
    CheckRevocation,
    Deliver,
    OpenRenewal,
    Plan,
    Remind,
    SignRequest,
    opens_at,
    plan,
    status,
)

DAY = timedelta(days=1)
START = datetime(2026, 3, 1, 9, 30, tzinfo=UTC)
POLICY = Policy()
OPERATIONS = Path(__file__).resolve().parents[2] / "docs" / "operations.md"
SIGNER = SignerFacts("f" * 64, START - 400 * DAY, START + 4000 * DAY)


def ladder_table() -> list[tuple[int, bool]]:
    """The rows of the documented ladder: days before expiry, and whether ops get a copy."""
    section = OPERATIONS.read_text().split("### The reminder ladder", 1)[1].split("\n### ")[0]
    rows = re.findall(r"^\| (-?\d+) \| yes \| (yes|no) \|$", section, re.MULTILINE)
    assert rows, "the ladder table is gone from docs/operations.md"
    return [(int(days), ops == "yes") for days, ops in rows]


def certificate(not_after: datetime, **changes: object) -> CertificateFacts:
    base = CertificateFacts(
        id=1,
        topic="com.apple.mgmt.External.a",
        serial="0A",
        common_name="APSP:a",
        not_before=not_after - 365 * DAY,
        not_after=not_after,
        activated_at=not_after - 365 * DAY,
    )
    return replace(base, **changes)  # type: ignore[arg-type]


def isolated(at: datetime) -> IsolationFacts:
    return IsolationFacts(concluded_at=at, verdict=Verdict.ISOLATED)


def actions(facts: CustomerFacts, now: datetime, policy: Policy = POLICY) -> tuple[object, ...]:
    return plan(facts, policy, now).actions


@dataclass
class World:
    """One customer whose plan is carried out at once, as the worker would."""

    facts: CustomerFacts
    reminders: list[tuple[int, bool]] = field(default_factory=list)
    messages: int = 0

    def tick(self, now: datetime, instance_online: bool = True) -> Plan:
        for _ in range(30):
            owed = plan(self.facts, POLICY, now)
            if not any(self.carry_out(action, now, instance_online) for action in owed.actions):
                return owed
        raise AssertionError("the plan never comes to rest")

    def carry_out(self, action: object, now: datetime, online: bool) -> bool:
        facts, renewal = self.facts, self.facts.renewal
        match action:
            case OpenRenewal(reason):
                self.facts = replace(
                    facts, renewal=RenewalFacts(1, RenewalState.REQUESTED, reason, now)
                )
            case AskForCsr() if online and renewal:
                self.facts = replace(
                    facts, renewal=replace(renewal, state=RenewalState.CSR_RECEIVED)
                )
            case SignRequest() if renewal and facts.signer:
                self.facts = replace(
                    facts,
                    renewal=replace(
                        renewal,
                        state=RenewalState.SIGNED,
                        request_dies_at=facts.signer.not_after,
                    ),
                )
            case Deliver(rung) if renewal:
                self.messages += 1
                if rung is not None:
                    self.reminders.append((rung.days, rung.copy_ops))
                    self.facts = facts = replace(facts, told=facts.told | {rung.key})
                delivered = replace(renewal, state=RenewalState.DELIVERED, delivered_at=now)
                self.facts = replace(facts, renewal=delivered)
            case Remind(rung, _):
                self.messages += 1
                self.reminders.append((rung.days, rung.copy_ops))
                self.facts = replace(facts, told=facts.told | {rung.key})
            case AskForProbes(_) if online:
                self.facts = replace(facts, isolation=isolated(now))
            case _:
                return False
        return True


def owed_by_the_table(not_after: datetime, looks: list[datetime]) -> list[tuple[int, bool]]:
    """The plain reading of the table: at each look the latest rung passed, unless sent."""
    sent: list[tuple[int, bool]] = []
    for now in looks:
        passed = [row for row in ladder_table() if not_after - row[0] * DAY <= now]
        if passed and passed[-1] not in sent:
            sent.append(passed[-1])
    return sent


gaps = st.lists(
    st.one_of(
        st.timedeltas(timedelta(minutes=1), timedelta(days=2)),
        st.timedeltas(timedelta(days=1), timedelta(days=60)),
    ),
    min_size=1,
    max_size=40,
)


@settings(
    max_examples=10_000, deadline=None, suppress_health_check=[HealthCheck.too_slow], database=None
)
@given(gaps=gaps, signer_gone=st.booleans(), slug=st.text("abcdef", min_size=1, max_size=6))
def test_reminders_over_any_history_are_those_of_the_documented_table(
    gaps: list[timedelta], signer_gone: bool, slug: str
) -> None:
    not_after = START + 60 * DAY
    world = World(
        CustomerFacts(
            slug=slug,
            active=certificate(not_after),
            signer=None if signer_gone else SIGNER,
            isolation=isolated(START),
        )
    )
    looks, now = [], START
    opening = opens_at(world.facts.active, slug, POLICY) if world.facts.active else START
    for gap in gaps:
        now += gap
        world.tick(now)
        if now >= opening:
            looks.append(now)
    assert world.reminders == owed_by_the_table(not_after, looks)


@settings(max_examples=2_000, deadline=None, database=None)
@given(
    outage=st.integers(1, 60),
    before=st.integers(-28, 30),
    hour=st.integers(0, 23),
    delivered=st.booleans(),
)
def test_a_return_from_an_outage_is_one_message_and_the_most_urgent(
    outage: int, before: int, hour: int, delivered: bool
) -> None:
    """Off for 1 to 60 days; on return ``before`` days (negative: after) from expiry."""
    not_after = START + 200 * DAY
    back = not_after - before * DAY + timedelta(hours=hour)
    off = back - outage * DAY
    world = World(
        CustomerFacts(
            slug="acme", active=certificate(not_after), signer=SIGNER, isolation=isolated(back)
        )
    )
    if delivered:
        world.tick(min(off, not_after - 31 * DAY))
        world.tick(off)
    seen, already = world.messages, list(world.reminders)
    world.tick(back)
    current = [row for row in ladder_table() if not_after - row[0] * DAY <= back][-1:]
    assert world.reminders[len(already) :] == [row for row in current if row not in already]
    assert world.messages - seen <= 1
    world.tick(back)
    assert world.messages - seen <= 1, "a second look at the same instant told it again"


@settings(max_examples=2_000, deadline=None, database=None)
@given(days=st.integers(-60, 400), slug=st.text("abcdefgh", min_size=1, max_size=8))
def test_the_forecast_and_the_planner_agree(days: int, slug: str) -> None:
    """``report --at`` shows ``status``; a renewal opens exactly when it says due or worse."""
    now = START
    facts = CustomerFacts(
        slug=slug, active=certificate(START + days * DAY), signer=SIGNER, isolation=isolated(now)
    )
    opens = any(isinstance(action, OpenRenewal) for action in actions(facts, now))
    said = status(facts, POLICY, now)
    assert opens == (said in {Status.DUE, Status.URGENT, Status.EXPIRED})


facts_strategy = st.builds(
    CustomerFacts,
    slug=st.text("abc", min_size=1, max_size=3),
    paused=st.booleans(),
    offboarded=st.booleans(),
    kind=st.sampled_from(CustomerKind),
    active=st.one_of(
        st.none(),
        st.builds(
            certificate,
            st.timedeltas(-60 * DAY, 640 * DAY).map(lambda distance: START + distance),
            revoked_at=st.one_of(st.none(), st.just(START)),
            names_responder=st.booleans(),
        ),
    ),
    renewal=st.one_of(
        st.none(),
        st.builds(
            RenewalFacts,
            id=st.just(1),
            state=st.sampled_from(
                [
                    RenewalState.REQUESTED,
                    RenewalState.CSR_RECEIVED,
                    RenewalState.SIGNED,
                    RenewalState.DELIVERED,
                ]
            ),
            reason=st.sampled_from(RenewalReason),
            opened_at=st.just(START - 10 * DAY),
            delivered_at=st.one_of(st.none(), st.just(START - 9 * DAY)),
            request_dies_at=st.one_of(st.none(), st.just(START), st.just(START + DAY)),
            received=st.booleans(),
        ),
    ),
    signer=st.one_of(
        st.none(),
        st.just(SIGNER),
        st.just(SignerFacts("e" * 64, START - DAY, START)),
        st.just(SignerFacts("e" * 64, START + DAY, START + 365 * DAY)),
    ),
)


@settings(max_examples=3_000, deadline=None, database=None)
@given(facts=facts_strategy, later=st.timedeltas(timedelta(seconds=1), timedelta(days=120)))
def test_nothing_new_is_owed_before_the_plan_says_to_look_again(
    facts: CustomerFacts, later: timedelta
) -> None:
    """``wake_at`` misses nothing: between now and then the answer does not change by itself."""
    owed = plan(facts, POLICY, START)
    then = START + later
    if owed.wake_at is None or then < owed.wake_at:
        assert plan(facts, POLICY, then).actions == owed.actions


@settings(max_examples=1_000, deadline=None, database=None)
@given(facts=facts_strategy)
def test_a_plan_comes_to_rest_once_carried_out(facts: CustomerFacts) -> None:
    world = World(facts)
    resting = world.tick(START)
    assert world.tick(START) == resting


def test_paused_customers_are_left_alone() -> None:
    facts = CustomerFacts(slug="acme", paused=True, active=certificate(START - DAY))
    assert plan(facts, POLICY, START) == Plan((), None)
    assert status(facts, POLICY, START) is Status.PAUSED


def test_an_off_boarded_customers_open_renewal_is_cancelled() -> None:
    renewal = RenewalFacts(1, RenewalState.DELIVERED, RenewalReason.EXPIRY, START)
    facts = CustomerFacts(slug="acme", offboarded=True, renewal=renewal)
    assert actions(facts, START) == (CancelRenewal("customer off-boarded"),)


def test_a_new_customer_gets_a_first_renewal() -> None:
    assert actions(CustomerFacts(slug="acme"), START) == (OpenRenewal(RenewalReason.INITIAL),)


def test_a_revoked_certificate_opens_a_renewal_at_once() -> None:
    facts = CustomerFacts(slug="acme", active=certificate(START + 300 * DAY, revoked_at=START))
    assert status(facts, POLICY, START) is Status.REVOKED
    assert actions(facts, START) == (OpenRenewal(RenewalReason.REVOKED),)


@pytest.mark.parametrize(
    ("signer", "code"),
    [
        (None, "signer_missing"),
        (SignerFacts("e" * 64, START - 9 * DAY, START), "signer_expired"),
        (SignerFacts("e" * 64, START + DAY, START + 9 * DAY), "signer_not_yet_valid"),
    ],
)
def test_a_renewal_that_cannot_be_signed_is_blocked_with_a_sentence(
    signer: SignerFacts | None, code: str
) -> None:
    renewal = RenewalFacts(1, RenewalState.CSR_RECEIVED, RenewalReason.INITIAL, START)
    facts = CustomerFacts(slug="acme", renewal=renewal, signer=signer)
    (block,) = actions(facts, START)
    assert isinstance(block, Block)
    assert block.code == code
    assert "signing certificate" in block.message
    blocked = replace(facts, renewal=replace(renewal, blocked_code=code))
    assert actions(blocked, START) == (), "the same block is not written twice"
    assert actions(replace(blocked, signer=SIGNER), START) == (SignRequest(),)


def test_a_request_whose_signer_has_expired_is_signed_again() -> None:
    renewal = RenewalFacts(
        1,
        RenewalState.DELIVERED,
        RenewalReason.INITIAL,
        START - 9 * DAY,
        delivered_at=START - DAY,
        request_dies_at=START,
    )
    facts = CustomerFacts(slug="acme", renewal=renewal, signer=SIGNER)
    assert actions(facts, START) == (SignRequest(again=True),)
    assert actions(facts, START - timedelta(seconds=1)) == ()


def test_a_certificate_that_was_accepted_is_activated_before_anything_else() -> None:
    renewal = RenewalFacts(
        1, RenewalState.DELIVERED, RenewalReason.EXPIRY, START, delivered_at=START, received=True
    )
    facts = CustomerFacts(
        slug="acme",
        active=certificate(START + DAY),
        renewal=renewal,
        signer=SIGNER,
        isolation=isolated(START),
    )
    assert actions(facts, START) == (AskForActivation(),)


@pytest.mark.parametrize(
    ("isolation", "kind", "expected"),
    [
        (IsolationFacts(), CustomerKind.CUSTOMER, (AskForProbes(order=True),)),
        (IsolationFacts(ordered=True), CustomerKind.CUSTOMER, (AskForProbes(order=False),)),
        (isolated(START - 6 * DAY), CustomerKind.CUSTOMER, ()),
        (isolated(START - 7 * DAY), CustomerKind.CUSTOMER, (AskForProbes(order=True),)),
        (
            IsolationFacts(concluded_at=START - timedelta(hours=7), verdict=Verdict.INCONCLUSIVE),
            CustomerKind.CUSTOMER,
            (AskForProbes(order=True),),
        ),
        (IsolationFacts(), CustomerKind.CANARY, ()),
    ],
)
def test_isolation_is_checked_weekly_and_doubts_sooner(
    isolation: IsolationFacts, kind: CustomerKind, expected: tuple[object, ...]
) -> None:
    facts = CustomerFacts(
        slug="acme", kind=kind, active=certificate(START + 300 * DAY), isolation=isolation
    )
    assert actions(facts, START) == expected


def test_revocation_is_checked_daily_where_the_certificate_names_a_responder() -> None:
    active = certificate(START + 300 * DAY, names_responder=True, revocation_checked_at=START)
    facts = CustomerFacts(slug="acme", active=active, isolation=isolated(START))
    assert actions(facts, START + 0.9 * DAY) == ()
    assert actions(facts, START + DAY) == (CheckRevocation(),)


def test_a_policy_under_which_somebody_is_urgent_before_the_window_is_refused() -> None:
    with pytest.raises(ValueError, match="window"):
        Policy(window=10 * DAY, spread=5 * DAY, urgent=6 * DAY)


def test_openings_are_spread_over_the_days_and_stay_where_they_are() -> None:
    active = certificate(START + 300 * DAY)
    days = [(opens_at(active, f"customer-{n}", POLICY) - START).days for n in range(1000)]
    counts = {day: days.count(day) for day in set(days)}
    assert set(counts) == set(range(255, 265))
    assert max(counts.values()) < 150
    assert days == [(opens_at(active, f"customer-{n}", POLICY) - START).days for n in range(1000)]
