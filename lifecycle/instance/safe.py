"""A vault as files: made, opened, checked; its database and the sealer of its values.

What is kept in it is the business of ``keys``, ``certificates`` and ``roster``; ``vault`` puts
them together.
"""

from __future__ import annotations

import binascii
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from sqlmodel import Session

from lifecycle.boundary import WriteObserver
from lifecycle.errors import refuse
from lifecycle.instance import migrations
from lifecycle.instance.database import VaultDatabase
from lifecycle.instance.models import VaultRow
from lifecycle.instance.paths import (
    database_path,
    key_path,
    make_private_directory,
    require_private,
    sync_directory,
    touch_private,
    write_private,
)
from lifecycle.instance.sealing import (
    RECOMMENDED,
    ScryptCost,
    Sealer,
    Wrapping,
    new_data_key,
    unwrap,
    wrap_with_key_file,
    wrap_with_passphrase,
)
from lifecycle.passphrase import PassphraseSource, resolve

_KEY_BOUNDARY = "vault.key"


@dataclass(frozen=True, slots=True)
class Protection:
    """How a new vault is protected.

    Attributes:
        passphrase: where the passphrase comes from; None uses a random key in ``vault.key``.
        cost: what a guess at the passphrase costs.
    """

    passphrase: PassphraseSource | None = None
    cost: ScryptCost = RECOMMENDED


class Safe:
    """An open vault: its database, and its sealer once something must be sealed or opened.

    The passphrase is not fetched, and the data key not unwrapped, before ``sealer`` is used:
    asking a vault which certificate is active costs no scrypt.
    """

    def __init__(
        self, directory: Path, database: VaultDatabase, passphrase: PassphraseSource | None
    ) -> None:
        self.directory = directory
        self.database = database
        self._passphrase = passphrase
        self._sealer: Sealer | None = None

    @classmethod
    def create(cls, directory: Path, protection: Protection, observer: WriteObserver) -> Self:
        """Makes a vault. A half-made one (a crash while making it) is completed.

        Raises:
            Refused: ``vault_exists``, ``vault_too_open``, ``vault_not_a_directory``, or what
                ``resolve`` raises about the passphrase.
        """
        make_private_directory(directory)
        if is_complete(directory, observer):
            raise refuse(
                "vault_exists",
                f"There is a vault in {directory} already.",
                "Use it, or choose another directory.",
            )
        vault_id, data_key = str(uuid.uuid4()), new_data_key()
        wrapping = _protect(directory, protection, data_key, vault_id, observer)
        touch_private(database_path(directory))
        sync_directory(directory)
        database = VaultDatabase(database_path(directory), observer)
        with database.transaction() as session:
            migrations.upgrade(session.connection())
            session.add(_row(vault_id, wrapping))
        return cls(directory, database, protection.passphrase)

    @classmethod
    def open(
        cls, directory: Path, passphrase: PassphraseSource | None, observer: WriteObserver
    ) -> Self:
        """Opens a vault; migrates it first if an earlier pushcert wrote it.

        Raises:
            Refused: ``vault_missing``, ``vault_too_open``, ``vault_damaged``, ``vault_newer``,
                ``vault_incomplete``.
        """
        if not database_path(directory).is_file():
            raise refuse(
                "vault_missing",
                f"There is no vault in {directory}.",
                "Make it with `pushcert instance init`, or name the right directory.",
            )
        require_private(directory)
        database = VaultDatabase(database_path(directory), observer)
        with database.reading() as session:
            current = migrations.is_current(session.connection())
        if not current:
            if not is_complete(directory, observer):
                raise refuse(
                    "vault_incomplete",
                    f"The vault in {directory} was never finished.",
                    "Make it again in the same place; nothing is in it yet.",
                )
            with database.transaction() as session:
                migrations.upgrade(session.connection())
        return cls(directory, database, passphrase)

    def close(self) -> None:
        """Lets go of the database and the data key."""
        self._sealer = None
        self.database.close()

    @property
    def sealer(self) -> Sealer:
        """Seals and opens this vault's values.

        Raises:
            Refused: ``vault_key_missing``, ``vault_key_wrong``, ``vault_passphrase_needed``,
                ``vault_passphrase_wrong``, or what ``resolve`` raises.
        """
        if self._sealer is None:
            with self.database.reading() as session:
                row = session.get_one(VaultRow, 1)
            wrapping = _wrapping(row)
            secret = self._secret(by_passphrase=wrapping.cost is not None)
            self._sealer = Sealer(unwrap(wrapping, secret, row.vault_id), row.vault_id)
        return self._sealer

    def _secret(self, *, by_passphrase: bool) -> bytes:
        if not by_passphrase:
            return _read_key(key_path(self.directory))
        passphrase = resolve(self._passphrase)
        if passphrase is None:
            raise refuse(
                "vault_passphrase_needed",
                f"The vault in {self.directory} is locked with a passphrase; none is configured.",
                "Name its source in the configuration: env:NAME, file:PATH or command:PROGRAM.",
            )
        return passphrase


def is_complete(directory: Path, observer: WriteObserver) -> bool:
    """True if there is a vault in ``directory`` that was made to the end."""
    path = database_path(directory)
    if not path.is_file():
        return False
    database = VaultDatabase(path, observer)
    try:
        with database.reading() as session:
            return _has_row(session)
    finally:
        database.close()


def _has_row(session: Session) -> bool:
    connection = session.connection()
    table = connection.exec_driver_sql(
        "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'vault'"
    ).first()
    return table is not None and (
        connection.exec_driver_sql("SELECT 1 FROM vault").first() is not None
    )


def _protect(
    directory: Path,
    protection: Protection,
    data_key: bytes,
    vault_id: str,
    observer: WriteObserver,
) -> Wrapping:
    path = key_path(directory)
    passphrase = resolve(protection.passphrase)
    if passphrase is not None:
        path.unlink(missing_ok=True)  # of an attempt to make this vault with a key file
        return wrap_with_passphrase(data_key, passphrase, vault_id, protection.cost)
    if not path.exists():
        write_private(path, new_data_key().hex().encode() + b"\n", observer, _KEY_BOUNDARY)
    return wrap_with_key_file(data_key, _read_key(path), vault_id)


def _read_key(path: Path) -> bytes:
    try:
        return binascii.unhexlify(path.read_bytes().strip())
    except FileNotFoundError:
        raise refuse(
            "vault_key_missing",
            f"{path} is missing; without it nothing in the vault can be opened.",
            "Restore it from where it was backed up (it is not in the vault's own backup).",
        ) from None
    except binascii.Error:
        raise refuse(
            "vault_key_wrong", f"{path} is not a vault key.", "Restore the file from its backup."
        ) from None


def _row(vault_id: str, wrapping: Wrapping) -> VaultRow:
    cost = wrapping.cost
    return VaultRow(
        vault_id=vault_id,
        wrapped_data_key=wrapping.sealed,
        salt=wrapping.salt,
        scrypt_n=None if cost is None else cost.n,
        scrypt_r=None if cost is None else cost.r,
        scrypt_p=None if cost is None else cost.p,
    )


def _wrapping(row: VaultRow) -> Wrapping:
    cost = None
    if row.scrypt_n is not None and row.scrypt_r is not None and row.scrypt_p is not None:
        cost = ScryptCost(row.scrypt_n, row.scrypt_r, row.scrypt_p)
    return Wrapping(row.wrapped_data_key, row.salt, cost)
