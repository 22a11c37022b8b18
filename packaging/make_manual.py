"""Writes the man pages and the completions of the shells from the command line itself.

Run it from the top of the repository after changing a command: ``python packaging/make_manual.py``.
A test fails while packaging/share and the command line disagree. What is in packaging/share is what
the wheel puts into share/ of where it is installed.
"""

from __future__ import annotations

import re
import textwrap
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer.main

from cli.main import COMMANDS, app

ROOT = Path(__file__).resolve().parent.parent
SHARE = ROOT / "packaging" / "share"
MAN = "man/man1"
PROGRAM = "pushcert"

EXIT_STATUS = (
    ("0", "Done."),
    ("1", "An internal fault: a defect of pushcert. Run the command again with --debug."),
    ("2", "The command line cannot be understood."),
    ("3", "Refused: bad input. Standard error says what is wrong and what to do."),
    ("4", "Needs a person: a breach, a finding of doctor, what --fail-on asked for."),
    ("5", "Temporary: a network, APNs or a database could not be reached. Try again."),
    ("130", "Interrupted."),
)
ENVIRONMENT = (
    ("PUSHCERT_CONFIG", "The configuration file, where --config is not given."),
    ("NO_COLOR", "If set, nothing is coloured."),
)
FILES = (
    (
        "./config.toml",
        "The configuration file, where neither --config nor PUSHCERT_CONFIG is given.",
    ),
)

BASH = """\
# Completion of pushcert in bash. Made by packaging/make_manual.py.
_pushcert() {
    local found
    COMPREPLY=()
    while IFS= read -r found; do
        COMPREPLY+=("$found")
    done < <(COMP_WORDS="${COMP_WORDS[*]}" COMP_CWORD="$COMP_CWORD" \\
        _PUSHCERT_COMPLETE=complete_bash "$1" 2>/dev/null)
}
complete -o default -F _pushcert pushcert
"""
ZSH = """\
#compdef pushcert
# Completion of pushcert in zsh. Made by packaging/make_manual.py.
eval "$(_TYPER_COMPLETE_ARGS="${words[1,$CURRENT]}" \\
    _PUSHCERT_COMPLETE=complete_zsh "${words[1]}" 2>/dev/null)"
"""
FISH = """\
# Completion of pushcert in fish. Made by packaging/make_manual.py.
function __pushcert
    set -lx _PUSHCERT_COMPLETE complete_fish
    set -lx _TYPER_COMPLETE_FISH_ACTION $argv[1]
    set -lx _TYPER_COMPLETE_ARGS (commandline --cut-at-cursor --current-process)
    pushcert 2>/dev/null
end
complete --command pushcert --no-files --condition "__pushcert is-args" \\
    --arguments "(__pushcert get-args)"
"""


def files() -> dict[str, str]:
    """Everything that belongs into packaging/share, by its path there."""
    group = typer.main.get_command(app)
    made = {
        f"{MAN}/{PROGRAM}.1": overview(group),
        "bash-completion/completions/pushcert": BASH,
        "zsh/site-functions/_pushcert": ZSH,
        "fish/vendor_completions.d/pushcert.fish": FISH,
    }
    for section in COMMANDS.values():
        for name, (_, sentence) in section.items():
            page = command_page(name, sentence, group.commands[name])  # type: ignore[attr-defined]
            made[f"{MAN}/{PROGRAM}-{name}.1"] = page
    return made


def overview(group: Any) -> str:
    """pushcert(1)."""
    lines = [
        *_head(PROGRAM, "keeps MDM push certificates alive"),
        ".SH SYNOPSIS",
        f".B {PROGRAM}",
        "[\\fIoptions\\fR] \\fIcommand\\fR [\\fIarguments\\fR]",
        ".SH DESCRIPTION",
        *_paragraphs(group.help),
        ".SH OPTIONS",
        *_parameters(group),
        ".TP",
        "\\fB\\-\\-help\\fR",
        "Says what pushcert, or a command, does.",
        ".SH COMMANDS",
    ]
    for heading, section in COMMANDS.items():
        lines.append(f".SS {_text(heading)}")
        for name, (_, sentence) in section.items():
            lines += [".TP", f"\\fB{PROGRAM}\\-{_plain(name)}\\fR(1)", _text(sentence)]
    lines.append(".SH EXIT STATUS")
    lines += _table(EXIT_STATUS)
    lines.append(".SH ENVIRONMENT")
    lines += _table(ENVIRONMENT)
    lines.append(".SH FILES")
    lines += _table(FILES)
    return _page(lines)


def command_page(name: str, sentence: str, command: Any) -> str:
    """The page of one command, with all of its subcommands."""
    words = f"{PROGRAM} {name}"
    about = sentence[0].lower() + sentence[1:].rstrip(".")
    lines = _head(f"{PROGRAM}-{name}", about)
    if hasattr(command, "commands"):
        lines += [".SH SYNOPSIS", f".B {words}", "\\fIcommand\\fR [\\fIarguments\\fR]"]
        lines += [".SH DESCRIPTION", *_description(command), ".SH COMMANDS"]
        for path, each in _leaves(words, command):
            lines += [f".SS {path}{_arguments(each)}", *_description(each), *_parameters(each)]
    else:
        lines += [".SH SYNOPSIS", f".B {words}", f"[\\fIoptions\\fR]{_arguments(command)}"]
        lines += [".SH DESCRIPTION", *_description(command)]
        parameters = _parameters(command)
        if parameters:
            lines += [".SH OPTIONS", *parameters]
    lines += [".SH SEE ALSO", f"\\fB{PROGRAM}\\fR(1) for exit status, environment and files"]
    return _page(lines)


def _leaves(words: str, group: Any) -> Iterator[tuple[str, Any]]:
    for name, command in group.commands.items():
        path = f"{words} {name}"
        if hasattr(command, "commands"):
            yield from _leaves(path, command)
        else:
            yield path, command


def _head(name: str, about: str) -> list[str]:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    return [
        '.\\" Made by packaging/make_manual.py from the command line; do not edit.',
        f'.TH {_plain(name.upper())} 1 "" "{PROGRAM} {version}" "{PROGRAM}"',
        ".SH NAME",
        f"{_plain(name)} \\- {_text(about)}",
    ]


def _arguments(command: Any) -> str:
    shown = ""
    for parameter in command.params:
        if parameter.param_type_name != "argument":
            continue
        name = f"\\fI{_plain(_metavar(parameter))}\\fR"
        if parameter.nargs != 1:
            name += "…"
        shown += f" {name}" if parameter.required else f" [{name}]"
    return shown


def _parameters(command: Any) -> list[str]:
    """Options and arguments that have something to say, each with its explanation."""
    lines: list[str] = []
    for parameter in command.params:
        if getattr(parameter, "hidden", False):
            continue
        explained = _text(parameter.help or "") or "See the description."
        if parameter.param_type_name == "argument":
            label = f"\\fI{_plain(_metavar(parameter))}\\fR"
        else:
            names = [*parameter.opts, *parameter.secondary_opts]
            label = ", ".join(f"\\fB{_plain(name)}\\fR" for name in names)
            if not parameter.is_flag:
                label += f" \\fI{_plain(_metavar(parameter))}\\fR"
            explained += _also(parameter)
        lines += [".TP", label, explained]
    return lines


def _also(option: Any) -> str:
    said = " May be repeated." if option.multiple and "repeat" not in option.help else ""
    if option.required:
        return f"{said} Required."
    if option.is_flag or option.default in (None, "", ()):
        return said
    return f"{said} Default: {_text(str(option.default))}."


def _metavar(parameter: Any) -> str:
    if parameter.metavar:
        return str(parameter.metavar)
    if parameter.param_type_name == "argument":
        return str(parameter.name).upper()
    return str(parameter.opts[-1]).lstrip("-").upper()


def _description(command: Any) -> list[str]:
    """The help of a command, its example set apart."""
    said, _, example = (command.help or "").partition("Example:")
    lines = _paragraphs(said)
    if example:
        shown = textwrap.dedent(example.strip("\n")).strip()
        lines += [".PP", "Example:", ".PP", ".RS 4", ".nf"]
        lines += [_plain(line) for line in shown.splitlines()]
        lines += [".fi", ".RE"]
    return lines


def _paragraphs(text: str) -> list[str]:
    lines: list[str] = []
    for paragraph in re.split(r"\n\s*\n", text.strip()):
        lines += [".PP", _text(" ".join(paragraph.split()))]
    return lines[1:]  # the heading above begins a paragraph itself


def _table(rows: tuple[tuple[str, str], ...]) -> list[str]:
    lines: list[str] = []
    for name, said in rows:
        lines += [".TP", f"\\fB{_plain(name)}\\fR", _text(said)]
    return lines


def _text(text: str) -> str:
    """Prose: ``*word*`` is set in italics, a word in backticks in bold, as help has them."""
    shown = re.sub(r"\*([^*\s][^*]*)\*", r"\\fI\1\\fR", _plain(text))
    return re.sub(r"`([^`]+)`", r"\\fB\1\\fR", shown)


def _plain(text: str) -> str:
    """Text in which roff sees neither escapes nor requests; hyphens can be copied and typed."""
    shown = text.replace("\\", "\\e").replace("-", "\\-")
    return f"\\&{shown}" if shown.startswith((".", "'")) else shown


def _page(lines: list[str]) -> str:
    return "\n".join(lines) + "\n"


def main() -> None:
    """Writes all of it, and takes away what is there no longer."""
    made = files()
    for old in [path for path in SHARE.rglob("*") if path.is_file()]:
        if str(old.relative_to(SHARE)) not in made:
            old.unlink()
    for name, text in made.items():
        path = SHARE / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


if __name__ == "__main__":
    main()
