"""The manifest: what is in an archive, said before everything else that is in it."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from lifecycle.errors import refuse

VERSION = 1
MANIFEST = "manifest.json"
LARGEST = 2**20
MOST_FILES = 1000

Plane = Literal["vendor", "instance"]
FileName = Annotated[
    str,
    Field(
        max_length=200, pattern=r"^[A-Za-z0-9_-][A-Za-z0-9._-]*(/[A-Za-z0-9_-][A-Za-z0-9._-]*)*$"
    ),
]


class FileFacts(BaseModel):
    """One file of an archive: its size, and SHA-256 in hexadecimal."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    size: int = Field(ge=0)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class Manifest(BaseModel):
    """What an archive holds.

    Attributes:
        plane: whose it is: the vendor's, or an instance's.
        made_at: the instant of the state that is in it, aware UTC.
        made_by: the version of pushcert.
        revision: of the database's schema.
        name: the vendor's name, or the vault's id.
        counts: rows of each table.
        audit_head: hash of the newest entry of the audit log; empty for an instance.
        files: everything else in the archive, by name.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    format: Literal["pushcert-backup"] = "pushcert-backup"
    version: int = VERSION
    plane: Plane
    made_at: AwareDatetime
    made_by: str = Field(max_length=64)
    revision: str = Field(max_length=32)
    name: str = Field(max_length=300)
    counts: dict[str, int]
    audit_head: str = ""
    files: dict[FileName, FileFacts] = Field(max_length=MOST_FILES)

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(facts.size for facts in self.files.values())

    def as_bytes(self) -> bytes:
        """The manifest as it is written."""
        return self.model_dump_json(indent=1).encode() + b"\n"


def read_manifest(data: bytes) -> Manifest:
    """The manifest of an archive.

    Raises:
        Refused: ``backup_damaged``, or ``backup_newer``: a later pushcert wrote it.
    """
    version = re.search(rb'"version":\s*(\d{1,9})', data)
    if version is not None and int(version[1]) > VERSION:
        raise refuse(
            "backup_newer",
            f"The backup is of form {int(version[1])}; this pushcert knows up to {VERSION}.",
            "Upgrade pushcert on this machine to the version that wrote the backup.",
        )
    try:
        return Manifest.model_validate_json(data)
    except ValidationError:
        raise refuse(
            "backup_damaged",
            "The backup has no manifest that could be read.",
            "Take another one: this file was made or altered by something else.",
        ) from None


def require_fit(manifest: Manifest, plane: Plane, newest: str) -> None:
    """Refuses an archive that this plane, or this version, cannot restore.

    Args:
        plane: the one that restores.
        newest: the revision of the schema up to which it knows.

    Raises:
        Refused: ``backup_of_other_plane``, ``backup_newer``.
    """
    if manifest.plane != plane:
        theirs, command = (
            ("the vendor's", "pushcert restore")
            if manifest.plane == "vendor"
            else ("an instance's", "pushcert instance restore")
        )
        raise refuse(
            "backup_of_other_plane",
            f"This backup is {theirs}: it has no place on this side.",
            f"Restore it with `{command}`, where it belongs.",
        )
    if manifest.revision > newest:
        raise refuse(
            "backup_newer",
            f"The backup's schema is at revision {manifest.revision}; this pushcert knows up to"
            f" {newest}.",
            "Upgrade pushcert on this machine to the version that wrote the backup.",
        )


def age_in_words(manifest: Manifest, now: datetime) -> str:
    """How old the state in the archive is: ``5 hours``, ``3 days``."""
    seconds = max(0, int((now - manifest.made_at).total_seconds()))
    for unit, length in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if seconds >= length:
            count = seconds // length
            return f"{count} {unit}{'' if count == 1 else 's'}"
    return "less than a minute"
