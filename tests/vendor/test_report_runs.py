"""Records come back in order, once each, whether or not they had to be written."""

from __future__ import annotations

import random
from pathlib import Path
from typing import BinaryIO

import pytest

from lifecycle.disk import DiskFull
from lifecycle.spool import temporary_file
from lifecycle.vendor.report_runs import BLOCK, Sorter, merged


@pytest.fixture
def records() -> list[str]:
    rng = random.Random(20261125)  # noqa: S311 - repeatable, no secret
    made = [f"{rng.randrange(500):03}\x01{n}\0Zoë, \n{n}" for n in range(3 * BLOCK + 7)]
    rng.shuffle(made)
    return made


@pytest.mark.parametrize("held", [0, 100, 5_000, 10_000_000])
def test_records_are_sorted_however_few_are_held(records: list[str], held: int) -> None:
    sorter = Sorter(held=held)
    for start in range(0, len(records), 100):
        sorter.add(records[start : start + 100])
    assert (len(sorter.runs) > 1) is (held < 10_000)
    assert list(sorter.in_order()) == sorted(records)


def test_few_records_need_no_file() -> None:
    def refuse() -> BinaryIO:
        pytest.fail("a file was opened")

    sorter = Sorter(refuse)
    sorter.add(["b", "a"])
    assert list(sorter.in_order()) == ["a", "b"]
    assert list(Sorter(refuse).in_order()) == []


def test_what_several_have_written_is_merged(records: list[str]) -> None:
    files = [temporary_file() for _ in range(3)]
    found = []
    for place, file in enumerate(files):
        sorter = Sorter(lambda file=file: file, held=5_000)  # type: ignore[misc]
        sorter.add(records[place::3])
        sorter.add([])
        sorter.write()
        found.append((file, sorter.runs))
    assert list(merged(found)) == sorted(records)
    for file in files:
        file.close()


def test_a_full_disk_is_named_and_what_to_do() -> None:
    with Path("/dev/full").open("wb", buffering=0) as full:
        sorter = Sorter(lambda: full, held=10)
        with pytest.raises(DiskFull) as caught:
            sorter.add(["x" * 100])
    assert caught.value.message.startswith("The folder for temporary files, ")
