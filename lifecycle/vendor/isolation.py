"""The verdict on an isolation check: a pure function from what APNs answered.

What each probe must answer (docs/security.md, "Isolation checks"):

| probe | must be |
| --- | --- |
| own | 200, else nothing else counts |
| foreign_token | 400 DeviceTokenNotForTopic |
| foreign_topic | 400 TopicDisallowed or BadTopic |
| unknown_token | 400 BadDeviceToken or DeviceTokenNotForTopic |
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from lifecycle.vendor.facts import Verdict
from lifecycle.wire.messages import Probe, ProbeAnswer

REFUSALS: Mapping[Probe, frozenset[str]] = MappingProxyType(
    {
        Probe.FOREIGN_TOKEN: frozenset({"DeviceTokenNotForTopic"}),
        Probe.FOREIGN_TOPIC: frozenset({"TopicDisallowed", "BadTopic"}),
        Probe.UNKNOWN_TOKEN: frozenset({"BadDeviceToken", "DeviceTokenNotForTopic"}),
    }
)
"""The reasons with which APNs must refuse each probe but the own one, all with status 400."""


def expected(probe: Probe) -> str:
    """What a probe must be answered, in APNs's words: ``200``, ``400 TopicDisallowed``, …"""
    if probe is Probe.OWN:
        return "200"
    return f"400 {' or '.join(sorted(REFUSALS[probe]))}"


_CROSSED = {
    Probe.FOREIGN_TOKEN: "APNs accepted a push with this customer's certificate and topic to"
    " another tenant's device",
    Probe.FOREIGN_TOPIC: "APNs accepted a push with this customer's certificate under another"
    " tenant's topic",
    Probe.UNKNOWN_TOKEN: "APNs accepted a push with this customer's certificate and topic to a"
    " token that no device has",
}

_FAULTS = {
    "no_canary": "The instance knows no device of this customer to push to.",
    "no_other_tenant": "There is no other tenant's device to probe with; set up the canary tenant.",
    "apns_unreachable": "APNs could not be reached.",
    "certificate_refused": "APNs refused the push certificate.",
}


@dataclass(frozen=True, slots=True)
class Judgement:
    """The verdict, the sentence that says why, and the probe that decided it, if one did."""

    verdict: Verdict
    why: str
    probe: Probe | None = None


def judge(answers: Sequence[ProbeAnswer], fault: str | None, *, own_topic: str) -> Judgement:
    """The verdict on one isolation check.

    ``isolated`` takes all four probes, each once and each answered as it must be. Once the
    own push has been accepted, an accepted push that crosses a border is a breach, whatever
    else is missing or odd. Everything else is ``inconclusive``. Believes the answers as they
    are given: an instance that lies about them can make itself look isolated.

    Args:
        answers: what came back, in any order.
        fault: why no probe could be made (a code), or None.
        own_topic: topic of the certificate that was probed with.
    """
    crossing = _crossing(answers, own_topic)
    if crossing is not None:
        return Judgement(Verdict.BREACHED, _breach(crossing), crossing.probe)
    if fault is not None:
        return _unsure(_FAULTS.get(fault, f"The probes could not be made ({_said(fault)})."))
    counts = Counter(answer.probe for answer in answers)
    for probe in Probe:
        if counts[probe] != 1:
            number = "no answer" if counts[probe] == 0 else f"{counts[probe]} answers"
            return _unsure(f"There is {number} to the probe {probe}, not one.", probe)
    by_probe = {answer.probe: answer for answer in answers}
    return _judge_complete(by_probe, own_topic)


def _judge_complete(by_probe: Mapping[Probe, ProbeAnswer], own_topic: str) -> Judgement:
    for probe in Probe:
        odd = _misaddressed(probe, by_probe, own_topic)
        if odd is not None:
            return _unsure(f"The probe {probe} {odd}, so its answer proves nothing.", probe)
        answer = by_probe[probe]
        if not _is_as_required(answer):
            return _unsure(_unexpected(answer), probe)
    return Judgement(Verdict.ISOLATED, "All four probes were answered as they must be.")


def _crossing(answers: Sequence[ProbeAnswer], own_topic: str) -> ProbeAnswer | None:
    """The first accepted probe that must be refused; None unless the own push was accepted."""
    own = [answer for answer in answers if answer.probe is Probe.OWN]
    if not own or not all(_accepted(a) and a.topic == own_topic for a in own):
        return None
    return next((a for a in answers if a.probe is not Probe.OWN and a.status == 200), None)


def _accepted(answer: ProbeAnswer) -> bool:
    return answer.status == 200 and answer.fault is None


def _is_as_required(answer: ProbeAnswer) -> bool:
    if answer.probe is Probe.OWN:
        return _accepted(answer)
    return answer.fault is None and answer.status == 400 and answer.reason in REFUSALS[answer.probe]


def _misaddressed(
    probe: Probe, by_probe: Mapping[Probe, ProbeAnswer], own_topic: str
) -> str | None:
    """How the probe missed what it should have addressed, or None."""
    answer = by_probe[probe]
    if probe is Probe.FOREIGN_TOPIC:
        if answer.topic == own_topic:
            return "went out under this customer's own topic"
    elif answer.topic != own_topic:
        return "went out under another topic than the certificate's"
    tokens = {p: by_probe[p].token_fingerprint for p in Probe}
    match probe:
        case Probe.OWN:
            return None
        case Probe.FOREIGN_TOKEN | Probe.FOREIGN_TOPIC:
            own = tokens[probe] == tokens[Probe.OWN]
            return "went to this customer's own device" if own else None
        case Probe.UNKNOWN_TOKEN:
            known = {tokens[p] for p in Probe if p is not Probe.UNKNOWN_TOKEN}
            return "went to a token that is known" if tokens[probe] in known else None


def _breach(answer: ProbeAnswer) -> str:
    return (
        f"{_CROSSED[answer.probe]} (probe {answer.probe}, answer 200, topic"
        f" {_said(answer.topic)}, apns-id {_said(answer.apns_id or 'none')})."
    )


def _unexpected(answer: ProbeAnswer) -> str:
    if answer.fault is not None or answer.status is None:
        return f"The probe {answer.probe} got no answer ({_said(answer.fault or 'no reason')})."
    came = f"{answer.status} {_said(answer.reason or '')}".strip()
    if answer.probe is Probe.OWN:
        return f"The push to the customer's own device was answered {came}, not 200."
    due = " or ".join(sorted(REFUSALS[answer.probe]))
    return f"The probe {answer.probe} was answered {came}, not 400 {due}."


def _unsure(why: str, probe: Probe | None = None) -> Judgement:
    return Judgement(Verdict.INCONCLUSIVE, why, probe)


def _said(text: str) -> str:
    """What the other side said, made harmless for a line of text."""
    return "".join(c if c.isprintable() else "?" for c in text)[:128]
