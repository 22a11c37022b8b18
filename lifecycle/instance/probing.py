"""The instance's half of an isolation check: makes the probes and gathers the evidence.

The verdict is the vendor's; see ``lifecycle.vendor.isolation``.
"""

from __future__ import annotations

from lifecycle.errors import Refused
from lifecycle.instance.canaries import CanarySource
from lifecycle.instance.certificates import HeldCertificate
from lifecycle.instance.proof import MAX_DEVICES
from lifecycle.instance.pushes import Credential, Pushes
from lifecycle.instance.vault import Vault
from lifecycle.wire.messages import Evidence, Probe, ProbeAnswer

NO_CERTIFICATE = "no_certificate"
NO_CANARY = "no_canary"
NO_OTHER_TENANT = "no_other_tenant"
_NO_FINGERPRINT = "0" * 64


def gather(vault: Vault, check_id: int, pushes: Pushes, canaries: CanarySource) -> Evidence:
    """Probes with the active certificate.

    The own canary is the device that was chosen for it, else the one seen last; if APNs says
    it is gone, or knows no such token, the next. Without a certificate, a device or another
    tenant no probe is made and ``fault`` says why: ``no_certificate``, ``no_canary``,
    ``no_other_tenant``, or the code of what this vault, or the other tenant's, refused.
    """
    tokens = vault.devices.token_fingerprints()
    active = vault.active()
    if active is None:
        return Evidence(
            check_id=check_id,
            fingerprint=_NO_FINGERPRINT,
            fault=NO_CERTIFICATE,
            token_fingerprints=tokens,
        )
    answers: tuple[ProbeAnswer, ...] = ()
    fault: str | None = None
    try:
        answers = _probe(vault, active, pushes, canaries)
    except _CannotProbe as reason:
        fault = reason.fault
    except Refused as refused:  # a vault that cannot be opened; an answer must come all the same
        fault = refused.codes[0]
    return Evidence(
        check_id=check_id,
        fingerprint=active.certificate.fingerprint,
        answers=answers,
        fault=fault,
        token_fingerprints=tokens,
    )


class _CannotProbe(Exception):
    def __init__(self, fault: str) -> None:
        super().__init__(fault)
        self.fault = fault


def _probe(
    vault: Vault, active: HeldCertificate, pushes: Pushes, canaries: CanarySource
) -> tuple[ProbeAnswer, ...]:
    topic = active.certificate.topic
    devices = vault.devices.reachable(topic, MAX_DEVICES)
    if not devices:
        raise _CannotProbe(NO_CANARY)
    other = canaries.other_tenant(topic)
    if other is None:
        raise _CannotProbe(NO_OTHER_TENANT)
    credential = Credential.of(vault, active)
    answers: tuple[ProbeAnswer, ...] = ()
    for known in devices:
        answers = pushes.probe(credential, vault.devices.open(known.udid), other)
        own = next(answer for answer in answers if answer.probe is Probe.OWN)
        vault.devices.note_answer(known.token_fingerprint, own.status, own.at)
        if own.status != 410 and own.reason != "BadDeviceToken":
            break
    return answers
