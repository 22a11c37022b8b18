"""Canary tokens over the network: an instance opens its own, a canary tenant's seals its own.

See ``lifecycle.wire.sealed_tokens`` and ``lifecycle.vendor.canary_seals`` for the way between.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable

from lifecycle.apns.probes import OtherTenant
from lifecycle.apns.token import DeviceToken
from lifecycle.instance.vault import Vault
from lifecycle.pki.topic import Topic
from lifecycle.wire.messages import CanarySeal, CanarySeals, SealedCanary, Sealing
from lifecycle.wire.sealed_tokens import seal, unseal


class SealedCanaries:
    """A ``CanarySource`` that opens what the vendor passes on.

    Args:
        vault: has the key that opens it.
        passed_on: asks the vendor. Raises ``Unavailable``.
    """

    def __init__(self, vault: Vault, passed_on: Callable[[], SealedCanary | None]) -> None:
        self._vault = vault
        self._passed_on = passed_on

    def other_tenant(self, own_topic: Topic) -> OtherTenant | None:
        """See ``CanarySource.other_tenant``. Raises ``Refused``: ``canary_seal_broken``."""
        found = self._passed_on()
        if found is None or found.topic == own_topic:
            return None
        key = self._vault.credentials.sealing_key(found.credential_id)
        if key is None:
            return None  # of keys that this vault never had: it was restored from a backup
        token = unseal(bytes(found.sealed), key, found.credential_id, found.topic)
        return OtherTenant(Topic(found.topic), DeviceToken.from_bytes(token))


def offer(vault: Vault, wanted: Sealing) -> CanarySeals | None:
    """What this canary tenant's instance has to seal; None when all is as it should be.

    None as well while there is no certificate, or no device to be the canary.
    """
    active = vault.active()
    if active is None:
        return None
    topic = active.certificate.topic
    for known in vault.devices.reachable(topic, 1):
        moved = wanted.token_fingerprint not in (None, known.token_fingerprint)
        if not wanted.orders and not moved:
            return None
        token = vault.devices.open(known.udid).token
        return CanarySeals(
            topic=topic,
            token_fingerprint=known.token_fingerprint,
            seals=tuple(
                CanarySeal(
                    credential_id=order.credential_id,
                    sealed=b64encode(
                        seal(token.raw, bytes(order.sealing_key), order.credential_id, topic)
                    ),
                )
                for order in wanted.orders
            ),
        )
    return None
