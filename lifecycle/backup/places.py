"""Where files of a backup lie while they are worked on, and how they get to where they belong.

Nothing half-written is ever in a place that counts: files are made in a private folder beside it
(mode 0700, files 0600) and renamed, and the folder is gone afterwards.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from lifecycle.backup.manifest import FileFacts
from lifecycle.disk import naming_disk_trouble
from lifecycle.errors import refuse

_PIECE = 2**20


@contextmanager
def scratch(beside: Path) -> Iterator[Path]:
    """A private folder in ``beside``, for the length of the block.

    Raises:
        Unavailable: the disk is full or read-only.
        Refused: ``file_unwritable``.
    """
    try:
        with naming_disk_trouble(f"The folder {beside}"):
            folder = Path(tempfile.mkdtemp(prefix=".pushcert-", dir=beside))
    except OSError as error:
        raise refuse(
            "file_unwritable",
            f"No file can be made in {beside} ({error.strerror}).",
            "Choose another place, or mend the permissions of this one.",
        ) from None
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def private_file(path: Path) -> Iterator[BinaryIO]:
    """A new file of mode 0600, durable at the end of the block; one in its place is removed."""
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())


def make_private_folder(folder: Path) -> None:
    """Makes a folder and those above it that are missing; each has mode 0700."""
    missing = [folder, *folder.parents]
    for one in reversed([path for path in missing if not path.exists()]):
        one.mkdir(mode=0o700, exist_ok=True)


def copy_private(source: Path, target: Path) -> None:
    """Copies a file; the copy has mode 0600 from its first byte."""
    make_private_folder(target.parent)
    with source.open("rb") as data, private_file(target) as file:
        shutil.copyfileobj(data, file, _PIECE)


def move_in(staged: Path, target: Path) -> None:
    """Puts a file where it belongs, whole or not at all; the folder is made if it is missing.

    Raises:
        Refused: ``restore_not_empty``, something is there.
    """
    if target.exists():
        raise occupied(target)
    make_private_folder(target.parent)
    try:
        staged.rename(target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        near = target.with_name(f".{target.name}.new")  # the place is on another disk
        copy_private(staged, near)
        near.rename(target)
    sync_folder(target.parent)


def occupied(target: Path) -> Exception:
    """The refusal of a place in which there is something."""
    return refuse(
        "restore_not_empty",
        f"{target} is there already, and a restore overwrites nothing.",
        "Restore into an empty folder, or move what is there out of the way first.",
    )


def sync_folder(folder: Path) -> None:
    """Makes the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def facts_of(path: Path) -> FileFacts:
    """Size and digest of a file."""
    digest = hashlib.sha256()
    size = 0
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            digest.update(piece)
            size += len(piece)
    return FileFacts(size=size, sha256=digest.hexdigest())


def is_same(one: Path, other: Path) -> bool:
    """Whether two files hold the same bytes."""
    return other.is_file() and facts_of(one) == facts_of(other)
