"""The quick reader of a vault reads what the vault does, and leaves the odd ones to it."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.population import populate
from lifecycle.instance import migrations
from lifecycle.instance.paths import database_path, key_path
from lifecycle.instance.probe_kit import REVISION, LeaveToVault, read_kit
from lifecycle.instance.vault import Vault


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    made = populate(tmp_path / "fleet", 1, apns_port=1)
    return made.directory / "instances" / made.slugs[0]


def test_it_reads_what_the_vault_reads_and_changes_no_byte(directory: Path) -> None:
    before = {path: path.read_bytes() for path in directory.iterdir()}
    kit = read_kit(directory, None)
    with Vault.open(directory) as vault:
        active = vault.require_active()
        (known,) = vault.devices.all()
        device = vault.devices.open(known.udid)
        assert kit.fingerprint == active.certificate.fingerprint
        assert kit.topic == active.certificate.topic
        assert kit.certificate == active.certificate.certificate
        assert kit.key.private_numbers() == vault.private_key(active).private_numbers()
        assert (kit.token, kit.push_magic) == (device.token, device.push_magic)
        assert kit.token_fingerprints == vault.devices.token_fingerprints()
    assert {path: path.read_bytes() for path in directory.iterdir()} == before
    assert kit.token.hex not in repr(kit)


def test_it_knows_the_vaults_newest_revision() -> None:
    assert REVISION == migrations.HEAD


def test_what_is_out_of_the_ordinary_is_left_to_the_vault(directory: Path) -> None:
    path, key = database_path(directory), key_path(directory)
    original = path.read_bytes()
    path.chmod(0o644)
    with pytest.raises(LeaveToVault):
        read_kit(directory, None)
    path.chmod(0o600)
    for damaged in (b"", b"not a database", original[:5000]):
        path.write_bytes(damaged)
        with pytest.raises(LeaveToVault):
            read_kit(directory, None)
    path.write_bytes(original)
    for wrong in (b"", b"00" * 32, b"zz"):
        key.write_bytes(wrong)
        with pytest.raises(LeaveToVault):
            read_kit(directory, None)
    with pytest.raises(LeaveToVault):
        read_kit(directory.parent / "nobody", None)
