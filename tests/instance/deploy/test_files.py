"""Files as a deploy target: whole, in their place, with the owner and mode that are wanted."""

from __future__ import annotations

import os
import pwd
import stat
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from lifecycle.disk import DiskFull, DiskReadOnly
from lifecycle.errors import Refused
from lifecycle.instance.deploy.files import File, FilesTarget
from lifecycle.instance.deploy.plan import About
from lifecycle.passphrase import Held
from lifecycle.pki.keys import load_pkcs12, load_private_key
from lifecycle.pki.pair import Form, KeyFormat, Pair, Pkcs12Encryption
from lifecycle.pki.pem import pem_blocks
from tests.small_disk import small_disk

if TYPE_CHECKING:
    from tests.instance.conftest import World

ABOUT = About("files", "files", "somewhere", "settings")
SECRET = Held(b"correct horse")


@pytest.fixture
def acme(world: World) -> World:
    world.renew()
    return world


def target(*files: File, owner: str | None = None, group: str | None = None) -> FilesTarget:
    return FilesTarget(ABOUT, files, owner, group)


def every_form(folder: Path) -> list[File]:
    return [
        File(folder / "push.key", Form.KEY, 0o600),
        File(folder / "both.pem", Form.PEM, 0o640, key_format=KeyFormat.PKCS1),
        File(folder / "locked.pem", Form.PEM, 0o600, SECRET),
        File(folder / "new.p12", Form.P12, 0o600, SECRET),
        File(folder / "old.p12", Form.P12, 0o600, SECRET, encryption=Pkcs12Encryption.LEGACY),
        File(folder / "chain.pem", Form.CHAIN, 0o644),
        File(folder / "push.pem", Form.CERTIFICATE, 0o644),
    ]


def test_every_form_is_written_and_verified(acme: World, tmp_path: Path) -> None:
    files, pair = every_form(tmp_path), acme.pair()
    target(*files).deploy(pair)
    for file in files:
        assert stat.S_IMODE(file.path.stat().st_mode) == file.mode, file.path
    assert load_private_key((tmp_path / "push.key").read_bytes(), None)
    assert b"BEGIN RSA PRIVATE KEY" in (tmp_path / "both.pem").read_bytes()
    assert load_private_key((tmp_path / "locked.pem").read_bytes(), b"correct horse")
    for name in ("new.p12", "old.p12"):
        _, leaf, above = load_pkcs12((tmp_path / name).read_bytes(), b"correct horse")
        assert leaf == pair.certificate.certificate
        assert len(above) == 1
    assert len(pem_blocks((tmp_path / "chain.pem").read_bytes())) == 2
    assert sorted(path.name for path in tmp_path.iterdir() if not path.is_dir()) == sorted(
        file.path.name for file in files
    ), "nothing is left beside them"


def test_a_reader_with_the_old_file_open_keeps_all_of_it(acme: World, tmp_path: Path) -> None:
    path = tmp_path / "push.pem"
    path.write_bytes(b"old")
    with path.open("rb") as reader:
        target(File(path, Form.CERTIFICATE, 0o644)).deploy(acme.pair())
        assert reader.read() == b"old"
    assert path.read_bytes() != b"old"


def test_a_key_is_private_before_it_has_its_name(
    acme: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    modes = []
    real = os.fchmod

    def watched(descriptor: int, mode: int) -> None:
        modes.append((stat.S_IMODE(os.fstat(descriptor).st_mode), os.fstat(descriptor).st_size))
        real(descriptor, mode)

    monkeypatch.setattr(os, "fchmod", watched)
    target(File(tmp_path / "push.key", Form.KEY, 0o640)).deploy(acme.pair())
    assert modes == [(0o600, 0)], "0600 and empty until it is the owner's"


def test_when_one_cannot_be_written_none_is_changed(acme: World, tmp_path: Path) -> None:
    good = tmp_path / "push.pem"
    good.write_bytes(b"old")
    both = (
        File(good, Form.CERTIFICATE, 0o644),
        File(tmp_path / "missing" / "push.key", Form.KEY, 0o600),
    )
    with pytest.raises(Refused) as refused:
        target(*both).deploy(acme.pair())
    assert refused.value.codes == ("deploy_file_unwritable",)
    assert "missing" in str(refused.value)
    assert good.read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["push.pem"]


def test_a_full_disk_is_named_and_the_old_file_stays(acme: World, tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk") as disk:
        path = disk.path / "push.pem"
        path.write_bytes(b"old")
        deploying = target(File(path, Form.CERTIFICATE, 0o644))
        disk.fill()
        with pytest.raises(DiskFull, match=f"{disk.path} cannot be written: the disk is full"):
            deploying.deploy(acme.pair())
        assert path.read_bytes() == b"old"
        disk.make_room()
        assert [one.name for one in disk.path.iterdir()] == ["push.pem"]
        deploying.deploy(acme.pair())
        disk.remount("ro")
        with pytest.raises(DiskReadOnly):
            deploying.deploy(acme.pair())


def test_what_a_crash_left_behind_is_no_obstacle(acme: World, tmp_path: Path) -> None:
    (tmp_path / ".push.key.pushcert").write_bytes(b"half a ke")
    target(File(tmp_path / "push.key", Form.KEY, 0o600)).deploy(acme.pair())
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["push.key"]


class TestOwner:
    def test_an_unknown_owner_is_named(self, acme: World, tmp_path: Path) -> None:
        with pytest.raises(Refused) as refused:
            target(File(tmp_path / "k", Form.KEY, 0o600), owner="nobody-at-all").deploy(acme.pair())
        assert refused.value.codes == ("deploy_owner_unknown",)
        with pytest.raises(Refused) as refused:
            target(File(tmp_path / "k", Form.KEY, 0o600), group="no-such-group").deploy(acme.pair())
        assert refused.value.codes == ("deploy_owner_unknown",)

    def test_files_get_their_owner_or_it_is_said_that_they_may_not(
        self, acme: World, tmp_path: Path
    ) -> None:
        deploying = target(File(tmp_path / "k", Form.KEY, 0o600), owner="nobody")
        if os.geteuid() == 0:
            deploying.deploy(acme.pair())
            assert (tmp_path / "k").stat().st_uid == pwd.getpwnam("nobody").pw_uid
        else:
            with pytest.raises(Refused) as refused:
                deploying.deploy(acme.pair())
            assert refused.value.codes == ("deploy_owner_refused",)
            assert not (tmp_path / "k").exists()


class TestVerifying:
    @pytest.fixture
    def deployed(self, acme: World, tmp_path: Path) -> tuple[FilesTarget, Path, Pair]:
        made = target(*every_form(tmp_path))
        made.deploy(acme.pair())
        return made, tmp_path, acme.pair()

    def test_what_is_right_is_right(self, deployed: tuple[FilesTarget, Path, Pair]) -> None:
        made, _, pair = deployed
        made.verify(pair)

    @pytest.mark.parametrize(
        "name", ["push.key", "both.pem", "locked.pem", "new.p12", "chain.pem", "push.pem"]
    )
    def test_a_file_that_is_gone_or_garbled_is_found(
        self, deployed: tuple[FilesTarget, Path, Pair], name: str
    ) -> None:
        made, folder, pair = deployed
        (folder / name).write_bytes(b"garbage")
        with pytest.raises(Refused) as refused:
            made.verify(pair)
        assert refused.value.codes == ("deploy_file_differs",)
        assert name in str(refused.value)
        (folder / name).unlink()
        with pytest.raises(Refused):
            made.verify(pair)

    def test_a_mode_that_was_opened_is_found(
        self, deployed: tuple[FilesTarget, Path, Pair]
    ) -> None:
        made, folder, pair = deployed
        (folder / "push.key").chmod(0o644)
        with pytest.raises(Refused, match="mode 0644"):
            made.verify(pair)

    def test_last_years_pair_is_not_taken_for_this_years(
        self, deployed: tuple[FilesTarget, Path, Pair], acme: World
    ) -> None:
        made, _, _ = deployed
        acme.renew()
        with pytest.raises(Refused) as refused:
            made.verify(acme.pair())
        assert refused.value.codes == ("deploy_file_differs",)


def test_the_wrong_passphrase_source_stops_it_before_anything_is_written(
    acme: World, tmp_path: Path
) -> None:
    from lifecycle.passphrase import FromEnvironment

    files = (
        File(tmp_path / "push.pem", Form.CERTIFICATE, 0o644),
        File(tmp_path / "new.p12", Form.P12, 0o600, FromEnvironment("NOT_SET_ANYWHERE")),
    )
    with pytest.raises(Refused) as refused:
        target(*files).deploy(acme.pair())
    assert refused.value.codes == ("passphrase_missing",)
    assert [path for path in tmp_path.iterdir() if path.is_file()] == []
