"""Man pages and completions say what the command line does, and the readers of both take them."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pexpect
import pytest
import typer.main

from cli.main import COMMANDS, app

ROOT = Path(__file__).resolve().parents[2]
SHARE = ROOT / "packaging" / "share"
PAGES = sorted((SHARE / "man" / "man1").glob("*.1"))
PATH = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
STARTING_WITH_RE = {"report", "renew", "request", "remind", "restore"}


@pytest.fixture(scope="session")
def make_manual() -> ModuleType:
    spec = importlib.util.spec_from_file_location(
        "make_manual", ROOT / "packaging" / "make_manual.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_pages_and_completions_are_those_of_this_command_line(make_manual: ModuleType) -> None:
    there = {
        str(path.relative_to(SHARE)): path.read_text()
        for path in SHARE.rglob("*")
        if path.is_file()
    }
    assert there == make_manual.files(), "run `python packaging/make_manual.py`"


def test_there_is_a_page_for_each_command_of_the_overview() -> None:
    names = {name for section in COMMANDS.values() for name in section}
    assert {page.stem for page in PAGES} == {"pushcert", *(f"pushcert-{name}" for name in names)}


def needs(program: str) -> None:
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed; it reads what is tested here")


def rendered(page: Path) -> str:
    """A page as a person reads it; fails if man has anything to say about it."""
    done = subprocess.run(
        ["man", "--warnings", "-E", "UTF-8", "-l", str(page)],
        env={**os.environ, "MANWIDTH": "120", "LC_ALL": "C.UTF-8", "MAN_KEEP_FORMATTING": ""},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == "", done.stderr
    return re.sub(r".\x08", "", done.stdout)


def options(command: Any) -> Iterator[str]:
    """Every option of a command and of what is below it."""
    for parameter in command.params:
        if parameter.param_type_name == "option":
            yield from parameter.opts
    for below in getattr(command, "commands", {}).values():
        yield from options(below)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_man_shows_a_page_without_a_warning_and_with_every_option(page: Path) -> None:
    needs("man")
    shown = rendered(page)
    for section in ("NAME", "SYNOPSIS", "DESCRIPTION"):
        assert re.search(rf"^{section}$", shown, re.MULTILINE)
    if page.stem == "pushcert":
        assert "EXIT STATUS" in shown
        return
    command = typer.main.get_command(app).commands[page.stem.removeprefix("pushcert-")]  # type: ignore[attr-defined]
    missing = [option for option in options(command) if not re.search(rf"\s{option}\b", shown)]
    assert missing == []
    assert "Example:" in shown


def test_a_warning_of_man_is_noticed(tmp_path: Path) -> None:
    needs("man")
    broken = tmp_path / "broken.1"
    broken.write_text(PAGES[0].read_text() + ".no_such_request\n\\fQ\n")
    with pytest.raises(AssertionError, match="no_such_request"):
        rendered(broken)


def test_what_roff_would_take_for_a_request_is_text(make_manual: ModuleType) -> None:
    assert make_manual._plain(".de x") == "\\&.de x"
    assert make_manual._plain("a\\b --c") == "a\\eb \\-\\-c"
    assert make_manual._text("press *Renew*, not `init`") == "press \\fIRenew\\fR, not \\fBinit\\fR"


def test_bash_completes_commands_and_options() -> None:
    needs("bash")
    script = SHARE / "bash-completion/completions/pushcert"

    def complete(*words: str) -> set[str]:
        code = (
            f"source {script}; COMP_WORDS=({' '.join(words)}); COMP_CWORD={len(words) - 1};"
            ' _pushcert pushcert; printf "%s\\n" "${COMPREPLY[@]}"'
        )
        done = subprocess.run(
            ["bash", "-c", code],
            env={**os.environ, "PATH": PATH},
            capture_output=True,
            text=True,
            check=True,
        )
        return set(done.stdout.split())

    assert complete("pushcert", "re") == STARTING_WITH_RE
    assert complete("pushcert", "lab", "portal", "cr") == {"create"}
    assert complete("pushcert", "report", "--fa") == {"--fail-on"}


def test_fish_completes_commands_and_options() -> None:
    needs("fish")
    script = SHARE / "fish/vendor_completions.d/pushcert.fish"

    def complete(line: str) -> set[str]:
        done = subprocess.run(
            ["fish", "--no-config", "-c", f"source {script}; complete -C '{line}'"],
            env={**os.environ, "PATH": PATH},
            capture_output=True,
            text=True,
            check=True,
        )
        return {row.split("\t")[0] for row in done.stdout.splitlines()}

    assert complete("pushcert re") == STARTING_WITH_RE
    assert complete("pushcert report --fa") == {"--fail-on"}


def test_zsh_completes_commands_and_options(tmp_path: Path) -> None:
    needs("zsh")
    child = pexpect.spawn(
        "zsh",
        ["-f", "-i"],
        env={**os.environ, "PATH": PATH, "HOME": str(tmp_path), "TERM": "dumb", "PS1": "READY "},
        dimensions=(50, 200),
        encoding="utf-8",
        timeout=60,
    )
    child.sendline(
        f"PS1='RE''ADY '; fpath=({SHARE}/zsh/site-functions $fpath);"
        f" autoload -U compinit; compinit -u -d {tmp_path}/dump; echo LOA''DED"
    )
    child.expect("LOADED")
    child.expect("READY ")
    child.send("pushcert re\t\t")
    for name in sorted(STARTING_WITH_RE):
        child.expect(name)
    child.sendcontrol("u")
    child.send("pushcert report --fa\t")
    child.expect("--fail-on")
    child.close(force=True)
