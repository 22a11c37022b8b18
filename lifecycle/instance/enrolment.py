"""Makes an instance known to its vendor over the network, and changes its keys in time.

Both can be interrupted anywhere and done again: the keys are in the vault before they are sent,
and the vendor answers the same keys the same way.
"""

from __future__ import annotations

from base64 import b64encode
from datetime import datetime, timedelta
from typing import Protocol

from lifecycle.instance.credentials import Enrolled
from lifecycle.instance.vault import Vault
from lifecycle.wire.enrolment import Enrolment, EnrolmentReceipt, KeyChange, KeyReceipt
from lifecycle.wire.signatures import possession


class EnrolmentLink(Protocol):
    """The line to the vendor over which keys are made known.

    An implementer must send what it is given and nothing else. A caller must not assume that a
    call which raised ``Unavailable`` had no effect.
    """

    def enrol(self, enrolment: Enrolment) -> EnrolmentReceipt:
        """Redeems an invitation. Raises ``Refused``, ``Unavailable``."""
        ...

    def change_keys(self, change: KeyChange) -> KeyReceipt:
        """Replaces the keys that sign this very call. Raises ``Refused``, ``Unavailable``."""
        ...


def enrol(
    vault: Vault, link: EnrolmentLink, code: str, now: datetime, version: str | None = None
) -> EnrolmentReceipt:
    """Makes this the instance that the code was made for.

    Raises:
        Refused: the vendor refuses the code; the instance is as it was.
        Unavailable: the vendor cannot be reached; the same code again goes on.
    """
    keys = vault.credentials.pending(now)
    receipt = link.enrol(
        Enrolment(
            code=code.strip(),
            public_key=b64encode(keys.public_key),
            sealing_key=b64encode(keys.sealing_public_key),
            version=version,
        )
    )
    vault.credentials.enrol(keys, receipt.credential_id, now)
    return receipt


def change_keys(
    vault: Vault, link: EnrolmentLink, current: Enrolled, now: datetime, version: str | None = None
) -> str:
    """Puts fresh keys in the place of ``current``; gives the new credential's id.

    Raises:
        Refused: the vendor refuses; the keys stay as they are.
        Unavailable: it cannot be reached; the next try goes on.
    """
    keys = vault.credentials.pending(now)
    receipt = link.change_keys(
        KeyChange(
            public_key=b64encode(keys.public_key),
            sealing_key=b64encode(keys.sealing_public_key),
            proof=b64encode(possession(keys.signing, current.credential_id, keys.public_key)),
            version=version,
        )
    )
    vault.credentials.enrol(keys, receipt.credential_id, now)
    return receipt.credential_id


def rotation_is_due(current: Enrolled, every: timedelta, now: datetime) -> bool:
    """Whether the keys are old enough to be changed."""
    return now - current.since >= every
