"""The archive: a compressed tar file under age's encryption, the manifest first.

``age -d FILE | tar xz`` takes one apart without anything of ours. Reading one trusts nothing that
it says before it is checked: whoever knows a recipient can make an archive for it.
"""

from __future__ import annotations

import hashlib
import shutil
import tarfile
import zlib
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from lifecycle.backup.encryption import Encryption, Opener, decrypt_file, encrypt_file
from lifecycle.backup.manifest import LARGEST, MANIFEST, Manifest, read_manifest
from lifecycle.backup.places import facts_of, make_private_folder, private_file, sync_folder
from lifecycle.disk import DiskFull, naming_disk_trouble
from lifecycle.errors import Refused, refuse

_PIECE = 2**20


@dataclass(frozen=True, slots=True)
class Opened:
    """An archive that has been taken apart: what it says, and the folder with its files."""

    manifest: Manifest
    folder: Path

    def file(self, name: str) -> Path:
        """Where a file of the archive lies."""
        return self.folder / name


def write_archive(
    out: Path,
    about: Manifest,
    parts: Mapping[str, Path],
    encryption: Encryption,
    scratch: Path,
    verify: Callable[[Opened], None],
) -> Manifest:
    """Writes an archive, mode 0600; it takes its name once what was written has been verified.

    Args:
        out: replaced, in the end, if it is there.
        about: the manifest; its files are filled in here.
        parts: the files by their names in the archive.
        encryption: for whom.
        scratch: a private folder with room for the files twice.
        verify: looks into what was read back; raises where it is not what it should be.

    Raises:
        Refused: as ``encrypt_file`` and ``verify``; ``file_unwritable``.
        Unavailable: ``disk_full``, ``disk_read_only``; what was there before is still there.
    """
    manifest = about.model_copy(
        update={"files": {name: facts_of(path) for name, path in parts.items()}}
    )
    new = out.with_name(f".{out.name}.new")
    try:
        with naming_disk_trouble(f"The backup {out}"):
            packed = scratch / "packed.tar.gz"
            _pack(packed, manifest, parts)
            with private_file(new) as file:
                opener = encrypt_file(packed, file, encryption)
            packed.unlink()
            read_back = scratch / "read-back"
            read_back.mkdir(mode=0o700)
            verify(open_archive(new, opener, read_back))
            shutil.rmtree(read_back)
            new.replace(out)
            sync_folder(out.parent)
    except OSError as error:
        raise refuse(
            "file_unwritable",
            f"{out} cannot be written ({error.strerror}).",
            "Choose another place for the backup.",
        ) from None
    finally:
        _forget(new)
    return manifest


def open_archive(source: Path, opener: Opener, folder: Path) -> Opened:
    """Takes an archive apart, and checks everything that its manifest says of its files.

    Args:
        source: the archive.
        opener: what may open it.
        folder: empty and private; what is in it counts for nothing where this raises.

    Raises:
        Refused: as ``decrypt_file`` and ``read_manifest``; ``backup_damaged``.
        Unavailable: the disk has no room for it.
    """
    plain = folder / "plain.tar.gz"
    with naming_disk_trouble(f"The folder {folder}"):
        with private_file(plain) as file:
            decrypt_file(source, file, opener)
        try:
            opened = _unpack(plain, folder / "files")
        except (tarfile.TarError, EOFError, zlib.error) as error:
            raise _damaged(f"it is no archive ({type(error).__name__})") from None
        except OSError as error:
            if error.errno is None:  # of the decompression, not of the system
                raise _damaged("it is no archive") from None
            raise
    plain.unlink()
    return opened


def _pack(packed: Path, manifest: Manifest, parts: Mapping[str, Path]) -> None:
    with private_file(packed) as file, tarfile.open(fileobj=file, mode="w:gz") as tar:
        said = manifest.as_bytes()
        tar.addfile(_entry(MANIFEST, len(said)), BytesIO(said))
        for name, path in parts.items():
            with path.open("rb") as data:
                tar.addfile(_entry(name, manifest.files[name].size), data)


def _entry(name: str, size: int) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = size, 0o600
    return entry


def _unpack(plain: Path, folder: Path) -> Opened:
    folder.mkdir(mode=0o700)
    with tarfile.open(plain, mode="r|gz") as tar:
        manifest = _manifest(tar)
        _require_room(folder, manifest.size)
        missing = set(manifest.files)
        while (entry := tar.next()) is not None:
            if not entry.isreg() or entry.name not in missing:
                raise _damaged("a file is in it that its manifest does not name")
            missing.remove(entry.name)
            _extract(tar, entry, manifest, folder)
    if missing:
        raise _damaged(f"{len(missing)} of its files are missing")
    return Opened(manifest, folder)


def _manifest(tar: tarfile.TarFile) -> Manifest:
    entry = tar.next()
    data = None if entry is None or not entry.isreg() else tar.extractfile(entry)
    if entry is None or data is None or entry.name != MANIFEST or entry.size > LARGEST:
        raise _damaged("it does not begin with a manifest")
    return read_manifest(data.read())


def _extract(
    tar: tarfile.TarFile, entry: tarfile.TarInfo, manifest: Manifest, folder: Path
) -> None:
    said = manifest.files[entry.name]
    data = tar.extractfile(entry)
    if data is None or entry.size != said.size:
        raise _damaged(f"{entry.name} has not the size that its manifest says")
    target = folder / entry.name
    make_private_folder(target.parent)
    digest = hashlib.sha256()
    with private_file(target) as file:
        while piece := data.read(_PIECE):
            digest.update(piece)
            file.write(piece)
    if digest.hexdigest() != said.sha256:
        raise _damaged(f"{entry.name} is not what its manifest says")


def _require_room(folder: Path, size: int) -> None:
    free = shutil.disk_usage(folder).free
    if size > free:
        raise DiskFull(
            f"The backup holds {size // 2**20} MiB, and {free // 2**20} MiB are free here.",
            "Make room, or restore to another disk.",
        )


def _damaged(why: str) -> Refused:
    return refuse(
        "backup_damaged",
        f"The backup cannot be used: {why}.",
        "Take another one: this file was made or altered by something else.",
    )


def _forget(new: Path) -> None:
    # A disk that has gone read-only keeps it: it is encrypted, and in nobody's way.
    with suppress(OSError):
        new.unlink(missing_ok=True)
