"""The code blocks of README.md and docs/*.md, and what a block of a terminal consists of."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGES = ("README.md", *sorted(f"docs/{page.name}" for page in (ROOT / "docs").glob("*.md")))
TERMINAL = ("console", "sh")

_FENCE = re.compile(
    r"^(?P<indent>[ ]*)```(?P<language>\w*)\n(?P<text>.*?)^(?P=indent)```$",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True)
class Block:
    """One fenced block.

    Attributes:
        page: from the top of the repository.
        line: of its fence.
        language: behind the fence; empty if there is none.
    """

    page: str
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def blocks(page: str, *languages: str) -> list[Block]:
    """The blocks of a page in these languages, in order; in all of them if none is named."""
    text = (ROOT / page).read_text()
    return [
        Block(
            page,
            text.count("\n", 0, found.start("indent")) + 1,
            found["language"],
            textwrap.dedent(found["text"]),
        )
        for found in _FENCE.finditer(text)
        if not languages or found["language"] in languages
    ]


def commands(block: Block) -> Iterator[str]:
    """What is typed in a block: all of ``sh``; of ``console`` what follows ``$``, with the lines
    that a backslash continues."""
    if block.language == "sh":
        yield block.text
        return
    typed: list[str] = []
    for line in block.text.splitlines():
        if line.startswith("$ "):
            if typed:
                yield "\n".join(typed)
            typed = [line[2:]]
        elif typed and typed[-1].endswith("\\"):
            typed.append(line)
    if typed:
        yield "\n".join(typed)
