"""The private keys of a vault: one for each renewal, made once, kept for good.

A key and its CSR are written in one transaction, before the CSR leaves. After a crash the same
renewal gets the same key and the very same CSR again.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from sqlmodel import Session, col, select

from lifecycle.errors import refuse
from lifecycle.instance.models import CertificateRow, KeyRow
from lifecycle.instance.safe import Safe
from lifecycle.pki.csr import Csr, build_csr, parse_csr
from lifecycle.pki.fingerprints import Fingerprint, key_fingerprint
from lifecycle.pki.keys import generate_key, load_private_key
from lifecycle.wire.messages import CsrOrder

_KIND = "private key"


@dataclass(frozen=True, slots=True)
class PendingKey:
    """The key of a renewal and the CSR made with it. The key is not in the ``repr``."""

    renewal_id: int
    private_key: RSAPrivateKey = field(repr=False)
    csr: Csr

    @property
    def fingerprint(self) -> Fingerprint:
        """SHA-256 of the public key."""
        return self.csr.key_fingerprint


class KeyStore:
    """The keys in a vault.

    Args:
        safe: the open vault.
    """

    def __init__(self, safe: Safe) -> None:
        self._safe = safe

    def pending(self, order: CsrOrder, now: datetime) -> PendingKey:
        """The key for a renewal, with a CSR that carries the subject of ``order``.

        The first call makes both and stores them in one transaction; later calls give the
        same key, and the same CSR unless the vendor now wants another subject. A key whose
        certificate has been active is not used again: a vendor that asks for that renewal's
        CSR was restored from a backup and counts its renewals anew.

        Raises:
            Refused: what ``build_csr`` refuses about the subject.
        """
        stored = self._stored(order.renewal_id)
        if stored is not None and _carries(stored.csr, order):
            return stored
        key = generate_key() if stored is None else stored.private_key
        csr = build_csr(
            key, email=order.email, common_name=order.common_name, country=order.country
        )
        fresh = self.sealed_row(key, now)
        with self._safe.database.transaction() as session:
            row = _unused_row_of(session, order.renewal_id)
            if row is not None and stored is None:
                return self._loaded(row)  # another process was faster; its key is the one
            if row is None:
                _detach(session, order.renewal_id)
                row = fresh
            row.renewal_id, row.csr, row.retired_at = order.renewal_id, csr.der, None
            session.add(row)
        return PendingKey(order.renewal_id, key, csr)

    def retire_before(self, renewal_id: int, now: datetime) -> int:
        """Marks the keys of earlier renewals that ended without a certificate.

        They are kept (a certificate made with one may still turn up), but no upload matches
        them any more.

        Returns:
            How many were marked.
        """
        unused = (
            select(KeyRow)
            .where(col(KeyRow.renewal_id) < renewal_id)
            .where(col(KeyRow.retired_at).is_(None))
            .where(col(KeyRow.id).not_in(select(CertificateRow.key_id)))
        )
        with self._safe.database.reading() as session:
            if session.exec(unused).first() is None:
                return 0
        with self._safe.database.transaction() as session:
            rows = session.exec(unused).all()
            for row in rows:
                row.retired_at = now
                session.add(row)
            return len(rows)

    def pending_fingerprints(self) -> frozenset[Fingerprint]:
        """Of every key that waits for a certificate: of a renewal that has not ended, as far
        as the instance knows, and without a certificate that was ever active."""
        waiting = (
            select(KeyRow.fingerprint)
            .where(col(KeyRow.retired_at).is_(None))
            .where(col(KeyRow.renewal_id).is_not(None))
            .where(_UNUSED)
        )
        with self._safe.database.reading() as session:
            return frozenset(Fingerprint(found) for found in session.exec(waiting))

    def fingerprints(self) -> frozenset[Fingerprint]:
        """Of every key in the vault."""
        with self._safe.database.reading() as session:
            return frozenset(Fingerprint(f) for f in session.exec(select(KeyRow.fingerprint)))

    def private_key(self, fingerprint: Fingerprint) -> RSAPrivateKey:
        """The key with this fingerprint.

        Raises:
            Refused: ``key_missing``, ``sealed_value_damaged``, or what ``Safe.sealer`` raises.
        """
        with self._safe.database.reading() as session:
            return self._opened(row_by_fingerprint(session, fingerprint))

    def sealed_row(self, key: RSAPrivateKey, now: datetime) -> KeyRow:
        """A row, not stored yet, for a key that comes with its certificate."""
        fingerprint = key_fingerprint(key.public_key())
        return KeyRow(fingerprint=fingerprint, sealed=self._sealed(key, fingerprint), made_at=now)

    def _stored(self, renewal_id: int) -> PendingKey | None:
        with self._safe.database.reading() as session:
            row = _unused_row_of(session, renewal_id)
            return None if row is None else self._loaded(row)

    def _loaded(self, row: KeyRow) -> PendingKey:
        if row.renewal_id is None or row.csr is None:
            raise ValueError("a key that was adopted belongs to no renewal")
        return PendingKey(row.renewal_id, self._opened(row), parse_csr(row.csr))

    def _sealed(self, key: RSAPrivateKey, fingerprint: Fingerprint) -> bytes:
        der = key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
        return self._safe.sealer.seal(_KIND, fingerprint, der)

    def _opened(self, row: KeyRow) -> RSAPrivateKey:
        der = self._safe.sealer.open(_KIND, row.fingerprint, row.sealed)
        # Checked when it was made or adopted, and authenticated by its seal since.
        return load_private_key(der, None, trusted=True)


def row_by_fingerprint(session: Session, fingerprint: str) -> KeyRow:
    """The key's row.

    Raises:
        Refused: ``key_missing``.
    """
    row = session.exec(select(KeyRow).where(KeyRow.fingerprint == fingerprint)).first()
    if row is None:
        raise refuse(
            "key_missing",
            "This vault does not have the private key of the certificate.",
            "Upload it where its CSR was made, or renew once more with a new request.",
        )
    return row


_UNUSED = col(KeyRow.id).not_in(
    select(CertificateRow.key_id).where(col(CertificateRow.activated_at).is_not(None))
)


def _unused_row_of(session: Session, renewal_id: int) -> KeyRow | None:
    return session.exec(select(KeyRow).where(KeyRow.renewal_id == renewal_id, _UNUSED)).first()


def _detach(session: Session, renewal_id: int) -> None:
    for row in session.exec(select(KeyRow).where(KeyRow.renewal_id == renewal_id)):
        row.renewal_id = None
        session.add(row)
    session.flush()


def _carries(csr: Csr, order: CsrOrder) -> bool:
    return (csr.email, csr.common_name, csr.country) == (
        order.email,
        order.common_name,
        order.country,
    )
