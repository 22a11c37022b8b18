"""Progress is for somebody who waits at a terminal: after a second, on stderr, and then gone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pexpect
import pytest
from typer.testing import CliRunner

from cli.main import app

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 120
"""A bound for a busy machine, and nothing that is measured."""
WORK = """
import sys
from cli import progress
progress.AFTER_SECONDS = {after}
with progress.working("Counting", {total}) as update:
    update({done}, {words!r})
    sys.stdin.readline()
print("the answer")
"""
AT_ONCE = "from cli import main, progress; progress.AFTER_SECONDS = 0; main.app()"
"""pushcert, for which nothing is too quick to be told."""


def environment(**more: str) -> dict[str, str]:
    inherited = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "FORCE_COLOR")}
    return {**inherited, "TERM": "xterm", "PYTHONPATH": str(ROOT), **more}


def at_a_terminal(
    total: int | None, done: int, words: str = "", after: float = 0, **more: str
) -> pexpect.spawn[str]:
    return pexpect.spawn(
        sys.executable,
        ["-c", WORK.format(after=after, total=total, done=done, words=words)],
        env=environment(**more),
        encoding="utf-8",
        timeout=SECONDS,
        dimensions=(40, 90),
    )


def test_how_many_are_done_of_how_many() -> None:
    work = at_a_terminal(5, 3)
    work.expect("Counting.*3/5")
    work.sendline("")
    work.expect("the answer")
    work.expect(pexpect.EOF)


def test_without_an_end_that_is_known_what_is_done_and_of_what() -> None:
    work = at_a_terminal(None, 1234, "Looking at customers")
    work.expect("Looking at customers.*1,234")
    work.sendline("")
    work.expect(pexpect.EOF)


def test_no_colour_where_none_is_wanted() -> None:
    work = at_a_terminal(5, 3, NO_COLOR="1")
    work.expect("Counting.*3/5")
    work.sendline("")
    work.expect(pexpect.EOF)
    assert "\x1b[3" not in f"{work.before}"


@pytest.mark.parametrize(("after", "more"), [(3600, {}), (0, {"TERM": "dumb"})])
def test_what_is_quick_or_a_dumb_terminal_sees_nothing_of_it(
    after: float, more: dict[str, str]
) -> None:
    work = at_a_terminal(5, 3, after=after, **more)
    work.sendline("")
    work.expect(pexpect.EOF)
    assert "Counting" not in f"{work.before}"
    assert "the answer" in f"{work.before}"


def test_a_pipe_sees_nothing_of_it() -> None:
    done = subprocess.run(
        [sys.executable, "-c", WORK.format(after=0, total=5, done=3, words="")],
        env=environment(),
        capture_output=True,
        input="\n",
        text=True,
        check=True,
    )
    assert (done.stdout, done.stderr) == ("the answer\n", "")


def test_an_import_that_takes_its_time_says_how_far_it_is(tmp_path: Path) -> None:
    assert CliRunner().invoke(app, ["init", str(tmp_path)]).exit_code == 0
    rows = "".join(f"c-{n},Customer {n},it@c{n}.example,x y z\n" for n in range(6000))
    file = tmp_path / "customers.csv"
    file.write_text(f"slug,name,email,tags\n{rows}")
    work = pexpect.spawn(
        sys.executable,
        ["-c", AT_ONCE, "--config", str(tmp_path / "config.toml"), "customer", "import", str(file)],
        env=environment(),
        encoding="utf-8",
        timeout=SECONDS,
        dimensions=(40, 90),
    )
    work.expect("Importing.*\\d+/6000")
    work.expect("Added 6000, changed 0, unchanged 0\\.")
    work.expect(pexpect.EOF)
