"""The vendor's backup: its registry and configuration, and its keys where that is asked for.

Nothing of a vault is in it: those belong to the instances (``lifecycle.instance.vault_backup``).
Everything is the database's own work at one instant, while the deployment goes on.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from lifecycle.backup.archive import Opened, write_archive
from lifecycle.backup.encryption import Encryption
from lifecycle.backup.manifest import Manifest
from lifecycle.backup.places import scratch
from lifecycle.backup.sqlite_file import counts_of, require_whole, revision_of, settle
from lifecycle.config import CONFIG_NAME, Config
from lifecycle.disk import naming_disk_trouble
from lifecycle.errors import Finding, refuse
from lifecycle.vendor.database import Database
from lifecycle.vendor.migrations import HEAD
from lifecycle.vendor.snapshot import (
    sqlite_url,
    take_snapshot,
)
from lifecycle.vendor.soundness import examine
from lifecycle.vendor_side import VendorSide

REGISTRY = "registry.sqlite"
SIGNER = "signer"
EVIDENCE = "evidence-key"


@dataclass(frozen=True, slots=True)
class BackedUp:
    """A backup that was written and verified.

    Attributes:
        manifest: what is in it.
        findings: what is wrong in the registry itself; it is in the backup as it is.
    """

    manifest: Manifest
    findings: tuple[Finding, ...]


def back_up(
    side: VendorSide, config_file: Path, out: Path, encryption: Encryption, *, keys: bool
) -> BackedUp:
    """Writes a backup of the vendor's plane, mode 0600, and verifies what was written.

    Args:
        side: the vendor's plane; its database at the newest revision.
        config_file: the configuration, which is part of it.
        out: the archive; replaced once the new one has been verified.
        encryption: who can open it.
        keys: the signer's directory and the evidence key as well, as they are on the disk.

    Raises:
        Refused: as ``write_archive``. Unavailable: the database or the disk.
    """
    at = side.clock.now()
    found: list[Finding] = []
    with scratch(side.config.base) as folder, naming_disk_trouble(f"The folder {folder.parent}"):
        snapshot = folder / REGISTRY
        take_snapshot(side.database, snapshot)
        parts = {REGISTRY: snapshot, CONFIG_NAME: config_file}
        if keys:
            parts |= _keys(side.config)
        head, broken = examined(snapshot)
        found += broken
        about = Manifest(
            plane="vendor",
            made_at=at,
            made_by=version("pushcert"),
            revision=HEAD,
            name=side.config.vendor.name,
            counts=counts_of(snapshot),
            audit_head=head,
            files={},
        )
        made = write_archive(out, about, parts, encryption, folder, _verify)
    return BackedUp(made, tuple(found))


def _keys(config: Config) -> dict[str, Path]:
    signer, evidence = config.path(config.signer.directory), config.path(config.evidence.key)
    found = {
        f"{SIGNER}/{path.relative_to(signer).as_posix()}": path
        for path in sorted(signer.rglob("*"))
        if path.is_file() and not path.name.startswith(".")
    }
    if evidence.is_file():
        found[EVIDENCE] = evidence
    return found


def examined(registry: Path) -> tuple[str, tuple[Finding, ...]]:
    """The newest hash of a registry's audit log, and everything that is not as it was written."""
    database = Database(sqlite_url(registry))
    try:
        with database.reading() as session:
            log, findings = examine(session)
    finally:
        database.close()
    settle(registry)
    return log.head, findings


def _verify(opened: Opened) -> None:
    """What was read back is whole, and is the state that was to be saved."""
    require_as_said(opened)
    head, _ = examined(opened.file(REGISTRY))
    if head != opened.manifest.audit_head:
        raise refuse(
            "backup_damaged",
            "The backup that was written does not end with the audit entry that it should.",
            "Take it again; if that does not help, its disk is failing.",
        )


def require_as_said(opened: Opened) -> None:
    """The registry is there, whole, of the revision and the size that the manifest says."""
    manifest = opened.manifest
    if REGISTRY not in manifest.files or CONFIG_NAME not in manifest.files:
        raise refuse(
            "backup_damaged", "The backup holds no registry.", "Take another one; this is none."
        )
    registry = opened.file(REGISTRY)
    require_whole(registry)
    if revision_of(registry) != manifest.revision or counts_of(registry) != manifest.counts:
        raise refuse(
            "backup_damaged",
            "The registry in the backup is not the one that its manifest describes.",
            "Take another one: this file was made or altered by something else.",
        )
