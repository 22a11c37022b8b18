"""Restoring the vendor's backup: into an empty place, checked first, all of it or nothing."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from lifecycle.backup.archive import Opened, open_archive
from lifecycle.backup.encryption import Opener
from lifecycle.backup.manifest import Manifest, require_fit
from lifecycle.backup.places import is_same, make_private_folder, move_in, occupied, scratch
from lifecycle.backup.sqlite_file import settle
from lifecycle.clock import Clock
from lifecycle.config import CONFIG_NAME, Config, load_config
from lifecycle.disk import naming_disk_trouble
from lifecycle.errors import Finding, raise_for
from lifecycle.registry_backup import EVIDENCE, REGISTRY, SIGNER, examined, require_as_said
from lifecycle.registry_database import configured_database
from lifecycle.vendor.database import Database
from lifecycle.vendor.lost_time import TakenAsSent, pass_over
from lifecycle.vendor.migrations import HEAD, upgrade
from lifecycle.vendor.restores import LostTime
from lifecycle.vendor.snapshot import file_of, put_rows, require_empty, sqlite_url
from lifecycle.vendor_side import VendorSide


@dataclass(frozen=True, slots=True)
class Restored:
    """A backup that was restored, or looked through.

    Attributes:
        manifest: what was in it.
        lost: the time that was not.
        taken: what is not sent because it fell due in that time.
        placed: the files that were made.
        config: by which the restored deployment works.
    """

    manifest: Manifest
    lost: LostTime
    taken: tuple[TakenAsSent, ...]
    placed: tuple[Path, ...]
    config: Config


def look_through(source: Path, opener: Opener, folder: Path) -> tuple[Opened, tuple[Finding, ...]]:
    """Opens a backup and checks everything in it.

    Returns:
        The archive, with its registry at the newest revision; and what is wrong in the registry.

    Raises:
        Refused: as ``open_archive`` and ``require_fit``; ``backup_database_damaged``,
            ``backup_damaged``.
    """
    opened = open_archive(source, opener, folder)
    require_fit(opened.manifest, "vendor", HEAD)
    require_as_said(opened)
    registry = opened.file(REGISTRY)
    if opened.manifest.revision != HEAD:
        upgrade(sqlite_url(registry))
    _, findings = examined(registry)
    return opened, findings


def restore(
    config_file: Path,
    source: Path,
    opener: Opener,
    clock: Clock,
    *,
    lost_until: datetime | None,
    actor: str,
    dry_run: bool = False,
) -> Restored:
    """Restores a backup into an empty place; all of it or nothing.

    The registry takes its place last: until then there is no deployment.

    Args:
        config_file: the configuration to restore by. Where it is missing, the backup's own is
            put there; files that it names are taken from its folder.
        source: the archive.
        opener: what may open it.
        clock: the host's.
        lost_until: when the lost deployment sent its last message; None: up to now. What fell due
            until then is taken as sent.
        actor: who restores, for the audit log.
        dry_run: open and check everything, and write nothing.

    Raises:
        Refused: as ``look_through``; ``audit_log_broken``, ``certificate_row_damaged``,
            ``signer_row_damaged``, ``restore_not_empty``, ``restore_row_unfit``. Nothing was
            written.
        Unavailable: the disk, or the database's server. Nothing was written.
    """
    with (
        naming_disk_trouble(f"The folder {config_file.absolute().parent}"),
        _folder_of(config_file, dry_run) as base,
        scratch(base) as folder,
    ):
        opened, findings = look_through(source, opener, folder)
        raise_for(findings)
        config = _config(config_file, opened)
        database = configured_database(config)
        try:
            files = _placed(opened, config, config_file)
            if not dry_run:
                _require_room(database, files)
            now, since = clock.now(), opened.manifest.made_at
            lost = LostTime(since, max(since, now if lost_until is None else lost_until))
            taken = _pass_over(opened.file(REGISTRY), config, clock, lost, actor)
            placed = () if dry_run else _place(opened, files, database)
        finally:
            database.close()
    return Restored(opened.manifest, lost, tuple(taken), placed, config)


def _config(config_file: Path, opened: Opened) -> Config:
    if config_file.exists():
        return load_config(config_file)
    config = load_config(opened.file(CONFIG_NAME))
    return config.model_copy(update={"base": config_file.absolute().parent})


def _placed(opened: Opened, config: Config, config_file: Path) -> dict[Path, Path]:
    """Where each file beside the registry goes; without those that are there already."""
    signer = config.path(config.signer.directory)
    found: dict[Path, Path] = {}
    for name in opened.manifest.files:
        kind, _, rest = name.partition("/")
        if kind == SIGNER and rest:
            found[opened.file(name)] = signer / rest
        elif name == EVIDENCE:
            found[opened.file(name)] = config.path(config.evidence.key)
        elif name == CONFIG_NAME and not config_file.exists():
            found[opened.file(name)] = config_file
    return {staged: target for staged, target in found.items() if not is_same(staged, target)}


def _require_room(database: Database, files: Mapping[Path, Path]) -> None:
    require_empty(database)
    for target in files.values():
        if target.exists():
            raise occupied(target)


def _pass_over(
    registry: Path, config: Config, clock: Clock, lost: LostTime, actor: str
) -> list[TakenAsSent]:
    vendor = config.vendor.model_copy(update={"database": sqlite_url(registry)})
    staged = VendorSide(config.model_copy(update={"vendor": vendor}), clock)
    with staged as side, side.database.transaction() as session:
        taken = pass_over(
            session, side.policy, side.digest_schedule, lost, at=clock.now(), actor=actor
        )
    settle(registry)
    return taken


def _place(opened: Opened, files: Mapping[Path, Path], database: Database) -> tuple[Path, ...]:
    """Puts everything where it belongs, the registry last; nothing stays where one part fails."""
    placed: list[Path] = []
    try:
        for staged, target in files.items():
            move_in(staged, target)
            placed.append(target)
        path = file_of(database)
        if path is None:
            put_rows(opened.file(REGISTRY), database)
        else:
            move_in(opened.file(REGISTRY), path)
            placed.append(path)
    except BaseException:
        for target in placed:
            target.unlink()
        raise
    return tuple(placed)


@contextmanager
def _folder_of(config_file: Path, dry_run: bool) -> Iterator[Path]:
    """The folder that is restored into, made if it is missing; gone again where nothing was.

    For a look into a backup that is a temporary one: what is not there is not made.
    """
    folder = config_file.absolute().parent
    if folder.is_dir():
        yield folder
    elif dry_run:
        yield Path(tempfile.gettempdir())
    else:
        make_private_folder(folder)
        try:
            yield folder
        finally:
            if not any(folder.iterdir()):
                folder.rmdir()
