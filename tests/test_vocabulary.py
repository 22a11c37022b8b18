"""Every text that a person reads calls things by the names of DESIGN.md's vocabulary."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main

from cli.main import app

ROOT = Path(__file__).resolve().parent.parent

FORBIDDEN = {
    r"\bcerts?\b": "certificate",
    r"\bAPNS\b": "APNs",
    r"\bAPNs? certificate": "push certificate",
    r"\bMDM certificate": "push certificate",
    r"\bApple ?IDs?\b": "Apple Account",
    r"\bApple accounts?\b": "Apple Account",
    r"\bpush cert(?!ificate)": "push certificate",
    r"\bvendor certificate": "MDM signing certificate",
    r"\bvendor signing certificate": "MDM signing certificate",
    r"\bcertificate signing request": "CSR",
    r"\bcertificate request\b(?<!push certificate request)": "push certificate request",
    r"\bsigned CSR": "push certificate request",
    r"\bverification push": "probe",
    r"\bnotification ladder": "reminder ladder",
    r"\bworkspace|\borganization\b": "customer",
    r"\bkey ?store|\bkeychain": "vault",
    r"\bsimulator\b|\bmock Apple": "lab",
}
"""What is said wrongly, and the word for it."""

ALLOWED = (
    # Names of others, as they write them.
    r"MDM_[^ ]*Certificate",
    r"Apple Push Certificates Portal",
    r"Keychain Access",
    r"`[^`]*`",
    r"https?://\S+|github\.com/\S+",
)

SPOKEN = {"Finding", "refuse", "Refused", "Unavailable", "AttentionNeeded", "InternalFault"}
SPOKEN |= {"Diagnosis", "Block", "ServerDown", "BadParameter", "Option", "Argument", "Typer"}


def spoken_in(path: Path) -> Iterator[tuple[int, str]]:
    """The literal words that a module gives to errors, options and messages."""
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.Call):
            continue
        name = getattr(node.func, "id", getattr(node.func, "attr", ""))
        if name in SPOKEN or name in ("print", "append"):
            for part in [*node.args, *(keyword.value for keyword in node.keywords)]:
                for literal in ast.walk(part):
                    if isinstance(literal, ast.Constant) and isinstance(literal.value, str):
                        yield node.lineno, literal.value


def wrong_words(text: str) -> list[str]:
    for pattern in ALLOWED:
        text = re.sub(pattern, " ", text)
    return [
        f"'{found.group()}' (say: {right})"
        for pattern, right in FORBIDDEN.items()
        for found in re.finditer(pattern, text)
    ]


def helps(group: Any, path: str) -> Iterator[tuple[str, str]]:
    for name, command in group.commands.items():
        here = f"{path} {name}"
        yield here, command.help or ""
        for parameter in command.params:
            yield here, getattr(parameter, "help", None) or ""
        if hasattr(command, "commands"):
            yield from helps(command, here)


def complaints() -> Iterator[str]:
    for path in (*ROOT.glob("lifecycle/**/*.py"), *ROOT.glob("cli/*.py")):
        for number, words in spoken_in(path):
            yield from (f"{path.relative_to(ROOT)}:{number}: {w}" for w in wrong_words(words))
    for where, words in helps(typer.main.get_command(app), "pushcert"):
        yield from (f"{where}: {w}" for w in wrong_words(words))
    pages = (*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), ROOT / "config.example.toml")
    templates = ROOT.glob("lifecycle/**/templates/**/*.j2")
    for path in (*pages, *templates):
        text = path.read_text()
        if path.suffix == ".md":
            text = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
        for number, words in enumerate(text.splitlines(), 1):
            yield from (f"{path.relative_to(ROOT)}:{number}: {w}" for w in wrong_words(words))


def test_every_text_uses_the_words_of_the_field() -> None:
    assert list(complaints()) == []


@pytest.mark.parametrize(
    "text",
    [
        "Renew the APNS certificate",
        "your MDM certificate",
        "Sign in with the Apple ID",
        "The cert has expired.",
        "the signed CSR",
    ],
)
def test_the_list_finds_what_it_is_for(text: str) -> None:
    assert wrong_words(text)


@pytest.mark.parametrize(
    "text", ["MDM_ Example_Certificate.pem", "the push certificate request", "APNs answers"]
)
def test_the_list_lets_the_right_words_pass(text: str) -> None:
    assert wrong_words(text) == []
