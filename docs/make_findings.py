"""Writes docs/findings.md from the source: every code that a refusal or a note can carry.

Run it from the top of the repository after adding a code: ``python docs/make_findings.py``.
A test fails while the page and the source disagree.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "findings.md"
INTRO = """\
# Findings

Every code that a refusal, a note or a verdict of `doctor` can carry, with what it says and what to
do. Names in braces stand for what is found in *this* file. Made from the source by
`docs/make_findings.py`.

| code | what it says | what to do |
| --- | --- | --- |
"""


def codes() -> Iterator[tuple[str, str, str]]:
    """Code, message and remedy of every ``Finding(...)`` and ``refuse(...)`` in the source."""
    for path in sorted((ROOT / "lifecycle").rglob("*.py")) + sorted((ROOT / "cli").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
                continue
            if node.func.id not in ("Finding", "refuse") or len(node.args) < 2:
                continue
            code = node.args[0]
            if isinstance(code, ast.Constant) and isinstance(code.value, str):
                remedy = text(node.args[2]) if len(node.args) > 2 else ""
                yield code.value, text(node.args[1]), remedy


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
        rows.setdefault(code, (message, remedy))
    lines = [
        f"| `{code}` | {_cell(message)} | {_cell(remedy)} |"
        for code, (message, remedy) in sorted(rows.items())
    ]
    return INTRO + "\n".join(lines) + "\n"


def _cell(words: str) -> str:
    return " ".join(words.split()).replace("|", "\\|")


if __name__ == "__main__":
    PAGE.write_text(page())
