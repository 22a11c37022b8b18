"""The keys by which the vendor knows an instance over the network; sealed in its vault.

They are made and stored before they are sent: if the vendor's answer is lost, the same keys go
out again, and the vendor gives the same answer.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from sqlmodel import col, select
from sqlmodel.sql.expression import SelectOfScalar

from lifecycle.instance.models import CredentialRow
from lifecycle.instance.safe import Safe
from lifecycle.wire.signatures import RequestSigner

_SIGNING = "credential signing key"
_SEALING = "credential sealing key"


@dataclass(frozen=True, slots=True)
class InstanceKeys:
    """A pair of private keys. Neither shows in the ``repr``.

    Attributes:
        row: their place in the vault.
        signing, sealing: Ed25519 and X25519.
    """

    row: int
    signing: Ed25519PrivateKey = field(repr=False)
    sealing: X25519PrivateKey = field(repr=False)

    @property
    def public_key(self) -> bytes:
        """Ed25519, raw."""
        return self.signing.public_key().public_bytes_raw()

    @property
    def sealing_public_key(self) -> bytes:
        """X25519, raw."""
        return self.sealing.public_key().public_bytes_raw()


@dataclass(frozen=True, slots=True)
class Enrolled:
    """The credential in use.

    Attributes:
        credential_id: as the vendor knows it.
        since: when the vendor gave it.
        signer: signs with it.
    """

    credential_id: str
    since: datetime
    signer: RequestSigner


class CredentialStore:
    """The credentials in a vault.

    Args:
        safe: the open vault.
    """

    def __init__(self, safe: Safe) -> None:
        self._safe = safe

    def current(self) -> Enrolled | None:
        """The credential to sign with; None for an instance that is not enrolled."""
        with self._safe.database.reading() as session:
            row = session.exec(_in_use()).first()
            if row is None or row.credential_id is None or row.enrolled_at is None:
                return None
            signer = RequestSigner(row.credential_id, self._opened(row).signing)
            return Enrolled(row.credential_id, row.enrolled_at, signer)

    def pending(self, now: datetime) -> InstanceKeys:
        """Keys that the vendor does not know yet, or has not answered about; made if need be."""
        with self._safe.database.reading() as session:
            row = session.exec(_pending()).first()
            if row is not None:
                return self._opened(row)
        signing, sealing = Ed25519PrivateKey.generate(), X25519PrivateKey.generate()
        place = signing.public_key().public_bytes_raw().hex()
        sealer = self._safe.sealer
        fresh = CredentialRow(
            public_key=place,
            sealed_signing_key=sealer.seal(_SIGNING, place, signing.private_bytes_raw()),
            sealed_sealing_key=sealer.seal(_SEALING, place, sealing.private_bytes_raw()),
            made_at=now,
        )
        with self._safe.database.transaction() as session:
            row = session.exec(_pending()).first()
            if row is None:  # else another process was faster; its keys are the ones
                session.add(fresh)
                session.flush()
                row = fresh
            return self._opened(row)

    def enrol(self, keys: InstanceKeys, credential_id: str, now: datetime) -> None:
        """The vendor knows these keys as ``credential_id``: they are used from here on."""
        with self._safe.database.transaction() as session:
            for old in session.exec(_in_use()).all():
                if old.id != keys.row:
                    old.replaced_at = now
                    session.add(old)
            row = session.get_one(CredentialRow, keys.row)
            row.credential_id, row.enrolled_at = credential_id, row.enrolled_at or now
            session.add(row)

    def all(self) -> list[InstanceKeys]:
        """Every pair that was ever made here, in use, replaced or pending; oldest first."""
        statement = select(CredentialRow).order_by(col(CredentialRow.id))
        with self._safe.database.reading() as session:
            return [self._opened(row) for row in session.exec(statement)]

    def sealing_key(self, credential_id: str) -> X25519PrivateKey | None:
        """Opens what was sealed to this credential, in use or replaced; None if unknown."""
        statement = select(CredentialRow).where(CredentialRow.credential_id == credential_id)
        with self._safe.database.reading() as session:
            row = session.exec(statement).first()
            return None if row is None else self._opened(row).sealing

    def _opened(self, row: CredentialRow) -> InstanceKeys:
        if row.id is None:
            raise ValueError("the keys have not been stored yet")
        sealer = self._safe.sealer
        return InstanceKeys(
            row.id,
            Ed25519PrivateKey.from_private_bytes(
                sealer.open(_SIGNING, row.public_key, row.sealed_signing_key)
            ),
            X25519PrivateKey.from_private_bytes(
                sealer.open(_SEALING, row.public_key, row.sealed_sealing_key)
            ),
        )


def _in_use() -> SelectOfScalar[CredentialRow]:
    return select(CredentialRow).where(
        col(CredentialRow.credential_id).is_not(None), col(CredentialRow.replaced_at).is_(None)
    )


def _pending() -> SelectOfScalar[CredentialRow]:
    return select(CredentialRow).where(col(CredentialRow.credential_id).is_(None))
