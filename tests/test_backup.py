"""`backup` and `restore`, `instance backup` and `instance restore`, from the command line."""

from __future__ import annotations

import io
import json
import os
import shutil
import sqlite3
import stat
import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyrage
import pytest
from typer.testing import CliRunner

from cli.main import app
from lifecycle.backup.sqlite_file import copy_live, counts_of
from lifecycle.config import load_config
from lifecycle.instance.vault import Vault
from lifecycle.rehearsal.disclosure import Search
from lifecycle.rehearsal.secrets_held import keys_in
from lifecycle.vendor.migrations import HEAD, downgrade
from lifecycle.vendor.snapshot import sqlite_url
from tests.deployment import Deployment, deployment

KEY = pyrage.x25519.Identity.generate()
OTHER = pyrage.x25519.Identity.generate()
CONFIG = f'[backup]\nrecipients = ["{KEY.to_public()}"]\n[vendor]\nops = ["ops@vendor.example"]\n'


@dataclass
class World:
    """A deployment with a customer, and a person who has the key of its backups."""

    vendor: Deployment
    key: Path

    def restore(self, file: Path, into: Path, *more: str) -> tuple[int, str, str]:
        """Exit code, what was printed, what was said on stderr."""
        return self.run(into / "config.toml", "restore", str(file), *self.identity, *more)

    @property
    def identity(self) -> tuple[str, str]:
        return "--identity", str(self.key)

    def run(self, config: Path, *arguments: str) -> tuple[int, str, str]:
        result = CliRunner().invoke(app, ["--config", str(config), *arguments])
        return result.exit_code, result.stdout, result.stderr

    def backup(self, file: Path, *more: str) -> Path:
        self.vendor.run("backup", str(file), *more)
        return file


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("backup")
    key = folder / "key.txt"
    key.write_text(f"# made by age-keygen\n{KEY}\n")
    with deployment(folder, CONFIG) as vendor:
        vendor.settle("acme")
        yield World(vendor, key)


@pytest.fixture
def archive(world: World, tmp_path: Path) -> Path:
    return world.backup(tmp_path / "registry.age")


def taken_apart(archive: Path, folder: Path) -> Path:
    """By hand, as a person would with age and tar."""
    with tarfile.open(fileobj=io.BytesIO(pyrage.decrypt(archive.read_bytes(), [KEY]))) as tar:
        tar.extractall(folder)  # noqa: S202  (we made it)
    return folder


def put_together(folder: Path, out: Path) -> Path:
    """The other way round, with a manifest that fits what is in the files now."""
    from lifecycle.backup.places import facts_of

    manifest = json.loads((folder / "manifest.json").read_text())
    for name in manifest["files"]:
        manifest["files"][name] = facts_of(folder / name).model_dump()
    (folder / "manifest.json").write_text(json.dumps(manifest))
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for name in ("manifest.json", *manifest["files"]):
            tar.add(folder / name, name)
    out.write_bytes(pyrage.encrypt(packed.getvalue(), [KEY.to_public()]))
    return out


def rows(path: Path) -> dict[str, list[Any]]:
    with closing(sqlite3.connect(path)) as database:
        return {
            table: sorted(database.execute(f"SELECT * FROM {table}").fetchall(), key=repr)
            for table in counts_of(path)
        }


def files_in(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def test_a_restored_registry_is_the_one_that_was_saved_and_says_so_in_its_log(
    world: World, archive: Path, tmp_path: Path
) -> None:
    code, said, _ = world.restore(archive, tmp_path / "new", "--offline")
    assert code == 4, "the signer's key is not in the backup, and doctor says so"
    assert "every certificate and the audit log in order" in said
    assert "BAD signer" in said
    before = rows(world.vendor.directory / "vendor.sqlite")
    after = rows(tmp_path / "new" / "vendor.sqlite")
    added = [row for row in after["audit"] if row not in before["audit"]]
    assert [(row[2].partition(":")[0], row[3]) for row in added] == [
        ("operator", "registry_restored")
    ]
    for table in set(before) - {"audit", "audit_head"}:
        assert after[table] == before[table], table
    assert "whole" in world.run(tmp_path / "new" / "config.toml", "audit", "verify")[1]


def test_what_is_restored_is_for_its_owner_alone(
    world: World, archive: Path, tmp_path: Path
) -> None:
    world.restore(archive, tmp_path / "new", "--offline")
    assert stat.S_IMODE(archive.stat().st_mode) == 0o600
    assert files_in(tmp_path / "new") == {"config.toml", "vendor.sqlite"}
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o700
    for path in (tmp_path / "new").iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_with_keys_the_restored_deployment_signs_and_is_well(world: World, tmp_path: Path) -> None:
    archive = world.backup(tmp_path / "all.age", "--with-keys")
    code, said, _ = world.restore(archive, tmp_path / "new")
    assert code == 0, said
    assert "ok  signing key" in said
    for path in (tmp_path / "new" / "signer").rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0
    config = tmp_path / "new" / "config.toml"
    world.run(config, "customer", "add", "birch", "--name", "B", "--email", "it@b.example")
    code, said, _ = world.run(config, "renew", "birch")
    assert code == 0
    assert world.run(config, "request", "birch")[1]


def test_the_vendors_backup_holds_nothing_of_a_vault_and_no_key_unless_asked(
    world: World, archive: Path, tmp_path: Path
) -> None:
    parts = taken_apart(archive, tmp_path / "parts")
    assert files_in(parts) == {"manifest.json", "registry.sqlite", "config.toml"}
    secrets = []
    for slug in ("acme", "vendor-canary"):
        with Vault.open(world.vendor.directory / "instances" / slug) as vault:
            secrets += keys_in(vault, slug)
    assert secrets
    assert Search(secrets).in_files([parts]) == []
    assert Search(secrets).in_bytes("the archive", archive.read_bytes()) == []


def test_age_itself_opens_a_backup_and_what_is_in_it_is_a_database(
    world: World, archive: Path, tmp_path: Path
) -> None:
    """As docs/backup.md says: with age's own program (not the library we use), and tar."""
    plain = subprocess.run(
        ["age", "-d", "-i", str(world.key), str(archive)], capture_output=True, check=True
    ).stdout
    subprocess.run(["tar", "xz", "-C", str(tmp_path)], input=plain, check=True)
    assert rows(tmp_path / "registry.sqlite") == rows(world.vendor.directory / "vendor.sqlite")


def test_json_says_everything_in_one_document(world: World, tmp_path: Path) -> None:
    file = tmp_path / "b.age"
    made = world.vendor.json("backup", str(file))
    assert made["verified"] is True
    assert made["customers"] == 2
    code, said, _ = world.restore(file, tmp_path / "new", "--offline", "--json")
    done = json.loads(said)
    assert code == 4
    assert done["audit_head"] == made["audit_head"]
    assert done["taken_as_sent"] == []
    assert {line["what"] for line in done["doctor"]} >= {"signer", "audit log"}


def test_a_backup_is_of_one_instant_while_others_write(world: World, tmp_path: Path) -> None:
    """A process adds customers in pairs, each pair in one transaction, as fast as it can."""
    source = tmp_path / "busy.sqlite"
    shutil.copy(world.vendor.directory / "vendor.sqlite", source)
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        _add_pairs(source, writing)
    os.close(writing)
    try:
        seen = []
        for number in range(12):
            os.read(reading, 5)  # it is at work, and goes on
            copy = tmp_path / f"copy-{number}.sqlite"
            copy_live(source, copy)
            with closing(sqlite3.connect(copy)) as database:
                assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
                seen.append(database.execute("SELECT count(*) FROM bounce").fetchone()[0])
            assert not list(tmp_path.glob(f"copy-{number}.sqlite-*"))
    finally:
        os.kill(pid, 9)
        os.waitpid(pid, 0)
        os.close(reading)
    assert all(count % 2 == 0 for count in seen), seen
    assert seen == sorted(seen)
    assert seen[-1] > seen[0]


def _add_pairs(source: Path, writing: int) -> None:
    database = sqlite3.connect(source, isolation_level=None, timeout=30)
    number = 0
    while True:
        database.execute("BEGIN IMMEDIATE")
        for half in ("a", "b"):
            address = f"{number}{half}@x.example"
            database.execute("INSERT INTO bounce VALUES (?, '2027-01-01', 'no')", (address,))
        database.execute("COMMIT")
        number += 1
        os.write(writing, b".")


def test_a_restore_overwrites_nothing(world: World, archive: Path, tmp_path: Path) -> None:
    for companion in ("vendor.sqlite", "vendor.sqlite-wal"):
        place = tmp_path / companion
        place.mkdir()
        (place / companion).write_text("mine")
        code, _, said = world.restore(archive, place)
        assert code == 3
        assert "[restore_not_empty]" in said
        assert files_in(place) == {companion}
        assert (place / companion).read_text() == "mine"


def test_a_signer_of_another_deployment_stays(world: World, tmp_path: Path) -> None:
    archive = world.backup(tmp_path / "all.age", "--with-keys")
    place = tmp_path / "new"
    (place / "signer").mkdir(parents=True)
    (place / "signer" / "current").write_text("another")
    code, _, said = world.restore(archive, place)
    assert code == 3
    assert "[restore_not_empty]" in said
    assert files_in(place) == {"signer", "signer/current"}


def test_a_configuration_that_is_there_is_kept_and_decides_where_things_go(
    world: World, archive: Path, tmp_path: Path
) -> None:
    place = tmp_path / "new"
    place.mkdir()
    theirs = world.vendor.config.read_text().replace(
        "[vendor]\n", '[vendor]\ndatabase = "sqlite:///data/books.sqlite"\n'
    )
    (place / "config.toml").write_text(theirs)
    world.restore(archive, place, "--offline")
    assert files_in(place) == {"config.toml", "data", "data/books.sqlite"}
    assert (place / "config.toml").read_text() == theirs


def test_check_looks_at_everything_and_writes_nothing(
    world: World, archive: Path, tmp_path: Path
) -> None:
    code, said, _ = world.restore(archive, tmp_path / "new", "--check")
    assert code == 0
    assert "The backup is whole" in said
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("harm", "code"),
    [
        ("UPDATE audit SET actor = 'nobody' WHERE seq = 2", "audit_log_broken"),
        ("DELETE FROM audit WHERE seq = (SELECT max(seq) FROM audit)", "audit_log_broken"),
        (
            "UPDATE certificate SET topic = 'com.apple.mgmt.X' WHERE id = 1",
            "certificate_row_damaged",
        ),
        ("UPDATE certificate SET der = x'3000' WHERE id = 1", "certificate_row_damaged"),
        ("UPDATE signer SET chain = 'nothing'", "signer_row_damaged"),
        (
            "UPDATE claim SET customer_id = 3 - customer_id WHERE kind = 'key'",
            "certificate_row_damaged",
        ),
        ("DELETE FROM customer WHERE id = 1", "backup_damaged"),
    ],
)
def test_a_registry_that_was_changed_by_hand_is_not_restored(
    world: World, archive: Path, tmp_path: Path, harm: str, code: str
) -> None:
    parts = taken_apart(archive, tmp_path / "parts")
    with closing(sqlite3.connect(parts / "registry.sqlite")) as database:
        database.execute(harm)
        database.commit()
        counted = counts_of(parts / "registry.sqlite")
    if code != "backup_damaged":
        manifest = json.loads((parts / "manifest.json").read_text())
        (parts / "manifest.json").write_text(json.dumps({**manifest, "counts": counted}))
    status, _, said = world.restore(put_together(parts, tmp_path / "b.age"), tmp_path / "new")
    assert status == 3
    assert code in said or "backup_database_damaged" in said
    assert not (tmp_path / "new").exists()


def test_a_backup_of_a_registry_that_was_changed_is_written_and_needs_a_person(
    world: World, tmp_path: Path
) -> None:
    place = tmp_path / "changed"
    shutil.copytree(world.vendor.directory, place)
    with closing(sqlite3.connect(place / "vendor.sqlite")) as database:
        database.execute("UPDATE audit SET actor = 'nobody' WHERE seq = 2")
        database.commit()
    code, _, said = world.run(place / "config.toml", "backup", str(tmp_path / "b.age"))
    assert code == 4
    assert "The audit log is not whole" in said
    assert (tmp_path / "b.age").exists()


def test_a_backup_of_an_earlier_version_is_brought_up_to_this_one(
    world: World, archive: Path, tmp_path: Path
) -> None:
    parts = taken_apart(archive, tmp_path / "parts")
    registry = parts / "registry.sqlite"
    downgrade(sqlite_url(registry), "0002")
    with closing(sqlite3.connect(registry)) as database:
        database.execute("PRAGMA journal_mode = DELETE").fetchall()
    manifest = json.loads((parts / "manifest.json").read_text())
    manifest |= {"revision": "0002", "counts": counts_of(registry)}
    (parts / "manifest.json").write_text(json.dumps(manifest))
    code, said, _ = world.restore(
        put_together(parts, tmp_path / "b.age"), tmp_path / "new", "--offline"
    )
    assert code == 4, said
    assert f"at revision {HEAD}" in said


def test_a_backup_of_a_later_version_is_refused(
    world: World, archive: Path, tmp_path: Path
) -> None:
    parts = taken_apart(archive, tmp_path / "parts")
    manifest = json.loads((parts / "manifest.json").read_text())
    (parts / "manifest.json").write_text(json.dumps({**manifest, "revision": "9999"}))
    code, _, said = world.restore(put_together(parts, tmp_path / "b.age"), tmp_path / "new")
    assert code == 3
    assert "[backup_newer]" in said
    assert not (tmp_path / "new").exists()


def test_a_passphrase_comes_from_a_source_and_is_in_no_output(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PUSHCERT_BACKUP", "correct horse")
    monkeypatch.setenv("WRONG", "battery staple")
    file = tmp_path / "b.age"
    world.backup(file, "--passphrase-from", "env:PUSHCERT_BACKUP")
    new = tmp_path / "new" / "config.toml"
    code, out, said = world.run(new, "restore", str(file), "--passphrase-from", "env:WRONG")
    assert code == 3
    assert "[backup_passphrase_wrong]" in said
    assert not new.parent.exists()
    code, _, said = world.run(new, "restore", str(file), "--passphrase-from", "correct horse")
    assert code == 3
    assert "[passphrase_source_unknown]" in said
    assert "horse" not in said + out
    code, _, said = world.run(new, "restore", str(file), *world.identity)
    assert "[backup_passphrase_needed]" in said
    code, _, _ = world.run(
        new, "restore", str(file), "--offline", "--passphrase-from", "env:PUSHCERT_BACKUP"
    )
    assert code == 4


def test_nothing_is_written_in_the_clear(world: World, tmp_path: Path) -> None:
    place = tmp_path / "other"
    shutil.copytree(world.vendor.directory, place)
    text = (place / "config.toml").read_text()
    (place / "config.toml").write_text(text.replace("[backup]\nrecipients", "[backup]\n# r"))
    code, _, said = world.run(place / "config.toml", "backup", str(tmp_path / "b.age"))
    assert code == 3
    assert "[backup_without_key]" in said
    assert not (tmp_path / "b.age").exists()
    code, _, said = world.run(
        place / "config.toml", "backup", str(tmp_path / "b.age"), "--recipient", "age1x"
    )
    assert "[backup_recipient_malformed]" in said


def test_a_backup_that_cannot_be_written_leaves_nothing(world: World, tmp_path: Path) -> None:
    code, _, said = world.run(
        world.vendor.config, "backup", str(tmp_path / "missing" / "registry.age")
    )
    assert code == 3
    assert "[file_unwritable]" in said
    assert not list(world.vendor.directory.glob(".pushcert-*"))


def test_a_vault_is_restored_with_everything_sealed_as_it_was(world: World, tmp_path: Path) -> None:
    file = tmp_path / "acme.age"
    code, _, notes = world.run(
        world.vendor.config, "instance", "backup", str(file), "--customer", "acme"
    )
    assert code == 0
    assert "vault.key is not in it" in notes
    vault = world.vendor.directory / "instances" / "acme"
    with Vault.open(vault) as held:
        secrets = keys_in(held, "acme")
        fingerprint = held.require_active().certificate.fingerprint
    assert Search(secrets).in_files([taken_apart(file, tmp_path / "parts")]) == []

    config = tmp_path / "new" / "config.toml"
    config.parent.mkdir()
    shutil.copy(world.vendor.config, config)
    code, said, notes = world.run(
        config, "instance", "restore", str(file), "--customer", "acme", *world.identity
    )
    assert code == 0
    assert "[vault_key_missing]" in notes
    restored = config.parent / "instances" / "acme"
    assert rows(restored / "vault.sqlite") == rows(vault / "vault.sqlite")
    for path in (restored, restored / "vault.sqlite"):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0
    shutil.copy(vault / "vault.key", restored / "vault.key")
    with Vault.open(restored) as held:
        assert held.require_active().certificate.fingerprint == fingerprint
        held.private_key(held.require_active())
    code, _, said = world.run(
        config, "instance", "restore", str(file), "--customer", "acme", *world.identity
    )
    assert code == 3
    assert "[restore_not_empty]" in said


def test_with_its_key_a_restored_vault_can_be_opened_at_once(world: World, tmp_path: Path) -> None:
    file = tmp_path / "acme.age"
    made = world.vendor.json("instance", "backup", str(file), "--customer", "acme", "--with-key")
    assert made["files"] == ["vault.key", "vault.sqlite"]
    config = tmp_path / "new" / "config.toml"
    config.parent.mkdir()
    shutil.copy(world.vendor.config, config)
    code, said, _ = world.run(
        config, "instance", "restore", str(file), "--customer", "acme", *world.identity
    )
    assert code == 0
    assert "Every key and token in it can be opened." in said
    assert files_in(config.parent / "instances") == {"acme", "acme/vault.key", "acme/vault.sqlite"}


def test_a_vault_whose_key_is_another_or_whose_seal_was_broken_is_not_restored(
    world: World, tmp_path: Path
) -> None:
    file = tmp_path / "acme.age"
    world.vendor.run("instance", "backup", str(file), "--customer", "acme", "--with-key")
    config = tmp_path / "new" / "config.toml"
    config.parent.mkdir()
    shutil.copy(world.vendor.config, config)
    harms: dict[str, tuple[str, str | bytes]] = {
        "vault_key_wrong": ("vault.key", b"00" * 32),
        "sealed_value_damaged": ("vault.sqlite", "UPDATE device SET sealed_token = x'01'"),
        "certificate_row_damaged": ("vault.sqlite", "UPDATE certificate SET fingerprint = 'x'"),
    }
    for code, (name, harm) in harms.items():
        parts = taken_apart(file, tmp_path / code)
        if isinstance(harm, bytes):
            (parts / name).write_bytes(harm)
        else:
            with closing(sqlite3.connect(parts / name)) as database:
                database.execute(harm)
                database.commit()
        changed = put_together(parts, tmp_path / f"{code}.age")
        status, _, said = world.run(
            config, "instance", "restore", str(changed), "--customer", "acme", *world.identity
        )
        assert status == 3
        assert f"[{code}]" in said
        assert not (config.parent / "instances" / "acme").exists()


def test_neither_plane_takes_the_backup_of_the_other(
    world: World, archive: Path, tmp_path: Path
) -> None:
    vault = tmp_path / "acme.age"
    world.vendor.run("instance", "backup", str(vault), "--customer", "acme")
    code, _, said = world.restore(vault, tmp_path / "new")
    assert code == 3
    assert "[backup_of_other_plane]" in said
    code, _, said = world.run(
        world.vendor.config,
        *("instance", "restore", str(archive), "--customer", "birch", *world.identity),
    )
    assert code == 3
    assert "[backup_of_other_plane]" in said
    assert not (world.vendor.directory / "instances" / "birch").exists()
    assert load_config(world.vendor.config).backup.recipients
