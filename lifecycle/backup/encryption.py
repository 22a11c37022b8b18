"""Encryption of an archive, by age (age-encryption.org/v1): a passphrase, or recipients' keys.

The file is a plain age file: ``age -d`` opens it without anything of ours. What opens it is never
in an error, a log or a ``repr``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from lifecycle.disk import disk_trouble
from lifecycle.errors import InternalFault, Refused, refuse

INTRO = b"age-encryption.org/v1\n"
_SCRYPT = INTRO + b"-> scrypt "
LARGEST_UNDER_PASSPHRASE = 2**30
"""Bytes. The library takes what it encrypts with a passphrase as a whole, in memory."""
_KEY_IS_WRONG = frozenset({"Decryption failed", "No matching keys found"})
"""What the library says where the file is whole, as far as can be known, and the key is another."""


@dataclass(frozen=True, slots=True)
class UnderPassphrase:
    """Whoever knows the passphrase can open the archive."""

    passphrase: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class ForRecipients:
    """Whoever has the identity of one of these recipients (``age1…``) can open it."""

    recipients: tuple[str, ...]


Encryption = UnderPassphrase | ForRecipients


@dataclass(frozen=True, slots=True)
class Opener:
    """What may open an archive: each is asked for when it is needed, and not before.

    Attributes:
        passphrase: gives the passphrase, or None.
        identities: gives the identities (``AGE-SECRET-KEY-1…``); empty where there is none.
    """

    passphrase: Callable[[], str | None] = field(default=lambda: None, repr=False)
    identities: Callable[[], tuple[str, ...]] = field(default=lambda: (), repr=False)


def require_recipients(recipients: tuple[str, ...]) -> None:
    """Checks that each is one.

    Raises:
        Refused: ``backup_recipient_malformed``, ``backup_library_missing``.
    """
    _recipients(_library(), recipients)


def encrypt_file(source: Path, target: BinaryIO, encryption: Encryption) -> Opener:
    """Encrypts a file.

    Args:
        source: what is encrypted.
        target: where to.
        encryption: for whom.

    Returns:
        What opens it again, so that what was written can be verified. For recipients that is
        an identity of this one archive, which is known nowhere else and forgotten afterwards.

    Raises:
        Refused: ``backup_recipient_malformed``, ``backup_too_large``, ``backup_library_missing``.
        OSError: of ``target``.
    """
    age = _library()
    if isinstance(encryption, UnderPassphrase):
        size = source.stat().st_size
        if size > LARGEST_UNDER_PASSPHRASE:
            raise refuse(
                "backup_too_large",
                f"The archive has {size // 2**20} MiB, too much to encrypt with a passphrase.",
                "Encrypt it for a recipient instead: make a key with `age-keygen` and name its"
                " public half in backup.recipients.",
            )
        passphrase = encryption.passphrase
        target.write(age.passphrase.encrypt(source.read_bytes(), passphrase))
        return Opener(passphrase=lambda: passphrase)
    own = age.x25519.Identity.generate()
    recipients = [*_recipients(age, encryption.recipients), own.to_public()]
    watched = _Watched(target)
    try:
        with source.open("rb") as data:
            age.encrypt_io(data, watched, recipients)
    except (OSError, age.EncryptError) as error:
        raise watched.fault or InternalFault(f"age could not encrypt ({error}).") from None
    return Opener(identities=lambda: (str(own),))


def decrypt_file(source: Path, target: BinaryIO, opener: Opener) -> None:
    """Decrypts a file. What was written to ``target`` counts for nothing where it raises.

    Raises:
        Refused: ``backup_unreadable``, ``backup_passphrase_needed``, ``backup_identity_needed``,
            ``backup_passphrase_wrong``, ``backup_identity_wrong``, ``backup_identity_malformed``,
            ``backup_damaged``, ``backup_library_missing``.
        OSError: of ``target``.
    """
    age = _library()
    try:
        with source.open("rb") as file:
            head = file.read(len(_SCRYPT))
    except OSError as error:
        raise refuse(
            "file_unreadable",
            f"{source} cannot be read ({error.strerror}).",
            "Check the path and the permissions.",
        ) from None
    if not head.startswith(INTRO):
        raise refuse(
            "backup_unreadable",
            f"{source} is no backup of pushcert's: it does not begin as an age file does.",
            "Pick the file that `pushcert backup` wrote.",
        )
    if head == _SCRYPT:
        passphrase = opener.passphrase()
        if passphrase is None:
            raise refuse(
                "backup_passphrase_needed",
                f"{source} is encrypted with a passphrase, and none was given.",
                "Give --passphrase-from env:NAME, file:PATH or command:PROGRAM.",
            )
        try:
            plain = age.passphrase.decrypt(source.read_bytes(), passphrase)
        except age.DecryptError as error:
            raise _refusal(source, str(error), by_passphrase=True) from None
        target.write(plain)
        return
    identities = [_identity(age, text) for text in opener.identities()]
    if not identities:
        raise refuse(
            "backup_identity_needed",
            f"{source} is encrypted for a recipient, and no identity was given.",
            "Give --identity FILE with the secret key that `age-keygen` wrote.",
        )
    watched = _Watched(target)
    try:
        with source.open("rb") as data:
            age.decrypt_io(data, watched, identities)
    except (OSError, age.DecryptError) as error:
        raise watched.fault or _refusal(source, str(error), by_passphrase=False) from None


def _refusal(source: Path, said: str, *, by_passphrase: bool) -> Refused:
    if said not in _KEY_IS_WRONG:
        return refuse(
            "backup_damaged",
            f"{source} was altered, or is cut short.",
            "Fetch it again from where it is kept, or take another backup; nothing was written.",
        )
    if by_passphrase:
        return refuse(
            "backup_passphrase_wrong",
            f"The passphrase does not open {source}.",
            "Give the passphrase that this backup was made with.",
        )
    return refuse(
        "backup_identity_wrong",
        f"{source} is not encrypted for the identity that was given.",
        "Give the identity whose recipient was named when the backup was made.",
    )


def _recipients(age: Any, texts: tuple[str, ...]) -> list[Any]:
    found = []
    for text in texts:
        try:
            found.append(age.x25519.Recipient.from_str(text.strip()))
        except age.RecipientError:
            raise refuse(
                "backup_recipient_malformed",
                f"“{text[:20]}…” is no recipient of age.",
                "Write the public key that `age-keygen` shows; it begins with age1.",
            ) from None
    return found


def _identity(age: Any, text: str) -> Any:
    try:
        return age.x25519.Identity.from_str(text)
    except age.IdentityError:
        raise refuse(
            "backup_identity_malformed",
            "What was given as an identity is no secret key of age.",
            "Name the file that `age-keygen` wrote; its line begins with AGE-SECRET-KEY-1.",
        ) from None


def _library() -> Any:
    try:
        import pyrage
    except ModuleNotFoundError:
        raise refuse(
            "backup_library_missing",
            "Backups need a library that is not installed.",
            "Run `pip install 'pushcert[backup]'`.",
        ) from None
    return pyrage


class _Watched:
    """A file that the library writes to; keeps the system's error, which the library swallows."""

    def __init__(self, target: BinaryIO) -> None:
        self._target = target
        self.fault: Exception | None = None

    def write(self, data: bytes) -> int:
        """Writes, and remembers what went wrong."""
        try:
            return self._target.write(data)
        except OSError as error:
            self.fault = disk_trouble(error, "The backup") or error
            raise

    def flush(self) -> None:
        """Does nothing: whoever opened the file flushes it."""
