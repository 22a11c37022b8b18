"""An archive gives back what was put into it, to whoever may open it, or says why not."""

from __future__ import annotations

import io
import json
import stat
import tarfile
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pyrage
import pytest

from lifecycle.backup.archive import Opened, open_archive, write_archive
from lifecycle.backup.encryption import (
    Encryption,
    ForRecipients,
    Opener,
    UnderPassphrase,
    require_recipients,
)
from lifecycle.backup.manifest import Manifest, read_manifest, require_fit
from lifecycle.errors import Refused

KEY = pyrage.x25519.Identity.generate()
FOR_KEY = ForRecipients((str(KEY.to_public()),))
WITH_KEY = Opener(identities=lambda: (str(KEY),))
ABOUT = Manifest(
    plane="vendor",
    made_at=datetime(2027, 1, 4, tzinfo=UTC),
    made_by="1",
    revision="0004",
    name="Example MDM",
    counts={"customer": 2},
    files={},
)
CONTENT = {"registry.sqlite": b"rows " * 50_000, "signer/current": b"3fa9"}


def accept(opened: Opened) -> None:
    """Takes whatever was read back."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "scratch"
    made.mkdir()
    return made


def archive(
    tmp_path: Path,
    encryption: Encryption = FOR_KEY,
    verify: Callable[[Opened], None] = accept,
    about: Manifest = ABOUT,
) -> Path:
    parts = {}
    for number, (name, data) in enumerate(CONTENT.items()):
        parts[name] = tmp_path / f"part-{number}"
        parts[name].write_bytes(data)
    scratch = Path(tempfile.mkdtemp(prefix="making-", dir=tmp_path))
    out = tmp_path / "backup.age"
    write_archive(out, about, parts, encryption, scratch, verify)
    return out


def refusal(source: Path, opener: Opener, folder: Path) -> str:
    with pytest.raises(Refused) as refused:
        open_archive(source, opener, folder)
    assert all(finding.remedy for finding in refused.value.findings)
    return refused.value.codes[0]


def forged(tmp_path: Path, entries: list[tuple[tarfile.TarInfo, bytes]]) -> Path:
    """An archive made by somebody who knows the recipient; anybody may."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for entry, data in entries:
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    out = tmp_path / "forged.age"
    out.write_bytes(pyrage.encrypt(packed.getvalue(), [KEY.to_public()]))
    return out


def test_what_was_put_in_comes_out_for_the_recipient(tmp_path: Path, folder: Path) -> None:
    opened = open_archive(archive(tmp_path), WITH_KEY, folder)
    assert {name: opened.file(name).read_bytes() for name in CONTENT} == CONTENT
    assert opened.manifest.counts == {"customer": 2}
    assert opened.manifest.size == sum(map(len, CONTENT.values()))


def test_the_archive_is_a_tar_file_that_age_and_tar_take_apart(tmp_path: Path) -> None:
    plain = pyrage.decrypt(archive(tmp_path).read_bytes(), [KEY])
    with tarfile.open(fileobj=io.BytesIO(plain)) as tar:
        assert tar.getnames() == ["manifest.json", *CONTENT]


def test_every_file_is_for_its_owner_alone_and_nothing_is_left_behind(
    tmp_path: Path, folder: Path
) -> None:
    out = archive(tmp_path)
    opened = open_archive(out, WITH_KEY, folder)
    for path in (out, opened.file("registry.sqlite"), opened.file("signer/current")):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [list(made.iterdir()) for made in tmp_path.glob("making-*")] == [[]]
    assert not list(tmp_path.glob(".*"))


def test_a_passphrase_opens_what_it_closed_and_no_other_does(tmp_path: Path, folder: Path) -> None:
    out = archive(tmp_path, UnderPassphrase("correct horse"))
    assert refusal(out, Opener(lambda: "battery staple"), folder) == "backup_passphrase_wrong"
    assert refusal(out, WITH_KEY, folder) == "backup_passphrase_needed"
    opened = open_archive(out, Opener(lambda: "correct horse"), folder)
    assert opened.file("signer/current").read_bytes() == b"3fa9"


def test_another_key_none_and_one_that_is_none_are_told_apart(tmp_path: Path, folder: Path) -> None:
    out = archive(tmp_path)
    other = str(pyrage.x25519.Identity.generate())
    assert refusal(out, Opener(identities=lambda: (other,)), folder) == "backup_identity_wrong"
    assert refusal(out, Opener(), folder) == "backup_identity_needed"
    assert refusal(out, Opener(identities=lambda: ("x",)), folder) == "backup_identity_malformed"
    with pytest.raises(Refused, match="no recipient of age"):
        require_recipients(("age1nobody",))


def test_what_opens_an_archive_is_in_no_text(tmp_path: Path, folder: Path) -> None:
    closed = UnderPassphrase("correct horse")
    assert "horse" not in repr(closed)
    assert "SECRET" not in repr(WITH_KEY)
    with pytest.raises(Refused) as refused:
        open_archive(archive(tmp_path), Opener(identities=lambda: ("hunter2",)), folder)
    assert "hunter2" not in str(refused.value)


def test_an_archive_that_was_cut_short_anywhere_is_refused(tmp_path: Path, folder: Path) -> None:
    whole = archive(tmp_path).read_bytes()
    cut = tmp_path / "cut.age"
    step = len(whole) // 40
    for length in (0, 10, 21, 22, 100, *range(200, len(whole), step), len(whole) - 1):
        cut.write_bytes(whole[:length])
        code = refusal(cut, WITH_KEY, folder)
        assert code in ("backup_damaged", "backup_unreadable", "backup_identity_wrong"), length
        assert not (folder / "files").exists()
        assert length < 1000 or code == "backup_damaged"


def test_an_archive_in_which_any_bit_was_changed_is_refused(tmp_path: Path, folder: Path) -> None:
    whole = archive(tmp_path).read_bytes()
    altered = tmp_path / "altered.age"
    for at in range(0, len(whole), len(whole) // 60):
        changed = bytearray(whole)
        changed[at] ^= 1
        altered.write_bytes(bytes(changed))
        code = refusal(altered, WITH_KEY, folder)
        assert code in ("backup_damaged", "backup_unreadable", "backup_identity_wrong"), at
        assert not (folder / "files").exists()


def test_a_file_of_another_kind_and_none_are_refused(tmp_path: Path, folder: Path) -> None:
    other = tmp_path / "other"
    other.write_bytes(b"SQLite format 3\0")
    assert refusal(other, WITH_KEY, folder) == "backup_unreadable"
    assert refusal(tmp_path / "missing", WITH_KEY, folder) == "file_unreadable"


def test_an_archive_of_the_other_plane_or_of_a_later_version_is_refused() -> None:
    def code(manifest: Manifest) -> str:
        with pytest.raises(Refused) as refused:
            require_fit(manifest, "vendor", "0004")
        return refused.value.codes[0]

    require_fit(ABOUT, "vendor", "0004")
    require_fit(ABOUT, "vendor", "0005")
    assert code(ABOUT.model_copy(update={"plane": "instance"})) == "backup_of_other_plane"
    assert code(ABOUT.model_copy(update={"revision": "0005"})) == "backup_newer"
    later = {**json.loads(ABOUT.as_bytes()), "version": 2, "files": "as it will be then"}
    with pytest.raises(Refused) as refused:
        read_manifest(json.dumps(later).encode())
    assert refused.value.codes == ("backup_newer",)


def test_an_archive_forged_for_the_recipient_gets_nothing_past_its_manifest(
    tmp_path: Path, folder: Path
) -> None:
    digest = "0" * 64
    named = {"a": {"size": 1, "sha256": digest}}

    def said(files: object) -> tuple[tarfile.TarInfo, bytes]:
        document = {**json.loads(ABOUT.as_bytes()), "files": files}
        return tarfile.TarInfo("manifest.json"), json.dumps(document).encode()

    link = tarfile.TarInfo("a")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    cases = [
        [],
        [(tarfile.TarInfo("a"), b"x")],
        [said({"../a": {"size": 1, "sha256": digest}})],
        [said({"/etc/a": {"size": 1, "sha256": digest}})],
        [said(named)],
        [said(named), (tarfile.TarInfo("b"), b"x")],
        [said(named), (link, b"")],
        [said(named), (tarfile.TarInfo("a"), b"xx")],
        [said(named), (tarfile.TarInfo("a"), b"x")],
        [(tarfile.TarInfo("manifest.json"), b"{}")],
        [(tarfile.TarInfo("manifest.json"), b" " * (2**20 + 1))],
    ]
    for number, case in enumerate(cases):
        place = folder / str(number)
        place.mkdir()
        assert refusal(forged(tmp_path, case), WITH_KEY, place) == "backup_damaged", number
    plain = tmp_path / "plain.age"
    plain.write_bytes(pyrage.encrypt(b"no tar file", [KEY.to_public()]))
    assert refusal(plain, WITH_KEY, folder) == "backup_damaged"


def test_an_archive_larger_than_the_disk_is_told_before_it_is_written(
    tmp_path: Path, folder: Path
) -> None:
    from lifecycle.disk import DiskFull

    document = {**json.loads(ABOUT.as_bytes()), "files": {"a": {"size": 2**60, "sha256": "0" * 64}}}
    source = forged(tmp_path, [(tarfile.TarInfo("manifest.json"), json.dumps(document).encode())])
    with pytest.raises(DiskFull, match="are free here"):
        open_archive(source, WITH_KEY, folder)


def test_the_backup_before_stays_until_the_new_one_is_verified(tmp_path: Path) -> None:
    before = archive(tmp_path).read_bytes()

    def refuse_it(opened: Opened) -> None:
        raise AssertionError(opened.manifest.name)

    with pytest.raises(AssertionError):
        archive(tmp_path, verify=refuse_it)
    assert (tmp_path / "backup.age").read_bytes() == before
    assert not list(tmp_path.glob(".*"))
    archive(tmp_path)
    assert (tmp_path / "backup.age").read_bytes() != before


def test_what_is_verified_is_what_lies_on_the_disk(tmp_path: Path) -> None:
    seen: list[bytes] = []

    def look(opened: Opened) -> None:
        seen.append(opened.file("registry.sqlite").read_bytes())
        assert not (tmp_path / "backup.age").exists()

    archive(tmp_path, verify=look)
    assert seen == [CONTENT["registry.sqlite"]]
