"""A vault's backup: the instance's own, with everything sealed as it is.

What is in the archive is the vault's database. The passphrase that opens it is never in it, and
``vault.key`` only where that is asked for: then the encryption of the archive is all that guards
the customer's keys.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import version
from pathlib import Path

from sqlmodel import select

from lifecycle.backup.archive import Opened, open_archive, write_archive
from lifecycle.backup.encryption import Encryption, Opener
from lifecycle.backup.manifest import Manifest, require_fit
from lifecycle.backup.places import copy_private, make_private_folder, move_in, occupied, scratch
from lifecycle.backup.sqlite_file import (
    COMPANIONS,
    copy_live,
    counts_of,
    require_whole,
    revision_of,
    settle,
)
from lifecycle.boundary import Unobserved
from lifecycle.disk import naming_disk_trouble
from lifecycle.errors import Finding, Refused, raise_for, refuse
from lifecycle.instance.database import VaultDatabase
from lifecycle.instance.migrations import HEAD
from lifecycle.instance.models import CertificateRow, KeyRow, VaultRow
from lifecycle.instance.paths import DATABASE_NAME, KEY_NAME, database_path, key_path
from lifecycle.instance.vault import Vault
from lifecycle.passphrase import PassphraseSource
from lifecycle.pki.push_certificate import PushCertificate

_NOT_TO_BE_OPENED = frozenset({"vault_key_missing", "vault_passphrase_needed"})
"""Why what is sealed cannot be looked at, and is no fault of the backup."""


@dataclass(frozen=True, slots=True)
class VaultBackedUp:
    """A vault's backup that was written and verified.

    Attributes:
        manifest: what is in it.
        needs_key: the vault is opened by ``vault.key``, and that is not in it.
    """

    manifest: Manifest
    needs_key: bool


@dataclass(frozen=True, slots=True)
class VaultRestored:
    """A vault that was restored, or looked through.

    Attributes:
        manifest: what was in the archive.
        sealed: what keeps the sealed values from being opened here; None: all were, and fit.
    """

    manifest: Manifest
    sealed: Finding | None


def back_up(
    directory: Path, out: Path, encryption: Encryption, at: datetime, *, key: bool
) -> VaultBackedUp:
    """Writes a backup of a vault, mode 0600, and verifies what was written.

    Args:
        directory: the vault's; others may use it meanwhile.
        out: the archive; replaced once the new one has been verified.
        encryption: who can open it.
        at: now, aware UTC.
        key: ``vault.key`` as well, if there is one.

    Raises:
        Refused: as ``Vault.open`` and ``write_archive``; ``certificate_row_damaged``.
        Unavailable: the vault or the disk.
    """
    Vault.open(directory).close()  # migrates it, and refuses one that others may read
    with scratch(directory) as folder, naming_disk_trouble(f"The vault {directory}"):
        copy = folder / DATABASE_NAME
        copy_live(database_path(directory), copy)
        row = _vault_row(copy)
        by_key_file = row.scrypt_n is None
        parts = {DATABASE_NAME: copy}
        if key and by_key_file:
            parts[KEY_NAME] = key_path(directory)
        about = Manifest(
            plane="instance",
            made_at=at,
            made_by=version("pushcert"),
            revision=HEAD,
            name=row.vault_id,
            counts=counts_of(copy),
            files={},
        )
        made = write_archive(out, about, parts, encryption, folder, _verify)
    return VaultBackedUp(made, by_key_file and not key)


def restore(
    directory: Path,
    source: Path,
    opener: Opener,
    passphrase: PassphraseSource | None,
    *,
    dry_run: bool = False,
) -> VaultRestored:
    """Restores a vault where there is none; all of it or nothing.

    A ``vault.key`` that is there already is taken as the vault's.

    Args:
        directory: of the vault; made if it is missing.
        source: the archive.
        opener: what may open the archive.
        passphrase: of the vault, where it is under one.
        dry_run: open and check everything, and write nothing.

    Raises:
        Refused: as ``open_archive`` and ``require_fit``; ``restore_not_empty``,
            ``backup_damaged``, ``backup_database_damaged``, ``certificate_row_damaged``,
            ``vault_key_wrong``, ``vault_passphrase_wrong``, ``sealed_value_damaged``.
        Unavailable: the disk. In each case nothing was written.
    """
    if not dry_run:
        _require_free(directory)
        make_private_folder(directory.parent)
    beside = directory.parent if directory.parent.is_dir() else Path()
    with naming_disk_trouble(f"The folder {beside}"), scratch(beside) as folder:
        opened = open_archive(source, opener, folder)
        _verify(opened)
        own = key_path(directory)
        staged = opened.folder
        if own.exists() and not opened.file(KEY_NAME).exists():
            copy_private(own, staged / KEY_NAME)
        sealed = _look_into(staged, passphrase)
        settle(opened.file(DATABASE_NAME))
        if not dry_run:
            make_private_folder(directory)
            if KEY_NAME in opened.manifest.files:
                move_in(opened.file(KEY_NAME), own)
            move_in(opened.file(DATABASE_NAME), database_path(directory))
    return VaultRestored(opened.manifest, sealed)


def _require_free(directory: Path) -> None:
    path = database_path(directory)
    for companion in COMPANIONS:
        if path.with_name(path.name + companion).exists():
            raise occupied(path)


def _verify(opened: Opened) -> None:
    """The vault's database is there, whole, and every certificate in it is what its row says."""
    manifest = opened.manifest
    require_fit(manifest, "instance", HEAD)
    if DATABASE_NAME not in manifest.files:
        raise refuse(
            "backup_damaged", "The backup holds no vault.", "Take another one; this is none."
        )
    path = opened.file(DATABASE_NAME)
    require_whole(path)
    if revision_of(path) != manifest.revision or counts_of(path) != manifest.counts:
        raise refuse(
            "backup_damaged",
            "The vault in the backup is not the one that its manifest describes.",
            "Take another one: this file was made or altered by something else.",
        )
    raise_for(_certificates(path))


def _certificates(path: Path) -> Iterator[Finding]:
    with _reading(path) as database, database.reading() as session:
        rows = session.exec(select(CertificateRow, KeyRow.fingerprint).join(KeyRow)).all()
    for row, key in rows:
        try:
            certificate = PushCertificate.from_der(row.der)
        except Refused:
            certificate = None
        if certificate is None or (certificate.fingerprint, certificate.key_fingerprint) != (
            row.fingerprint,
            key,
        ):
            yield Finding(
                "certificate_row_damaged",
                f"The certificate {row.fingerprint[:12]} in the vault is not the one recorded.",
                "Compare with an older backup: the vault was changed by hand, or its disk fails.",
            )


def _vault_row(path: Path) -> VaultRow:
    with _reading(path) as database, database.reading() as session:
        return session.get_one(VaultRow, 1)


@contextmanager
def _reading(path: Path) -> Iterator[VaultDatabase]:
    database = VaultDatabase(path, Unobserved())
    try:
        yield database
    finally:
        database.close()


def _look_into(staged: Path, passphrase: PassphraseSource | None) -> Finding | None:
    """Opens everything that is sealed; what keeps it closed, if that is no fault of the backup."""
    with Vault.open(staged, passphrase) as vault:
        try:
            for fingerprint in vault.keys.fingerprints():
                vault.keys.private_key(fingerprint)
            vault.devices.open_all([device.udid for device in vault.devices.all()])
        except Refused as refused:
            if refused.codes[0] in _NOT_TO_BE_OPENED:
                return refused.findings[0]
            raise
    return None
