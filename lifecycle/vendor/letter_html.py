"""The HTML part of a letter, made from the same blocks as its text.

``templates/letter.html.j2`` is the layout. It gets elements that need no reading of markup
any more, and escapes every piece of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

from lifecycle.language.markup import (
    Block,
    Commands,
    Facts,
    Items,
    Paragraph,
    Span,
    plain,
    spans,
)
from lifecycle.vendor.letter_templates import render_html

_PREVIEW = 140
"""As much as a list of mails shows beside the subject."""


@dataclass(frozen=True, slots=True)
class Row:
    """One fact; ``prominent`` if the template emphasises all of its value."""

    label: str
    spans: tuple[Span, ...]
    prominent: bool


@dataclass(frozen=True, slots=True)
class Element:
    """One block as the layout sees it.

    Attributes:
        role: ``paragraph``, ``heading`` (a paragraph that is emphasised as a whole),
            ``numbers``, ``bullets``, ``facts`` or ``commands``.
        spans: of a paragraph or heading.
        items: of a list.
        rows: of facts.
        lines: of commands.
        start: the first number of a numbered list.
    """

    role: str
    spans: tuple[Span, ...] = ()
    items: tuple[tuple[Span, ...], ...] = ()
    rows: tuple[Row, ...] = ()
    lines: tuple[str, ...] = ()
    start: int = 1


def as_html(
    blocks: tuple[Block, ...],
    *,
    kind: str,
    subject: str,
    vendor: str,
    language: str,
    overrides: Path | None,
) -> str:
    """The HTML part of a letter: one document that loads nothing.

    Args:
        blocks: of the text.
        kind, subject, vendor, language: what else the layout may show.
        overrides: the folder that may hold the vendor's own layout.

    Raises:
        Exception: whatever a vendor's layout can raise; the bundled one raises nothing.
    """
    values = {
        "elements": tuple(_element(block) for block in blocks),
        "preview": preview(blocks),
        "kind": kind,
        "subject": subject,
        "vendor": vendor,
        "language": language,
    }
    return render_html(values, overrides)


def preview(blocks: tuple[Block, ...]) -> str:
    """What a list of mails is to show: the longest paragraph of the beginning, no greeting."""
    beginning = takewhile(lambda block: isinstance(block, Paragraph), blocks)
    texts = [_words(block.text) for block in beginning if isinstance(block, Paragraph)]
    longest = max(texts, key=len, default="")
    return longest if len(longest) <= _PREVIEW else longest[: _PREVIEW - 1].rstrip() + "…"


def _words(marked: str) -> str:
    return "".join(span.text for span in spans(marked))


def _element(block: Block) -> Element:
    match block:
        case Paragraph(text):
            found = spans(text)
            whole = len(found) == 1 and found[0].strong
            return Element("heading" if whole else "paragraph", spans=found)
        case Items(items, start):
            shown = tuple(spans(item) for item in items)
            if start is None:
                return Element("bullets", items=shown)
            return Element("numbers", items=shown, start=start)
        case Facts(rows):
            return Element("facts", rows=tuple(_row(label, value) for label, value in rows))
        case Commands(lines):
            return Element("commands", lines=tuple(plain(line) for line in lines))


def _row(label: str, value: str) -> Row:
    found = spans(value)
    return Row(plain(label), found, len(found) == 1 and found[0].strong)
