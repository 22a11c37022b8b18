"""Writes docs/findings.md from the source: every code that a refusal or a note can carry.

Run it from the top of the repository after adding a code: ``python docs/make_findings.py``.
A test fails while the page and the source disagree.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "findings.md"
INTRO = """\
# Findings

Every code that an error, a refusal, a note or a renewal that is held up can carry, with what it
says and what to do. Names in braces stand for what is found in *this* file. Made from the source
by `docs/make_findings.py`.

| code | what it says | what to do |
| --- | --- | --- |
"""
EXPANSIONS = {"{kind}_of_another_customer": ("topic", "serial", "key")}
"""Codes that are put together from a word and the rest of the code."""
CARRIERS = ("Finding", "refuse", "Block")


def codes() -> Iterator[tuple[str, str, str]]:
    """Code, message and remedy of everything in the source that carries a code."""
    for path in sorted((ROOT / "lifecycle").rglob("*.py")) + sorted((ROOT / "cli").rglob("*.py")):
        tree = ast.parse(path.read_text())
        constants = _constants(tree)
        passed_on = _passed_on(tree)
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                yield from _of_class(node)
            if isinstance(node, ast.FunctionDef):
                yield from _of_table(node)
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
                continue
            if node.func.id in CARRIERS and node.args:
                message = text(node.args[1]) if len(node.args) > 1 else "…"
                remedy = text(node.args[2]) if len(node.args) > 2 else ""
                for code in _codes_of(node.args[0], constants):
                    yield code, message, remedy
            elif node.func.id in passed_on:
                place, words = passed_on[node.func.id]
                message = text(node.args[words]) if -1 < words < len(node.args) else "…"
                for argument in node.args[place : place + 1]:
                    for code in _codes_of(argument, constants):
                        yield code, message, ""


def _constants(tree: ast.Module) -> dict[str, str]:
    return {
        target.id: node.value.value
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
        for target in node.targets
        if isinstance(target, ast.Name) and isinstance(node.value.value, str)
    }


def _passed_on(tree: ast.Module) -> dict[str, tuple[int, int]]:
    """Functions of the module that are given a code: as which argument, and where the words."""
    return {
        node.name: (names.index("code"), names.index("message") if "message" in names else -1)
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef)
        and "code" in (names := [argument.arg for argument in node.args.args])
    }


def _of_class(node: ast.ClassDef) -> Iterator[tuple[str, str, str]]:
    """The code that every error of a class has, with the class's first sentence."""
    for line in node.body:
        if (
            isinstance(line, ast.AnnAssign | ast.Assign)
            and isinstance(line.value, ast.Constant)
            and isinstance(line.value.value, str)
            and any(isinstance(n, ast.Name) and n.id == "code" for n in ast.walk(line))
        ):
            yield line.value.value, (ast.get_docstring(node) or "").split("\n\n")[0], ""


def _of_table(function: ast.FunctionDef) -> Iterator[tuple[str, str, str]]:
    """Codes that a function looks up with their remedies: ``(code, remedy)``."""
    calls = [
        node
        for node in ast.walk(function)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id in CARRIERS
        and len(node.args) > 1
        and isinstance(node.args[0], ast.Name)
        and node.args[0].id not in [argument.arg for argument in function.args.args]
    ]
    for call in calls:
        for node in ast.walk(function):
            if isinstance(node, ast.Tuple) and len(node.elts) == 2:
                for code in _codes_of(node.elts[0], {}):
                    yield code, text(call.args[1]), text(node.elts[1])


def _codes_of(node: ast.expr, constants: dict[str, str]) -> Iterator[str]:
    if isinstance(node, ast.Constant) and isinstance(node.value, str) and _is_code(node.value):
        yield node.value
    elif isinstance(node, ast.Name) and node.id in constants:
        yield constants[node.id]
    elif isinstance(node, ast.JoinedStr):
        pattern = text(node)
        for word in EXPANSIONS.get(pattern, ()):
            yield pattern.replace("{kind}", word)


def _is_code(words: str) -> bool:
    return re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", words) is not None


def text(node: ast.expr) -> str:
    """A message as it is written, with the names of what is filled in."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(text(part) for part in node.values)
    if isinstance(node, ast.FormattedValue):
        return "{" + ast.unparse(node.value) + "}"
    return "…"


def page() -> str:
    """The whole page."""
    rows: dict[str, tuple[str, str]] = {}
    for code, message, remedy in codes():
        if code not in rows or rows[code][0] == "…":
            rows[code] = (message, remedy)
    lines = [
        f"| `{code}` | {_cell(message)} | {_cell(remedy)} |"
        for code, (message, remedy) in sorted(rows.items())
    ]
    return INTRO + "\n".join(lines) + "\n"


def _cell(words: str) -> str:
    return " ".join(words.split()).replace("|", "\\|")


if __name__ == "__main__":
    PAGE.write_text(page())
