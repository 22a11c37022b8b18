"""The lab's clocks."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from lifecycle.lab.clock import FileClock, LabClock, MovableClock, OffsetClock
from tests.lab.conftest import START

DAY = timedelta(days=1)


@pytest.mark.parametrize("kind", ["lab", "file", "offset"])
def test_a_clock_goes_where_it_is_moved(kind: str, tmp_path: Path) -> None:
    clocks: dict[str, MovableClock] = {
        "lab": LabClock(START),
        "file": FileClock.start(tmp_path / "clock", START),
        "offset": OffsetClock(START - datetime.now(UTC)),
    }
    clock = clocks[kind]
    slack = timedelta(minutes=5) if kind == "offset" else timedelta()
    assert clock.now() - START <= slack
    assert clock.advance(DAY) - (START + DAY) <= slack
    clock.set(START - DAY)
    assert timedelta() <= clock.now() - (START - DAY) <= slack
    assert clock.now().tzinfo is UTC
    with pytest.raises(ValueError, match="zone"):
        clock.set(START.replace(tzinfo=None))


def test_another_process_reads_the_instant_that_this_one_sets(tmp_path: Path) -> None:
    clock = FileClock.start(tmp_path / "clock", START)
    code = (
        "import sys; from pathlib import Path; from lifecycle.lab.clock import FileClock\n"
        "clock = FileClock(Path(sys.argv[1]))\n"
        "for _ in sys.stdin: print(clock.now().isoformat(), flush=True)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "clock")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as other:
        assert other.stdin is not None
        assert other.stdout is not None
        for instant in (START, START + DAY, START - DAY):
            clock.set(instant)
            other.stdin.write("\n")
            other.stdin.flush()
            assert other.stdout.readline().strip() == instant.isoformat()
        other.stdin.close()


def test_without_its_file_a_clock_tells_nothing_rather_than_the_wrong_time(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        FileClock(tmp_path / "clock").now()
