"""The push certificates of a vault: one active, at most one candidate, the rest kept.

The old certificate stays active until ``activate`` changes both rows in one transaction.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from sqlmodel import Session, col, select

from lifecycle.errors import Refused, refuse
from lifecycle.instance.keys import KeyStore, row_by_fingerprint
from lifecycle.instance.models import CertificateRow, CertificateState, KeyRow
from lifecycle.instance.safe import Safe
from lifecycle.pki.fingerprints import Fingerprint, key_fingerprint
from lifecycle.pki.push_certificate import PushCertificate
from lifecycle.wire.messages import ProbeAnswer


@dataclass(frozen=True, slots=True)
class HeldCertificate:
    """A push certificate in the vault.

    Attributes:
        certificate: the certificate itself.
        state: where it stands.
        renewal_id: the renewal it was recorded against; None if it was adopted.
        recorded_at, activated_at, superseded_at: when that happened, UTC.
        own_push: the answer that proved it; None if no push was needed.
    """

    certificate: PushCertificate
    state: CertificateState
    renewal_id: int | None
    recorded_at: datetime
    activated_at: datetime | None
    superseded_at: datetime | None
    own_push: ProbeAnswer | None


class CertificateStore:
    """The push certificates in a vault.

    Args:
        safe: the open vault.
        keys: its keys.
    """

    def __init__(self, safe: Safe, keys: KeyStore) -> None:
        self._safe = safe
        self._keys = keys

    def active(self) -> HeldCertificate | None:
        """The certificate that pushes are made with, or None."""
        return self._in_state(CertificateState.ACTIVE)

    def candidate(self) -> HeldCertificate | None:
        """The certificate that waits for its own-token push, or None."""
        return self._in_state(CertificateState.CANDIDATE)

    def history(self) -> tuple[HeldCertificate, ...]:
        """Every certificate, in the order they were recorded."""
        with self._safe.database.reading() as session:
            rows = session.exec(select(CertificateRow).order_by(col(CertificateRow.id)))
            return tuple(_held(row) for row in rows)

    def record_candidate(
        self, certificate: PushCertificate, renewal_id: int, now: datetime
    ) -> HeldCertificate:
        """Makes ``certificate`` the candidate; one that waited before is set aside.

        Changes nothing if it is the candidate or active already.

        Raises:
            Refused: ``key_missing``, the vault does not have its key; ``already_superseded``,
                it was active once and another has taken its place.
        """
        with self._safe.database.reading() as session:
            row = _by_fingerprint(session, certificate.fingerprint)
            if row is not None and row.state != CertificateState.SUPERSEDED:
                return _held(row)
        with self._safe.database.transaction() as session:
            key = row_by_fingerprint(session, certificate.key_fingerprint)
            waiting = _row_in_state(session, CertificateState.CANDIDATE)
            if waiting is not None and waiting.fingerprint != certificate.fingerprint:
                _supersede(session, waiting, now)
            row = _by_fingerprint(session, certificate.fingerprint)
            if row is None:
                row = _new_row(key, certificate, now)
            elif row.activated_at is not None:
                raise _already_superseded(certificate)
            row.state, row.superseded_at = CertificateState.CANDIDATE, None
            row.renewal_id = renewal_id
            session.add(row)
            session.flush()
            return _held(row)

    def activate(
        self, fingerprint: Fingerprint, now: datetime, own_push: ProbeAnswer | None = None
    ) -> HeldCertificate:
        """Makes the candidate active and supersedes the old one, in one transaction.

        Changes nothing if it is active already.

        Raises:
            Refused: ``not_a_candidate``, another upload has taken its place.
        """
        with self._safe.database.transaction() as session:
            row = _by_fingerprint(session, fingerprint)
            if row is not None and row.state == CertificateState.ACTIVE:
                return _held(row)
            if row is None or row.state != CertificateState.CANDIDATE:
                raise refuse(
                    "not_a_candidate",
                    "The certificate is not the one that waits to be activated.",
                    "Look at the newest upload; it has taken this one's place.",
                )
            old = _row_in_state(session, CertificateState.ACTIVE)
            if old is not None:
                _supersede(session, old, now)
            row.state, row.activated_at = CertificateState.ACTIVE, now
            row.own_push = None if own_push is None else own_push.model_dump_json()
            session.add(row)
            return _held(row)

    def require_room(self, certificate: PushCertificate) -> None:
        """Checks that ``adopt`` would take this certificate. Raises ``Refused``
        (``vault_in_use``)."""
        with self._safe.database.reading() as session:
            _is_active_or_room(session, certificate)

    def adopt(self, key: RSAPrivateKey, certificate: PushCertificate, now: datetime) -> bool:
        """Takes in an existing pair as the active certificate of a vault that has none.

        Returns:
            False if the pair was in the vault already.

        Raises:
            Refused: ``key_mismatch``, ``vault_in_use`` (another certificate is active).
        """
        if key_fingerprint(key.public_key()) != certificate.key_fingerprint:
            raise refuse(
                "key_mismatch",
                "The private key does not belong to the certificate.",
                "Find the key that was made with the CSR of this certificate.",
            )
        fresh = self._keys.sealed_row(key, now)
        with self._safe.database.transaction() as session:
            if _is_active_or_room(session, certificate):
                return False
            row = _by_fingerprint(session, certificate.fingerprint)
            if row is None:
                key_row = session.exec(
                    select(KeyRow).where(KeyRow.fingerprint == fresh.fingerprint)
                ).first()
                session.add(key_row := key_row or fresh)
                session.flush()
                row = _new_row(key_row, certificate, now)
            row.state, row.activated_at = CertificateState.ACTIVE, now
            session.add(row)
            return True

    def _in_state(self, state: CertificateState) -> HeldCertificate | None:
        with self._safe.database.reading() as session:
            row = _row_in_state(session, state)
            return None if row is None else _held(row)


def _is_active_or_room(session: Session, certificate: PushCertificate) -> bool:
    """True if it is the active one already, False if none is active."""
    old = _row_in_state(session, CertificateState.ACTIVE)
    if old is not None and old.fingerprint != certificate.fingerprint:
        raise refuse(
            "vault_in_use",
            "Another push certificate is active in this vault.",
            "Renew it with `pushcert renew`; adopting is for a vault that has none.",
        )
    return old is not None


def _row_in_state(session: Session, state: CertificateState) -> CertificateRow | None:
    return session.exec(select(CertificateRow).where(CertificateRow.state == state)).first()


def _by_fingerprint(session: Session, fingerprint: Fingerprint) -> CertificateRow | None:
    return session.exec(
        select(CertificateRow).where(CertificateRow.fingerprint == fingerprint)
    ).first()


def _supersede(session: Session, row: CertificateRow, now: datetime) -> None:
    row.state, row.superseded_at = CertificateState.SUPERSEDED, now
    session.add(row)
    session.flush()  # the partial unique index sees one of each state at a time


def _held(row: CertificateRow) -> HeldCertificate:
    return HeldCertificate(
        certificate=PushCertificate.from_der(row.der),
        state=CertificateState(row.state),
        renewal_id=row.renewal_id,
        recorded_at=row.recorded_at,
        activated_at=row.activated_at,
        superseded_at=row.superseded_at,
        own_push=None if row.own_push is None else ProbeAnswer.model_validate_json(row.own_push),
    )


def _already_superseded(certificate: PushCertificate) -> Refused:
    return refuse(
        "already_superseded",
        f"The certificate with serial {certificate.serial} was active here once, and a newer one"
        " has taken its place.",
        "Upload the newest certificate of this topic from the portal.",
    )


def _new_row(key: KeyRow, certificate: PushCertificate, now: datetime) -> CertificateRow:
    if key.id is None:
        raise ValueError("the key has not been stored yet")
    return CertificateRow(
        key_id=key.id,
        state=CertificateState.CANDIDATE,
        fingerprint=certificate.fingerprint,
        der=certificate.der,
        recorded_at=now,
    )
