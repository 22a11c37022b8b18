"""Whether a candidate may replace the active certificate: its own-token push, and the rules.

The rules, in order; ``judge`` decides on the answers alone:

1. No old certificate, or a dead one, or no device to push to: nothing can be lost by going
   on, so no push is needed.
2. A 200 from any device proves the candidate.
3. An answer about the certificate (403, ``TopicDisallowed``, a refusal in the TLS handshake)
   stops it: the old one stays.
4. ``DeviceTokenNotForTopic`` from a device, and a 200 from none, stops it too: the candidate's
   topic is not the one the devices listen to.
5. No answer, 429, 500 or 503, and a 200 from none: wait; the old one stays, and the next step
   pushes again.
6. Every device is gone (410, ``BadDeviceToken``): go on. APNs let the certificate in and looked
   the token up under its topic; there is no device whose loss the old one could prevent.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from lifecycle.instance.certificates import HeldCertificate
from lifecycle.instance.pushes import Credential, DeviceAnswer, Pushes
from lifecycle.instance.vault import Vault

MAX_DEVICES = 5
"""How many devices are tried: each that is gone costs one push, and one alive is enough."""

UNREACHABLE = "apns_unreachable"
REFUSED = "own_push_refused"
CERTIFICATE_REFUSED = "certificate_refused"


class Verdict(StrEnum):
    """What one answer says about the candidate."""

    PROVEN = "proven"
    GONE = "gone"
    WAIT = "wait"
    OTHER_TOPIC = "other_topic"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Proof:
    """Whether to activate.

    Attributes:
        answer: the answer that decided; None if no push was needed.
        code, message: why not to; None if the candidate may be activated.
    """

    answer: DeviceAnswer | None = None
    code: str | None = None
    message: str | None = None

    @property
    def stands(self) -> bool:
        """True if the candidate may be activated."""
        return self.code is None


def verdict(answer: DeviceAnswer) -> Verdict:
    """What one answer says about the certificate that was used (reasons: FACTS.md)."""
    if answer.delivered:
        return Verdict.PROVEN
    if answer.status is None:
        refused = answer.fault == CERTIFICATE_REFUSED
        return Verdict.REFUSED if refused else Verdict.WAIT
    if answer.status == 410 or answer.reason == "BadDeviceToken":
        return Verdict.GONE
    if answer.status == 429 or answer.status >= 500:
        return Verdict.WAIT
    return Verdict.OTHER_TOPIC if answer.reason == "DeviceTokenNotForTopic" else Verdict.REFUSED


def judge(answers: Sequence[DeviceAnswer]) -> Proof:
    """Rules 2 to 6 over the answers of all devices that were tried."""
    verdicts = {verdict(answer): answer for answer in reversed(answers)}
    if (answer := verdicts.get(Verdict.PROVEN)) is not None:
        return Proof(answer)
    if (answer := verdicts.get(Verdict.REFUSED)) is not None:
        code = CERTIFICATE_REFUSED if answer.status is None else REFUSED
        return Proof(answer, code, f"APNs refused the new certificate ({_said(answer)}).")
    if (answer := verdicts.get(Verdict.OTHER_TOPIC)) is not None:
        return Proof(
            answer,
            REFUSED,
            "The devices of this instance do not listen to the new certificate's topic"
            f" ({_said(answer)}); it was not activated.",
        )
    if (answer := verdicts.get(Verdict.WAIT)) is not None:
        return Proof(
            answer,
            UNREACHABLE,
            f"The new certificate could not be tried: APNs gave no answer ({_said(answer)})."
            " The old one stays active; this is tried again.",
        )
    return Proof(answers[-1] if answers else None)


def prove(vault: Vault, candidate: HeldCertificate, pushes: Pushes, now: datetime) -> Proof:
    """Applies the rules to a candidate; pushes to devices one by one until one decides.

    Notes devices that APNs says are gone. Changes nothing else.
    """
    old = vault.active()
    if old is None or old.certificate.not_after <= now:
        return Proof()
    devices = vault.devices.reachable(candidate.certificate.topic, MAX_DEVICES)
    if not devices:
        return Proof()
    credential = Credential.of(vault, candidate)
    answers: list[DeviceAnswer] = []
    for known in devices:
        answer = pushes.push(credential, [vault.devices.open(known.udid)])[0]
        answers.append(answer)
        vault.devices.note_answer(answer.token_fingerprint, answer.status, answer.at)
        if verdict(answer) in (Verdict.PROVEN, Verdict.REFUSED):
            break
        if answer.fault is not None:
            break  # no way to APNs just now: the next device will fare no better
    return judge(answers)


def _said(answer: DeviceAnswer) -> str:
    if answer.status is None:
        return answer.fault or "no answer"
    return f"{answer.status} {answer.reason or ''}".strip()
