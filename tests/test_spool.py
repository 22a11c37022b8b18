"""What is held until later comes out as it went in, and does not stay in memory."""

from __future__ import annotations

import gc
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from lifecycle import spool
from lifecycle.disk import DiskFull, DiskReadOnly
from lifecycle.spool import Spool
from tests.small_disk import small_disk


def spool_of_pairs() -> Spool[tuple[int, str]]:
    def unpack(packed: list[Any]) -> tuple[int, str]:
        return packed[0], packed[1]

    return Spool(list, unpack)


def in_files(folder: str) -> int:
    """How many open files without a name this process has in a folder."""
    found = (str(one.readlink()) for one in Path("/proc/self/fd").iterdir() if one.is_symlink())
    return sum(name.startswith(folder) and name.endswith("(deleted)") for name in found)


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 5, 6, 7])
def test_values_come_out_in_their_order_and_as_often_as_wanted(
    count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool, "IN_MEMORY", 3)
    values = [(number, f"{number} é \n\u2028\udfff") for number in range(count)]
    held = spool_of_pairs()
    held.extend(values)
    assert len(held) == count
    assert bool(held) == bool(values)
    assert next(iter(held), None) == (values[0] if values else None)
    assert list(held) == list(held) == values
    held.add((-1, "after it was read"))
    assert list(held) == [*values, (-1, "after it was read")]


def test_most_of_them_are_in_a_file_without_a_name_that_ends_with_the_spool(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    held = spool_of_pairs()
    tracemalloc.start()
    try:
        held.extend((number, "x" * 100) for number in range(20_000))
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 200_000, f"{kept} bytes are in memory"
    assert list(tmp_path.iterdir()) == []
    assert in_files(str(tmp_path)) == 1
    del held
    gc.collect()
    assert in_files(str(tmp_path)) == 0


def test_a_full_disk_is_named_as_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with small_disk(tmp_path / "disk") as disk:
        monkeypatch.setattr("tempfile.tempdir", str(disk.path))
        held = spool_of_pairs()
        disk.fill()
        with pytest.raises(DiskFull) as full:
            held.extend((number, "x" * 100) for number in range(100_000))
        assert str(disk.path) in full.value.message
        del held, full
        gc.collect()


def test_without_a_folder_for_temporary_files_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.setattr("tempfile._candidate_tempdir_list", lambda: ["/proc/nowhere"])
    held = spool_of_pairs()
    with pytest.raises(DiskReadOnly) as missing:
        held.extend((number, "x") for number in range(spool.IN_MEMORY))
    assert "no folder for temporary files" in missing.value.message
