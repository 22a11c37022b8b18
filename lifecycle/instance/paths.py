"""The files of a vault and their modes: nobody but the owner, not even for a moment.

A vault is a directory (0700) with ``vault.sqlite`` (0600; SQLite gives its journal the same
mode) and, unless a passphrase is used, ``vault.key`` (0600).
"""

from __future__ import annotations

import contextlib
import os
import shlex
import stat
from pathlib import Path

from lifecycle.boundary import WriteObserver
from lifecycle.errors import Finding, Refused, refuse

DATABASE_NAME = "vault.sqlite"
KEY_NAME = "vault.key"
DIRECTORY_MODE = 0o700
FILE_MODE = 0o600
_OTHERS = 0o077


def database_path(directory: Path) -> Path:
    """The vault's database in ``directory``."""
    return directory / DATABASE_NAME


def key_path(directory: Path) -> Path:
    """The vault's key file in ``directory``; absent where a passphrase is used."""
    return directory / KEY_NAME


def make_private_directory(directory: Path) -> None:
    """Creates ``directory`` with mode 0700; parents, if missing, with the usual mode.

    Raises:
        Refused: ``vault_too_open`` for a directory that others may enter already,
            ``vault_not_a_directory``.
    """
    directory.parent.mkdir(parents=True, exist_ok=True)
    try:
        directory.mkdir(mode=DIRECTORY_MODE)
    except FileExistsError:
        if not directory.is_dir():
            raise refuse(
                "vault_not_a_directory",
                f"{directory} is a file; a vault is a directory.",
                "Choose another place for the vault.",
            ) from None
        require_private(directory)


def require_private(directory: Path) -> None:
    """Checks the modes of the directory and of every file of the vault in it.

    Raises:
        Refused: ``vault_too_open``, one finding for each path that others may use, with the
            command that puts it right.
    """
    offenders = [
        Finding(
            "vault_too_open",
            f"{path} is open to other users (mode {mode:04o}).",
            f"chmod {wanted:04o} {shlex.quote(str(path))}",
        )
        for path, wanted in _parts(directory)
        if (mode := _mode(path)) & _OTHERS
    ]
    if offenders:
        raise Refused(offenders)


def write_private(path: Path, data: bytes, observer: WriteObserver, boundary: str) -> None:
    """Writes ``data`` to ``path`` with mode 0600, whole or not at all, and durably.

    Args:
        path: replaced if it exists.
        data: the whole content.
        observer: told ``{boundary}:before`` and ``{boundary}:after`` the file appears.
        boundary: name of the write.
    """
    fresh = path.with_name(path.name + ".new")
    fresh.unlink(missing_ok=True)  # a crash before the rename leaves one behind
    descriptor = os.open(fresh, os.O_CREAT | os.O_EXCL | os.O_WRONLY, FILE_MODE)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    observer.reached(f"{boundary}:before")
    fresh.replace(path)
    sync_directory(path.parent)
    observer.reached(f"{boundary}:after")


def touch_private(path: Path) -> None:
    """Creates ``path`` empty with mode 0600 unless it exists."""
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, FILE_MODE))


def sync_directory(directory: Path) -> None:
    """Makes names created or replaced in ``directory`` durable."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _parts(directory: Path) -> list[tuple[Path, int]]:
    files = (*directory.glob(DATABASE_NAME + "*"), *directory.glob(KEY_NAME + "*"))
    return [(directory, DIRECTORY_MODE), *((path, FILE_MODE) for path in sorted(files))]


def _mode(path: Path) -> int:
    try:
        return stat.S_IMODE(path.stat().st_mode)
    except FileNotFoundError:  # a journal that its writer has just removed
        return 0
