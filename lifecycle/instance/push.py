"""Pushes to an instance's devices: one, several or all of them."""

from __future__ import annotations

from collections.abc import Iterable

from lifecycle.errors import refuse
from lifecycle.instance.pushes import Credential, DeviceAnswer, Pushes
from lifecycle.instance.vault import Vault

BATCH = 500
"""Devices whose tokens are open in memory at one time."""


def push(
    vault: Vault, pushes: Pushes, udids: Iterable[str] | None = None
) -> tuple[DeviceAnswer, ...]:
    """Wakes devices with the active certificate.

    Args:
        vault: the instance's vault.
        pushes: the way to APNs; retries what may be retried.
        udids: which devices; None for all that are registered under the active certificate's
            topic and not known to be gone.

    Returns:
        One answer for each device, in order. Devices that APNs says are gone
        are noted, and so are those that were gone and are back.

    Raises:
        Refused: ``no_active_certificate``, ``device_unknown``, ``no_devices``; nothing was sent.
    """
    active = vault.require_active()
    if udids is None:
        topic = active.certificate.topic
        chosen = [d.udid for d in vault.devices.all() if d.topic == topic and d.gone_at is None]
    else:
        chosen = list(dict.fromkeys(udids))
        vault.devices.require(chosen)
    if not chosen:
        raise refuse(
            "no_devices",
            "This instance knows no device that can be pushed to.",
            "Import TokenUpdate messages with `pushcert instance device import FILE`.",
        )
    credential = Credential.of(vault, active)
    answers: list[DeviceAnswer] = []
    for start in range(0, len(chosen), BATCH):
        devices = vault.devices.open_all(chosen[start : start + BATCH])
        answers += pushes.push(credential, devices)
    for answer in answers:
        vault.devices.note_answer(answer.token_fingerprint, answer.status, answer.at)
    return tuple(answers)
