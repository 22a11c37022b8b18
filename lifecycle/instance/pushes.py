"""How an instance pushes: the seam between the agent and APNs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from lifecycle.apns.probes import OtherTenant
from lifecycle.instance.certificates import HeldCertificate
from lifecycle.instance.devices import Device
from lifecycle.instance.vault import Vault
from lifecycle.pki.fingerprints import Fingerprint
from lifecycle.pki.push_certificate import PushCertificate
from lifecycle.pki.topic import Topic
from lifecycle.wire.messages import Probe, ProbeAnswer


@dataclass(frozen=True, slots=True)
class Credential:
    """A push certificate with its private key. The key does not show in the ``repr``."""

    certificate: PushCertificate
    key: RSAPrivateKey = field(repr=False)

    @classmethod
    def of(cls, vault: Vault, held: HeldCertificate) -> Credential:
        """A certificate of the vault with its key. Raises ``Refused`` as ``private_key``."""
        return cls(held.certificate, vault.private_key(held))


@dataclass(frozen=True, slots=True)
class DeviceAnswer:
    """What came of one push to one device; no token in it.

    Attributes:
        udid, topic, token_fingerprint: what was addressed.
        status: HTTP status, None when no answer came.
        reason: APNs's reason, None for a 200.
        fault: why no answer came (``apns_unreachable``, ``certificate_refused``, …), or None.
        apns_id: of the answer.
        at: when it came, UTC.
        gone_since: with a 410, since when the token is no longer registered, if APNs said so.
    """

    udid: str
    topic: Topic
    token_fingerprint: Fingerprint
    status: int | None
    reason: str | None
    fault: str | None
    apns_id: str | None
    at: datetime
    gone_since: datetime | None = None

    @property
    def delivered(self) -> bool:
        """True if APNs took the push."""
        return self.status == 200

    def as_probe(self) -> ProbeAnswer:
        """The answer as it is reported to the vendor: an own-token push."""
        return ProbeAnswer(
            probe=Probe.OWN,
            topic=self.topic,
            token_fingerprint=self.token_fingerprint,
            status=self.status,
            reason=self.reason,
            fault=self.fault,
            apns_id=self.apns_id,
            at=self.at,
        )


class Pushes(Protocol):
    """Pushes with a certificate that the caller gives.

    An implementer must not raise for what APNs, or the way to it, does: a push without an
    answer is an answer with a ``fault``. It retries what may be retried, within bounds, before
    it says so. It keeps neither certificate nor key, and writes neither to a disk.
    """

    def push(self, credential: Credential, devices: Sequence[Device]) -> tuple[DeviceAnswer, ...]:
        """Wakes each device under its own topic: one answer for each, in the same order."""
        ...

    def probe(
        self, credential: Credential, own: Device, other: OtherTenant
    ) -> tuple[ProbeAnswer, ...]:
        """Makes the four probes of an isolation check, the own one first.

        A foreign probe must carry a random push magic: should it get through, it wakes nobody.
        """
        ...
