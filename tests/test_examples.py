"""Every code block in README.md and docs/*.md does what it is there for."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from lifecycle.config import Config
from tests.deployment import deployment
from tests.documents import PAGES, ROOT, TERMINAL, Block, blocks, commands
from tests.reader import CUSTOMER, Reader

RUN_ELSEWHERE = {
    "pip install '.[lab]'": "tests/packaging/test_wheel.py",
    "pip install -e '.[test]'": ".ci/run",
}
"""Blocks that fetch packages, by their words, and what runs them."""

NOT_RUN = {
    "docs/backup.md": 3,
    "docs/deploying.md": 1,
    "docs/installing.md": 7,
    "docs/moving.md": 5,
}
"""How many blocks of a page need a person or a machine of their own; each says why."""

FROM_NOTHING = frozenset({"README.md"})
"""Pages that begin with ``pushcert init``; the others take a deployment for granted."""

PYTHON = [block for page in PAGES for block in blocks(page, "python")]
TO_BE_READ = [page for page in PAGES if any(b.reason is None for b in blocks(page, *TERMINAL))]


def is_run_elsewhere(block: Block) -> bool:
    return any(words in block.text for words in RUN_ELSEWHERE)


def example(block: Block, folder: Path) -> Path:
    """The block as a file."""
    assert block.reason is None, "examples for programs are always run"
    file = folder / ("test_example.py" if "def test_" in block.text else "example.py")
    file.write_text(block.text)
    return file


@pytest.mark.parametrize("block", PYTHON, ids=str)
def test_an_example_in_python_runs_as_it_stands(block: Block, tmp_path: Path) -> None:
    file = example(block, tmp_path)
    runner = ["-m", "pytest", "-q"] if file.name.startswith("test_") else []
    done = subprocess.run(
        [sys.executable, *runner, str(file)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_examples_in_python_are_typed_and_tidy(tmp_path: Path) -> None:
    files = []
    for number, block in enumerate(PYTHON):
        folder = tmp_path / f"block_{number}"
        folder.mkdir()
        # A name for each: mypy looks at all of them at once.
        file = example(block, folder)
        files.append(str(file.rename(folder / f"{file.stem}_{number}.py")))
    assert files
    config = str(ROOT / "pyproject.toml")
    # The project's own settings, so that what it has found out about lifecycle is used again.
    types = ["mypy", "--config-file", config, "--cache-dir", str(ROOT / ".mypy_cache")]
    for tool in (types, ["ruff", "check", "--config", config, "--ignore=S,PT"]):
        done = subprocess.run(
            [sys.executable, "-m", *tool, *files],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("page", TO_BE_READ)
def test_what_a_page_shows_in_a_terminal_can_be_typed_from_top_to_bottom(
    page: str, tmp_path: Path
) -> None:
    with deployment(tmp_path) as vendor:
        if page not in FROM_NOTHING:
            vendor.settle(CUSTOMER)
        reader = Reader(vendor, tmp_path / "home")
        try:
            for block in blocks(page, *TERMINAL):
                if block.reason is None and not is_run_elsewhere(block):
                    for command in commands(block):
                        reader.type(command)
        finally:
            reader.leave()


def test_blocks_that_nobody_runs_are_few_and_say_why() -> None:
    marked = {
        page: len([block for block in blocks(page, *TERMINAL, "python") if block.reason])
        for page in PAGES
    }
    assert {page: count for page, count in marked.items() if count} == NOT_RUN


def test_what_is_run_elsewhere_is_run_there() -> None:
    for words, where in RUN_ELSEWHERE.items():
        assert words in (ROOT / where).read_text()
        assert any(words in block.text for page in PAGES for block in blocks(page, "sh"))


def test_a_configuration_in_a_page_can_be_loaded() -> None:
    shown = [block for page in PAGES for block in blocks(page, "toml")]
    assert shown
    for block in shown:
        Config(**tomllib.loads(block.text))
