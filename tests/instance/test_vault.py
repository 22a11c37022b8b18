from __future__ import annotations

import os
import sqlite3
import stat
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from sqlalchemy.exc import IntegrityError
from sqlmodel import Session

from lifecycle.errors import Refused, Unavailable
from lifecycle.instance.models import CertificateRow, KeyRow
from lifecycle.instance.safe import Protection
from lifecycle.instance.sealing import ScryptCost, Sealer, new_data_key
from lifecycle.instance.vault import Vault
from lifecycle.passphrase import FromEnvironment, Held
from lifecycle.wire.messages import CsrOrder

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

    from lifecycle.instance.keys import PendingKey
    from tests.instance.conftest import World

CHEAP = ScryptCost(n=2**10, r=8, p=1)
ORDER = CsrOrder(renewal_id=1, email="it@acme.example", common_name="Acme Corp")


@pytest.fixture
def loose_umask() -> Iterator[None]:
    old = os.umask(0)
    yield
    os.umask(old)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


class TestFiles:
    @pytest.mark.usefixtures("loose_umask")
    def test_directory_and_files_are_the_owners_alone_whatever_the_umask(
        self, tmp_path: Path
    ) -> None:
        directory = tmp_path / "deep" / "vault"
        with Vault.create(directory):
            pass
        assert mode(directory) == 0o700
        assert {p.name: mode(p) for p in directory.iterdir()} == {
            "vault.sqlite": 0o600,
            "vault.key": 0o600,
        }

    @pytest.mark.usefixtures("loose_umask")
    def test_files_are_never_looser_even_while_they_are_written(
        self, tmp_path: Path, world: World
    ) -> None:
        seen: dict[str, int] = {}

        class Watch:
            def reached(self, boundary: str) -> None:  # noqa: ARG002
                for path in (tmp_path / "v").iterdir():
                    seen[path.name] = seen.get(path.name, 0) | mode(path)

        with Vault.create(tmp_path / "v", observer=Watch()) as vault:
            vault.pending_key(ORDER, world.clock.now())
        assert seen["vault.sqlite-journal"] == 0o600, "a journal was seen"
        assert set(seen.values()) == {0o600}

    @pytest.mark.parametrize("name", ["", "vault.sqlite", "vault.key"])
    def test_a_looser_mode_is_refused_with_the_command_that_puts_it_right(
        self, world: World, name: str
    ) -> None:
        path = world.directory / name
        right = mode(path)
        path.chmod(right | 0o040)
        with pytest.raises(Refused) as refused:
            Vault.open(world.directory)
        (finding,) = refused.value.findings
        assert finding.code == "vault_too_open"
        assert finding.remedy == f"chmod {right:04o} {path}"
        path.chmod(right)
        Vault.open(world.directory).close()

    def test_all_loose_paths_are_named_at_once(self, world: World) -> None:
        world.directory.chmod(0o755)
        (world.directory / "vault.sqlite").chmod(0o644)
        (world.directory / "vault.key").chmod(0o644)
        with pytest.raises(Refused) as refused:
            Vault.open(world.directory)
        assert refused.value.codes == ("vault_too_open",) * 3

    def test_an_existing_loose_directory_is_not_made_a_vault(self, tmp_path: Path) -> None:
        loose = tmp_path / "loose"
        loose.mkdir(mode=0o755)
        with pytest.raises(Refused) as refused:
            Vault.create(loose)
        assert refused.value.codes == ("vault_too_open",)
        assert list(loose.iterdir()) == []

    def test_opening_reading_and_closing_changes_no_byte(self, world: World) -> None:
        world.renew()
        world.vault.close()
        before = world.files()
        with Vault.open(world.directory) as vault:
            vault.private_key(vault.require_active())
            assert world.files() == before
        assert world.files() == before

    def test_what_is_there_already_is_not_overwritten(self, world: World) -> None:
        before = world.files()
        with pytest.raises(Refused) as refused:
            Vault.create(world.directory)
        assert refused.value.codes == ("vault_exists",)
        assert world.files() == before

    def test_many_vaults_in_sequence_leave_no_file_open(self, world: World) -> None:
        descriptors = Path("/proc/self/fd")
        Vault.open(world.directory).close()
        before = len(list(descriptors.iterdir()))
        for _ in range(100):
            vault = Vault.open(world.directory)
            vault.active()
            del vault  # not even closed
        assert len(list(descriptors.iterdir())) == before


class TestFaults:
    def test_a_missing_vault_is_refused(self, tmp_path: Path) -> None:
        assert not Vault.exists(tmp_path / "none")
        with pytest.raises(Refused) as refused:
            Vault.open(tmp_path / "none")
        assert refused.value.codes == ("vault_missing",)

    def test_a_file_in_the_place_of_the_directory_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        with pytest.raises(Refused) as refused:
            Vault.create(tmp_path / "file")
        assert refused.value.codes == ("vault_not_a_directory",)

    def test_a_damaged_database_is_refused(self, world: World) -> None:
        (world.directory / "vault.sqlite").write_bytes(b"not a database, not at all" * 100)
        with pytest.raises(Refused) as refused:
            Vault.open(world.directory)
        assert refused.value.codes == ("vault_damaged",)

    def test_a_vault_of_a_later_pushcert_is_refused(self, world: World) -> None:
        with sqlite3.connect(world.directory / "vault.sqlite") as connection:
            connection.execute("UPDATE alembic_version SET version_num = '9999'")
        connection.close()
        with pytest.raises(Refused) as refused:
            Vault.open(world.directory)
        assert refused.value.codes == ("vault_newer",)

    def test_a_vault_that_was_never_finished_is_refused_and_can_be_finished(
        self, tmp_path: Path
    ) -> None:
        directory = tmp_path / "v"
        directory.mkdir(mode=0o700)
        (directory / "vault.sqlite").touch(mode=0o600)
        with pytest.raises(Refused) as refused:
            Vault.open(directory)
        assert refused.value.codes == ("vault_incomplete",)
        Vault.create(directory).close()
        assert Vault.exists(directory)

    def test_a_vault_that_another_process_is_writing_to_is_unavailable_not_broken(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("lifecycle.instance.database.BUSY_TIMEOUT_MS", 1)
        other = sqlite3.connect(world.directory / "vault.sqlite", isolation_level=None)
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(Unavailable):
            world.vault.set_ring_consent(True)
        other.execute("ROLLBACK")
        other.close()
        world.vault.set_ring_consent(True)
        assert world.vault.consents_to_ring()


class TestSealing:
    def test_a_value_opens_in_its_own_place_only(self) -> None:
        sealer = Sealer(new_data_key(), "vault-a")
        sealed = sealer.seal("device token", "D1", b"secret")
        assert sealer.open("device token", "D1", sealed) == b"secret"
        for kind, row in [("device token", "D2"), ("push magic", "D1")]:
            with pytest.raises(Refused) as refused:
                sealer.open(kind, row, sealed)
            assert refused.value.codes == ("sealed_value_damaged",)

    def test_a_value_of_another_vault_does_not_open_even_with_the_same_key(self) -> None:
        key = new_data_key()
        sealed = Sealer(key, "vault-a").seal("k", "r", b"secret")
        with pytest.raises(Refused):
            Sealer(key, "vault-b").open("k", "r", sealed)

    def test_every_changed_byte_is_noticed(self) -> None:
        sealer = Sealer(new_data_key(), "v")
        sealed = sealer.seal("k", "r", b"secret")
        for position in range(len(sealed)):
            damaged = bytearray(sealed)
            damaged[position] ^= 1
            with pytest.raises(Refused):
                sealer.open("k", "r", bytes(damaged))
        for length in range(len(sealed)):
            with pytest.raises(Refused):
                sealer.open("k", "r", sealed[:length])

    def test_a_token_swapped_between_rows_is_noticed(self, world: World) -> None:
        world.import_device("D1")
        world.import_device("D2")
        with sqlite3.connect(world.directory / "vault.sqlite") as connection:
            connection.execute(
                "UPDATE device SET sealed_token ="
                " (SELECT sealed_token FROM device WHERE udid = 'D2') WHERE udid = 'D1'"
            )
        connection.close()
        with pytest.raises(Refused) as refused:
            world.vault.devices.open("D1")
        assert refused.value.codes == ("sealed_value_damaged",)

    def test_no_file_of_the_vault_holds_a_key_token_or_magic_in_the_open(
        self, world: World
    ) -> None:
        certificate = world.renew()
        device = world.import_device("D1")
        key = world.vault.keys.private_key(certificate.key_fingerprint)
        prime = key.private_numbers().p
        stored = (world.directory / "vault.sqlite").read_bytes()
        assert certificate.der in stored, "the search would find it"
        assert prime.to_bytes(128, "big") not in stored
        assert device.token.raw not in stored
        assert device.token.hex.encode() not in stored
        assert b"MAGIC" not in stored


class TestProtection:
    def test_a_vault_with_a_passphrase_has_no_key_file(self, tmp_path: Path, world: World) -> None:
        directory = tmp_path / "locked"
        protection = Protection(Held(b"open sesame"), CHEAP)
        with Vault.create(directory, protection=protection) as vault:
            made = vault.pending_key(ORDER, world.clock.now())
        assert not (directory / "vault.key").exists()
        with Vault.open(directory, Held(b"open sesame")) as vault:
            again = vault.pending_key(ORDER, world.clock.now())
            assert again.private_key.private_numbers() == made.private_key.private_numbers()

    @pytest.mark.parametrize(
        ("source", "code"),
        [
            (Held(b"open barley"), "vault_passphrase_wrong"),
            (None, "vault_passphrase_needed"),
            (FromEnvironment("PUSHCERT_TEST_NOT_SET"), "passphrase_missing"),
        ],
    )
    def test_a_passphrase_that_does_not_open_it_is_refused(
        self, tmp_path: Path, world: World, source: Held | FromEnvironment | None, code: str
    ) -> None:
        directory = tmp_path / "locked"
        Vault.create(directory, protection=Protection(Held(b"open sesame"), CHEAP)).close()
        with Vault.open(directory, source) as vault:
            assert vault.active() is None, "what is not secret needs no passphrase"
            with pytest.raises(Refused) as refused:
                vault.pending_key(ORDER, world.clock.now())
        assert refused.value.codes == (code,)
        with Vault.open(directory, Held(b"open sesame")) as vault:
            assert vault.keys.fingerprints() == frozenset()

    @pytest.mark.parametrize(
        ("content", "code"),
        [(None, "vault_key_missing"), ("zz", "vault_key_wrong"), ("00" * 32, "vault_key_wrong")],
    )
    def test_a_lost_or_wrong_key_file_is_refused(
        self, world: World, content: str | None, code: str
    ) -> None:
        key_file = world.directory / "vault.key"
        if content is None:
            key_file.unlink()
        else:
            key_file.write_text(content)
        world.reopen()
        with pytest.raises(Refused) as refused:
            world.vault.pending_key(ORDER, world.clock.now())
        assert refused.value.codes == (code,)

    def test_the_default_cost_of_a_guess_is_a_recommended_one(self) -> None:
        # OWASP Password Storage Cheat Sheet: N=2^15, r=8, p=3 is among the minimum settings.
        assert Protection().cost == ScryptCost(n=2**15, r=8, p=3)


class TestInvariants:
    @pytest.mark.parametrize("state", ["active", "candidate"])
    def test_the_database_allows_one_active_and_one_candidate(
        self, world: World, state: str
    ) -> None:
        world.renew()
        two = [
            CertificateRow(
                key_id=1,
                state=state,
                fingerprint=f"{n:064}",
                der=b"",
                recorded_at=world.clock.now(),
            )
            for n in range(2)
        ]
        with pytest.raises(IntegrityError), _session(world) as session:
            session.add_all(two)

    def test_the_database_allows_one_key_per_renewal(self, world: World) -> None:
        world.renew()
        with pytest.raises(IntegrityError), _session(world) as session:
            session.add(
                KeyRow(renewal_id=1, fingerprint="f", sealed=b"", made_at=world.clock.now())
            )

    def test_secrets_do_not_show_in_a_repr(self, world: World) -> None:
        pending = world.vault.pending_key(ORDER, world.clock.now())
        device = world.import_device("D1")
        assert "RSAPrivateKey" not in repr(pending)
        assert device.token.hex not in repr(device)
        assert "MAGIC" not in repr(device)


def _session(world: World) -> AbstractContextManager[Session]:
    return world.vault._safe.database.transaction()


def test_two_processes_that_make_the_key_of_a_renewal_at_once_get_the_same_one(
    world: World, key_pool: tuple[RSAPrivateKey, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    both_are_making_one = threading.Barrier(2, timeout=30)
    pool = iter(key_pool)

    def generate() -> RSAPrivateKey:
        both_are_making_one.wait()
        return next(pool)

    monkeypatch.setattr("lifecycle.instance.keys.generate_key", generate)

    def make(_: int) -> PendingKey:
        with Vault.open(world.directory) as vault:
            return vault.pending_key(ORDER, world.clock.now())

    with ThreadPoolExecutor(2) as threads:
        one, two = threads.map(make, range(2))
    assert one.csr.der == two.csr.der
    assert world.vault.keys.fingerprints() == {one.fingerprint}
