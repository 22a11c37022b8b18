"""The verdict on an isolation check, by the table of the design."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lifecycle.vendor.facts import Verdict
from lifecycle.vendor.isolation import REFUSALS, judge
from lifecycle.wire.messages import Probe, ProbeAnswer

OWN_TOPIC = "com.apple.mgmt.External.11111111-1111-4111-8111-111111111111"
OTHER_TOPIC = "com.apple.mgmt.External.22222222-2222-4222-8222-222222222222"
AT = datetime(2027, 3, 1, tzinfo=UTC)
TOKENS = {
    Probe.OWN: "0a" * 32,
    Probe.FOREIGN_TOKEN: "0b" * 32,
    Probe.FOREIGN_TOPIC: "0b" * 32,
    Probe.UNKNOWN_TOKEN: "0c" * 32,
}
OTHERS = (Probe.FOREIGN_TOKEN, Probe.FOREIGN_TOPIC, Probe.UNKNOWN_TOKEN)

GOOD: dict[Probe, list[tuple[int, str | None]]] = {
    Probe.OWN: [(200, None)],
    Probe.FOREIGN_TOKEN: [(400, "DeviceTokenNotForTopic")],
    Probe.FOREIGN_TOPIC: [(400, "TopicDisallowed"), (400, "BadTopic")],
    Probe.UNKNOWN_TOKEN: [(400, "BadDeviceToken"), (400, "DeviceTokenNotForTopic")],
}
"""The table of the issue, written out once more."""

ANSWERS: list[tuple[int | None, str | None]] = [
    (200, None),
    (400, "BadDeviceToken"),
    (400, "BadTopic"),
    (400, "DeviceTokenNotForTopic"),
    (400, "TopicDisallowed"),
    (400, "PayloadEmpty"),
    (400, None),
    (403, "BadCertificate"),
    (410, "Unregistered"),
    (429, "TooManyRequests"),
    (500, "InternalServerError"),
    (503, "Shutdown"),
    (None, None),
]


def answer(
    probe: Probe,
    status: int | None = None,
    reason: str | None = None,
    *,
    topic: str | None = None,
    token: str | None = None,
    fault: str | None = None,
) -> ProbeAnswer:
    return ProbeAnswer(
        probe=probe,
        topic=topic or (OTHER_TOPIC if probe is Probe.FOREIGN_TOPIC else OWN_TOPIC),
        token_fingerprint=token or TOKENS[probe],
        status=status,
        reason=reason,
        fault=fault,
        apns_id=f"id-of-{probe}",
        at=AT,
    )


def good() -> dict[Probe, ProbeAnswer]:
    return {probe: answer(probe, *GOOD[probe][0]) for probe in Probe}


def verdict_on(answers: dict[Probe, ProbeAnswer], fault: str | None = None) -> Verdict:
    return judge(list(answers.values()), fault, own_topic=OWN_TOPIC).verdict


def test_every_combination_of_answers_gets_the_verdict_of_the_table() -> None:
    for combination in product(ANSWERS, repeat=4):
        came = dict(zip(Probe, combination, strict=True))
        judgement = judge(
            [answer(probe, status, reason) for probe, (status, reason) in came.items()],
            None,
            own_topic=OWN_TOPIC,
        )
        if came[Probe.OWN] == (200, None) and any(came[p][0] == 200 for p in OTHERS):
            expected = Verdict.BREACHED
        elif all(came[probe] in GOOD[probe] for probe in Probe):
            expected = Verdict.ISOLATED
        else:
            expected = Verdict.INCONCLUSIVE
        assert judgement.verdict is expected, (came, judgement)
        assert judgement.why


@pytest.mark.parametrize("probe", OTHERS)
@pytest.mark.parametrize("status", [None, 401, 403, 404, 410, 500])
def test_the_right_reason_under_another_status_is_inconclusive(
    probe: Probe, status: int | None
) -> None:
    for _, reason in GOOD[probe]:
        assert verdict_on({**good(), probe: answer(probe, status, reason)}) is Verdict.INCONCLUSIVE


@pytest.mark.parametrize("probe", OTHERS)
def test_a_breach_names_the_probe_the_answer_and_the_apns_id(probe: Probe) -> None:
    judgement = judge(
        list({**good(), probe: answer(probe, 200)}.values()), None, own_topic=OWN_TOPIC
    )
    assert judgement.verdict is Verdict.BREACHED
    assert judgement.probe is probe
    for part in (str(probe), "200", f"id-of-{probe}"):
        assert part in judgement.why


@pytest.mark.parametrize("own", [a for a in ANSWERS if a != (200, None)])
def test_without_the_own_push_nothing_else_counts(own: tuple[int | None, str | None]) -> None:
    accepted = {probe: answer(probe, 200) for probe in OTHERS}
    answers = {Probe.OWN: answer(Probe.OWN, *own), **accepted}
    assert verdict_on(answers) is Verdict.INCONCLUSIVE


def test_an_own_push_under_another_topic_does_not_count() -> None:
    own = answer(Probe.OWN, 200, topic=OTHER_TOPIC)
    assert verdict_on({**good(), Probe.OWN: own}) is Verdict.INCONCLUSIVE
    crossed = {Probe.OWN: own, **{probe: answer(probe, 200) for probe in OTHERS}}
    assert verdict_on(crossed) is Verdict.INCONCLUSIVE


@pytest.mark.parametrize("missing", list(Probe))
def test_a_missing_probe_is_inconclusive_and_named(missing: Probe) -> None:
    answers = good()
    del answers[missing]
    judgement = judge(list(answers.values()), None, own_topic=OWN_TOPIC)
    assert (judgement.verdict, judgement.probe) == (Verdict.INCONCLUSIVE, missing)
    assert str(missing) in judgement.why


@pytest.mark.parametrize("twice", list(Probe))
def test_a_probe_that_comes_twice_is_inconclusive(twice: Probe) -> None:
    answers = [*good().values(), good()[twice]]
    judgement = judge(answers, None, own_topic=OWN_TOPIC)
    assert (judgement.verdict, judgement.probe) == (Verdict.INCONCLUSIVE, twice)


@pytest.mark.parametrize("probe", OTHERS)
def test_a_breach_is_one_even_when_other_probes_are_missing(probe: Probe) -> None:
    answers = {Probe.OWN: answer(Probe.OWN, 200), probe: answer(probe, 200)}
    assert verdict_on(answers) is Verdict.BREACHED
    assert verdict_on(answers, fault="apns_unreachable") is Verdict.BREACHED


@pytest.mark.parametrize("probe", OTHERS)
def test_a_second_own_answer_that_was_refused_takes_the_ground_from_a_breach(probe: Probe) -> None:
    answers = [answer(Probe.OWN, 200), answer(Probe.OWN, 403, "Forbidden"), answer(probe, 200)]
    assert judge(answers, None, own_topic=OWN_TOPIC).verdict is Verdict.INCONCLUSIVE


@pytest.mark.parametrize("fault", ["no_canary", "no_other_tenant", "something_new"])
def test_a_fault_is_inconclusive_and_says_why(fault: str) -> None:
    judgement = judge([], fault, own_topic=OWN_TOPIC)
    assert judgement.verdict is Verdict.INCONCLUSIVE
    assert len(judgement.why) > 20
    assert judge(list(good().values()), fault, own_topic=OWN_TOPIC).verdict is Verdict.INCONCLUSIVE


@pytest.mark.parametrize("probe", list(Probe))
def test_a_probe_without_an_answer_is_inconclusive_and_names_the_fault(probe: Probe) -> None:
    unanswered = answer(probe, fault="certificate_refused")
    judgement = judge(list({**good(), probe: unanswered}.values()), None, own_topic=OWN_TOPIC)
    assert judgement.verdict is Verdict.INCONCLUSIVE
    assert "certificate_refused" in judgement.why


def test_no_answers_at_all_are_inconclusive() -> None:
    assert judge([], None, own_topic=OWN_TOPIC).verdict is Verdict.INCONCLUSIVE


@pytest.mark.parametrize(
    "misled",
    [
        answer(Probe.FOREIGN_TOKEN, 400, "DeviceTokenNotForTopic", topic=OTHER_TOPIC),
        answer(Probe.FOREIGN_TOKEN, 400, "DeviceTokenNotForTopic", token=TOKENS[Probe.OWN]),
        answer(Probe.FOREIGN_TOPIC, 400, "TopicDisallowed", topic=OWN_TOPIC),
        answer(Probe.FOREIGN_TOPIC, 400, "TopicDisallowed", token=TOKENS[Probe.OWN]),
        answer(Probe.UNKNOWN_TOKEN, 400, "BadDeviceToken", topic=OTHER_TOPIC),
        answer(Probe.UNKNOWN_TOKEN, 400, "BadDeviceToken", token=TOKENS[Probe.OWN]),
        answer(Probe.UNKNOWN_TOKEN, 400, "BadDeviceToken", token=TOKENS[Probe.FOREIGN_TOKEN]),
    ],
)
def test_a_probe_that_missed_its_address_proves_nothing(misled: ProbeAnswer) -> None:
    judgement = judge(list({**good(), misled.probe: misled}.values()), None, own_topic=OWN_TOPIC)
    assert (judgement.verdict, judgement.probe) == (Verdict.INCONCLUSIVE, misled.probe)


def test_what_the_other_side_says_cannot_break_a_line_or_grow_without_bound() -> None:
    nasty = answer(Probe.FOREIGN_TOKEN, 400, "x\r\nSubject: forged\x1b[2J" + "y" * 5000)
    why = judge(
        list({**good(), Probe.FOREIGN_TOKEN: nasty}.values()), None, own_topic=OWN_TOPIC
    ).why
    assert why.isprintable()
    assert len(why) < 1000


def test_the_refusals_are_those_of_the_table() -> None:
    for probe, reasons in REFUSALS.items():
        assert {(400, reason) for reason in reasons} == set(GOOD[probe])


answers_from_anywhere = st.lists(
    st.builds(
        ProbeAnswer,
        probe=st.sampled_from(Probe),
        topic=st.sampled_from([OWN_TOPIC, OTHER_TOPIC]),
        token_fingerprint=st.sampled_from(sorted(set(TOKENS.values()))),
        status=st.none() | st.sampled_from([200, 400, 403, 410, 500]),
        reason=st.none() | st.sampled_from(sorted({r for rs in REFUSALS.values() for r in rs})),
        fault=st.none() | st.just("apns_unreachable"),
        apns_id=st.none() | st.text(max_size=8),
        at=st.just(AT),
    ),
    max_size=6,
)


@given(answers=answers_from_anywhere, fault=st.none() | st.text(max_size=8))
def test_isolated_takes_all_four_as_required_and_a_breach_is_never_missed(
    answers: list[ProbeAnswer], fault: str | None
) -> None:
    verdict = judge(answers, fault, own_topic=OWN_TOPIC).verdict
    own = [a for a in answers if a.probe is Probe.OWN]
    own_reached = bool(own) and all(
        a.status == 200 and a.fault is None and a.topic == OWN_TOPIC for a in own
    )
    crossed = any(a.status == 200 and a.probe is not Probe.OWN for a in answers)
    assert (verdict is Verdict.BREACHED) == (own_reached and crossed)
    if verdict is Verdict.ISOLATED:
        assert fault is None
        assert sorted(a.probe for a in answers) == sorted(Probe)
        assert all(
            a.fault is None and (a.status, a.reason) in GOOD[a.probe]
            for a in answers
            if a.probe is not Probe.OWN
        )
        assert own_reached


@given(data=st.data())
def test_all_four_as_required_are_isolated_in_any_order(data: st.DataObject) -> None:
    answers = [answer(p, *data.draw(st.sampled_from(GOOD[p]))) for p in Probe]
    shuffled = data.draw(st.permutations(answers))
    assert judge(shuffled, None, own_topic=OWN_TOPIC).verdict is Verdict.ISOLATED
