"""The vault: an instance's private store. One directory, one SQLite file, one customer.

    with Vault.create(directory) as vault:
        vault.devices.add_all(read_token_update(data), topic=None, now=now)

Everything secret in it is sealed; what leaves it does so through ``Agent`` (to the vendor,
never a key or token), ``push`` (to APNs) and ``export`` (to the customer, on request).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from lifecycle.boundary import Unobserved, WriteObserver
from lifecycle.errors import refuse
from lifecycle.instance.certificates import CertificateStore, HeldCertificate
from lifecycle.instance.credentials import CredentialStore
from lifecycle.instance.deploy.records import DeploymentStore
from lifecycle.instance.device_files import DeviceFile, read_device_file, read_stored
from lifecycle.instance.keys import KeyStore, PendingKey
from lifecycle.instance.models import VaultRow
from lifecycle.instance.roster import Imported, Roster
from lifecycle.instance.safe import Protection, Safe, is_complete
from lifecycle.passphrase import PassphraseSource
from lifecycle.pki.fingerprints import Fingerprint
from lifecycle.pki.topic import Topic
from lifecycle.wire.messages import CsrOrder, ProbeAnswer


class Vault:
    """An open vault. Use it as a context manager, or call ``close``.

    Attributes:
        directory: where it is.
        keys: its private keys.
        certificates: its push certificates.
        devices: the devices it knows.
        credentials: by which the vendor knows it over the network.
        deployments: how its deploy targets stand.
    """

    def __init__(self, safe: Safe) -> None:
        self._safe = safe
        self.directory = safe.directory
        self.keys = KeyStore(safe)
        self.certificates = CertificateStore(safe, self.keys)
        self.devices = Roster(safe)
        self.credentials = CredentialStore(safe)
        self.deployments = DeploymentStore(safe)

    @classmethod
    def create(
        cls,
        directory: Path,
        passphrase: PassphraseSource | None = None,
        *,
        observer: WriteObserver | None = None,
        protection: Protection | None = None,
    ) -> Self:
        """Makes a vault in ``directory`` (mode 0700) and opens it.

        Args:
            directory: made if it is missing. A vault whose making was interrupted is completed.
            passphrase: locks the vault; None locks it with a random key in ``vault.key``.
            observer: told around every durable write.
            protection: instead of ``passphrase``, to say what a guess at it costs.

        Raises:
            Refused: ``vault_exists``, ``vault_too_open``, ``vault_not_a_directory``, or what
                ``resolve`` raises about the passphrase.
        """
        chosen = protection or Protection(passphrase)
        return cls(Safe.create(directory, chosen, observer or Unobserved()))

    @classmethod
    def open(
        cls,
        directory: Path,
        passphrase: PassphraseSource | None = None,
        *,
        observer: WriteObserver | None = None,
    ) -> Self:
        """Opens the vault in ``directory``. The passphrase is fetched when it is needed.

        Raises:
            Refused: ``vault_missing``, ``vault_too_open`` (with the chmod command for every
                path that others may use), ``vault_damaged``, ``vault_newer``,
                ``vault_incomplete``.
        """
        return cls(Safe.open(directory, passphrase, observer or Unobserved()))

    @staticmethod
    def exists(directory: Path) -> bool:
        """True if a vault in ``directory`` was made to the end."""
        return is_complete(directory, Unobserved())

    def close(self) -> None:
        """Closes the vault; nothing may be called on it afterwards."""
        self._safe.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def pending_key(self, order: CsrOrder, now: datetime) -> PendingKey:
        """See ``KeyStore.pending``."""
        return self.keys.pending(order, now)

    def active(self) -> HeldCertificate | None:
        """The certificate that pushes are made with, or None."""
        return self.certificates.active()

    def candidate(self) -> HeldCertificate | None:
        """The certificate that waits for its own-token push, or None."""
        return self.certificates.candidate()

    def require_active(self) -> HeldCertificate:
        """The active certificate.

        Raises:
            Refused: ``no_active_certificate``.
        """
        held = self.active()
        if held is None:
            raise refuse(
                "no_active_certificate",
                "This instance has no active push certificate.",
                "Finish its renewal: upload the certificate that the portal issued.",
            )
        return held

    def activate(
        self, fingerprint: Fingerprint, now: datetime, own_push: ProbeAnswer | None = None
    ) -> HeldCertificate:
        """See ``CertificateStore.activate``."""
        return self.certificates.activate(fingerprint, now, own_push)

    def private_key(self, held: HeldCertificate) -> RSAPrivateKey:
        """The key of a certificate in this vault; see ``KeyStore.private_key``."""
        return self.keys.private_key(held.certificate.key_fingerprint)

    def import_devices(self, data: bytes, now: datetime) -> Imported:
        """Takes in the devices of a file of any form (``device_files``); all of them or none.

        They must be registered under the topic of the active certificate; before there is
        one, under the same topic as each other and as the devices known already.

        Raises:
            Refused: as ``read_device_file`` and ``Roster.add_all``.
        """
        return self._take_in(read_device_file(data, self._topic()), now)

    def import_stored_devices(self, messages: Iterable[bytes], now: datetime) -> Imported:
        """The same with the TokenUpdate messages of NanoMDM's file storage.

        Raises:
            Refused: as ``read_stored`` and ``Roster.add_all``.
        """
        return self._take_in(read_stored(messages, self._topic()), now)

    def _take_in(self, file: DeviceFile, now: datetime) -> Imported:
        done = self.devices.add_all(file.devices, self._topic(), now)
        return replace(done, left_out=file.left_out)

    def consents_to_ring(self) -> bool:
        """True if other consenting customers may probe with one of this vault's tokens."""
        with self._safe.database.reading() as session:
            return session.get_one(VaultRow, 1).ring_consent

    def set_ring_consent(self, consent: bool) -> None:
        """Records the customer's consent to the ring, or takes it back."""
        with self._safe.database.transaction() as session:
            row = session.get_one(VaultRow, 1)
            row.ring_consent = consent
            session.add(row)

    def _topic(self) -> Topic | None:
        held = self.active()
        if held is not None:
            return held.certificate.topic
        topics = self.devices.topics()
        return next(iter(topics)) if len(topics) == 1 else None
