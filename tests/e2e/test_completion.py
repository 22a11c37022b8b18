"""Shell completion, as bash, zsh and fish ask for it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli.main import app


class Shell:
    """A deployment, and somebody who presses Tab."""

    def __init__(self, directory: Path) -> None:
        self.config = directory / "config.toml"
        self.done("init", str(directory))
        for slug, name in (("acme", "Acme Corp"), ("atlas", "Atlas"), ("birch", EVIL)):
            self.done("customer", "add", slug, "--name", name, "--email", "it@a.example")
        self.done("customer", "edit", "acme", "--add-tag", "vip", "--add-tag", "pilot")
        self.done("customer", "add", "gone", "--name", "Gone", "--email", "it@a.example")
        self.done("customer", "offboard", "gone", "--yes")
        self.config.write_text(self.config.read_text() + '\n[notify.chat]\nurl = "env:CHAT"\n')

    def done(self, *arguments: str) -> None:
        result = CliRunner().invoke(app, ["--config", str(self.config), *arguments])
        assert result.exit_code == 0, result.output

    def run(self, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", "from cli.main import app; app(prog_name='pushcert')"],
            env={**os.environ, "PUSHCERT_CONFIG": str(self.config), **environment},
            capture_output=True,
            text=True,
            check=True,
        )

    def tab(self, line: str) -> list[str]:
        words = line.split(" ")
        done = self.run(
            {
                "COMP_WORDS": line,
                "COMP_CWORD": str(len(words) - 1),
                "_PUSHCERT_COMPLETE": "complete_bash",
            }
        )
        assert done.stderr == ""
        return done.stdout.split()


EVIL = "Birch \\$(touch owned) `touch owned` '; touch owned; \""


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Shell:
    return Shell(tmp_path_factory.mktemp("vendor"))


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("pushcert rem", ["remind"]),
        ("pushcert customer p", ["pause"]),
        ("pushcert customer show ", ["acme", "atlas", "birch"]),
        ("pushcert renew a", ["acme", "atlas"]),
        ("pushcert customer pause acme a", ["atlas"]),
        ("pushcert verify b", ["birch"]),
        ("pushcert remind --explain at", ["atlas"]),
        ("pushcert instance push UDID --customer ac", ["acme"]),
        ("pushcert report --status e", ["expired"]),
        ("pushcert report --fail-on ur", ["urgent"]),
        ("pushcert report --format pro", ["prometheus"]),
        ("pushcert report --tag ", ["pilot", "vip"]),
        ("pushcert customer edit --with-tag v", ["vip"]),
        ("pushcert renew acme --reason key", ["key_compromise"]),
        ("pushcert customer edit acme --language d", ["de"]),
        ("pushcert notify test ", ["mail", "chat"]),
        ("pushcert customer export --format j", ["json"]),
        ("pushcert isolation report --verdict br", ["breached"]),
        ("pushcert isolation document ", []),
        ("pushcert customer add a", []),
    ],
)
def test_what_there_is_is_offered(shell: Shell, line: str, offered: list[str]) -> None:
    assert shell.tab(line) == offered


def test_the_configuration_of_the_line_is_the_one_that_counts(shell: Shell, tmp_path: Path) -> None:
    asked = f"pushcert --config {shell.config} renew bi"
    done = shell.run(
        {
            "PUSHCERT_CONFIG": str(tmp_path / "none.toml"),
            "COMP_WORDS": asked,
            "COMP_CWORD": "4",
            "_PUSHCERT_COMPLETE": "complete_bash",
        }
    )
    assert done.stdout.split() == ["birch"]


@pytest.mark.parametrize("config", ["", "[vendor", '[vendor]\ndatabase = "sqlite:///new.sqlite"\n'])
def test_where_nothing_can_be_known_nothing_is_offered_said_or_made(
    shell: Shell, tmp_path: Path, config: str
) -> None:
    file = tmp_path / "config.toml"
    if config:
        file.write_text(config)
    done = shell.run(
        {
            "PUSHCERT_CONFIG": str(file),
            "COMP_WORDS": "pushcert renew ",
            "COMP_CWORD": "2",
            "_PUSHCERT_COMPLETE": "complete_bash",
        }
    )
    assert (done.stdout.strip(), done.stderr) == ("", "")
    assert [path.name for path in tmp_path.iterdir()] == ([file.name] if config else [])


@pytest.mark.parametrize("kind", ["zsh", "fish"])
def test_other_shells_are_offered_names_as_well_and_nothing_that_they_would_run(
    shell: Shell, kind: str
) -> None:
    done = shell.run(
        {
            "_TYPER_COMPLETE_ARGS": "pushcert renew ",
            "_TYPER_COMPLETE_FISH_ACTION": "get-args",
            "_PUSHCERT_COMPLETE": f"complete_{kind}",
        }
    )
    assert "Acme Corp" in done.stdout
    assert "Birch" in done.stdout
    assert "touch owned" in done.stdout
    for character in "\\$`;":
        assert character not in done.stdout


def test_bash_itself_completes(shell: Shell, tmp_path: Path) -> None:
    """With the script that ``--show-completion`` gives, in a real bash."""
    bash = shutil.which("bash")
    assert bash is not None
    command = tmp_path / "pushcert"
    root = str(Path(__file__).resolve().parents[2])
    command.write_text(
        f"#!{sys.executable}\nimport sys\nsys.path.insert(0, {root!r})\n"
        "from cli.main import app\napp(prog_name='pushcert')\n"
    )
    command.chmod(0o755)
    script = shell.run({"_PUSHCERT_COMPLETE": "source_bash"}).stdout
    pressed = f"""{script}
COMP_WORDS=(pushcert customer show at); COMP_CWORD=3
_pushcert_completion pushcert
echo "${{COMPREPLY[@]}}"
"""
    done = subprocess.run(
        [bash, "--norc", "-c", pressed],
        env={
            **os.environ,
            "PUSHCERT_CONFIG": str(shell.config),
            "PATH": f"{tmp_path}:{os.environ['PATH']}",
        },
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "atlas", done.stderr
