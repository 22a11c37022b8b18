"""The light markup of letters: text as people write it in plain mail, and its structure.

A rendered template holds paragraphs, list items (lines that begin with ``1. `` or ``- ``),
facts (indented ``Label: value`` lines), commands (other indented lines) and ``*emphasis*``.
``parse`` makes blocks of it; the text part and the HTML part of a mail are both made from the
blocks, so that they cannot differ.

Only what a template says is markup. What is put into it, names above all, goes through
``protect``: it hides the characters that mean something here behind noncharacters, which
Unicode keeps free for such use, and ``plain`` brings them back at the very end.
"""

from __future__ import annotations

import re
import textwrap
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass

WIDTH = 72

_GUARD = "\ufdd0"
"""Stands before each value: no line that begins with a value begins with a mark."""
_LINK, _LINK_END = "\ufdd1", "\ufdd2"
_HIDDEN = {"*": "\ufdd3", ":": "\ufdd4", "：": "\ufdd5"}
_HIDE = str.maketrans(_HIDDEN)
_SHOW = str.maketrans(
    {**{mark: sign for sign, mark in _HIDDEN.items()}, _GUARD: "", _LINK: "", _LINK_END: ""}
)
_NONCHARACTERS = range(0xFDD0, 0xFDF0)
_REORDERING = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Direction overrides: a name that holds one could turn round the sentence it stands in."""

_URL = r"https?://[!#-;=?-~]+"
_ITEM = re.compile(r"(\d+\.|-) +")
_FACT = re.compile(r" +([^:：]+(?::(?=\s)|：))\s*(\S.*)")
_SPAN = re.compile(
    rf"{_LINK}(?P<link>[^{_LINK_END}]*){_LINK_END}"
    rf"|(?P<url>{_URL})"
    r"|\*(?=\S)(?P<strong>[^*]+)(?<=\S)\*"
)
_AFTER_URL = ".,;:!?)'"


@dataclass(frozen=True, slots=True)
class Paragraph:
    """Running text."""

    text: str


@dataclass(frozen=True, slots=True)
class Items:
    """A list; numbered from ``start`` on, or with dashes."""

    items: tuple[str, ...]
    start: int | None


@dataclass(frozen=True, slots=True)
class Facts:
    """Labels, each with its colon, and their values."""

    rows: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Commands:
    """Lines to be typed as they are."""

    lines: tuple[str, ...]


Block = Paragraph | Items | Facts | Commands


@dataclass(frozen=True, slots=True)
class Span:
    """A piece of a line, ready to be shown: plain, emphasised, or a link."""

    text: str
    strong: bool = False
    href: str | None = None


def clean(value: str) -> str:
    """``value`` on one line, without characters that act instead of being seen."""
    return " ".join(
        "".join(
            " " if char.isspace() else char
            for char in value
            if char.isspace()
            or not (
                ord(char) in _NONCHARACTERS
                or char in _REORDERING
                or unicodedata.category(char) in ("Cc", "Cs")
            )
        ).split()
    )


def protect(value: str) -> str:
    """``value`` so that nothing in it is taken for markup."""
    one_line = " ".join(value.splitlines())
    kept = "".join(char for char in one_line if ord(char) not in _NONCHARACTERS)
    return _GUARD + kept.translate(_HIDE)


def linked(value: str) -> str:
    """``value`` protected, except that each http(s) address in it is a link."""

    def link(found: re.Match[str]) -> str:
        address = found[0].rstrip(_AFTER_URL)
        return f"{_LINK}{protect(address)}{_LINK_END}{protect(found[0][len(address) :])}"

    pieces = re.split(f"({_URL})", value)
    return "".join(
        re.sub(_URL, link, piece) if place % 2 else protect(piece)
        for place, piece in enumerate(pieces)
    )


def plain(marked: str) -> str:
    """What a reader of the text part sees."""
    return marked.translate(_SHOW)


def spans(marked: str) -> tuple[Span, ...]:
    """The pieces of a line, for a reader of the HTML part."""
    return tuple(span for span in _spans(marked) if span.text)


def _spans(marked: str) -> Iterator[Span]:
    end = 0
    for found in _SPAN.finditer(marked):
        yield Span(plain(marked[end : found.start()]))
        end = found.end()
        if found["strong"] is not None:
            yield Span(plain(found["strong"]), strong=True)
        elif found["link"] is not None:
            yield Span(plain(found["link"]), href=plain(found["link"]))
        else:
            address = found["url"].rstrip(_AFTER_URL)
            yield Span(address, href=address)
            end = found.start() + len(address)
    yield Span(plain(marked[end:]))


def join_lines(text: str, *, spaced: bool) -> str:
    """The lines of ``text`` as one.

    Args:
        text: lines of one paragraph.
        spaced: the language puts spaces between words. Otherwise a line break next to a wide
            character (Japanese) is no space.
    """
    joined = ""
    for line in (line.strip(" ") for line in text.splitlines()):
        tight = not spaced and (_is_wide(_edge(joined, -1)) or _is_wide(_edge(line, 0)))
        joined += line if tight or not (joined and line) else f" {line}"
    return joined


def _edge(marked: str, place: int) -> str:
    return (plain(marked) or " ")[place]


def parse(text: str, *, spaced: bool = True) -> tuple[Block, ...]:
    """The blocks of a rendered template, their text still marked. See the module.

    Args:
        text: paragraphs with empty lines between them.
        spaced: as for ``join_lines``.
    """
    return tuple(
        block
        for paragraph in re.split(r"\n(?:[ \t]*\n)+", text.strip("\n"))
        if paragraph.strip()
        for block in _blocks(paragraph.splitlines(), spaced)
    )


def _blocks(lines: list[str], spaced: bool) -> Iterator[Block]:
    while lines:
        taken = 1
        item = _ITEM.match(lines[0])
        if lines[0].startswith(" "):
            while taken < len(lines) and lines[taken].startswith(" "):
                taken += 1
            yield _indented(lines[:taken])
        elif item:
            bullet = item[1] == "-"
            while taken < len(lines):
                other = _ITEM.match(lines[taken])
                if other and (other[1] == "-") != bullet:
                    break
                taken += 1
            yield _items(lines[:taken], None if bullet else int(item[1][:-1]), spaced)
        else:
            while taken < len(lines) and not (
                lines[taken].startswith(" ") or _ITEM.match(lines[taken])
            ):
                taken += 1
            yield Paragraph(join_lines("\n".join(lines[:taken]), spaced=spaced))
        lines = lines[taken:]


def _items(lines: list[str], start: int | None, spaced: bool) -> Items:
    items: list[str] = []
    for line in lines:
        mark = _ITEM.match(line)
        if mark:
            items.append(line[mark.end() :])
        else:
            items[-1] += "\n" + line
    return Items(tuple(join_lines(item, spaced=spaced) for item in items), start)


def _indented(lines: list[str]) -> Facts | Commands:
    facts = [_FACT.fullmatch(line.rstrip()) for line in lines]
    rows = tuple((fact[1].strip(), fact[2]) for fact in facts if fact)
    if len(rows) == len(lines):
        return Facts(rows)
    return Commands(tuple(line.strip() for line in lines))


def as_text(blocks: tuple[Block, ...], *, spaced: bool = True) -> str:
    """The text part: filled to 72 columns, facts in line, one LF at the end.

    Languages without spaces are not filled: there is no telling where a line may break. The
    mail's encoding takes care of long lines.
    """
    return "\n\n".join(_as_text(block, WIDTH if spaced else None) for block in blocks) + "\n"


def _as_text(block: Block, width: int | None) -> str:
    match block:
        case Paragraph(text):
            return _fill(plain(text), "", width)
        case Items(items, start):
            marks = ["- " if start is None else f"{start + n}. " for n in range(len(items))]
            return "\n".join(
                _fill(plain(item), mark, width) for mark, item in zip(marks, items, strict=True)
            )
        case Facts(rows):
            column = max(_columns(label) for label, _ in rows) + 2
            return "\n".join(
                f"  {plain(label)}{' ' * (column - _columns(label))}{plain(value)}"
                for label, value in rows
            )
        case Commands(lines):
            return "\n".join(f"  {plain(line)}" for line in lines)


def _fill(text: str, mark: str, width: int | None) -> str:
    if width is None:
        return mark + text
    return textwrap.fill(
        mark + text,
        width,
        subsequent_indent=" " * len(mark),
        break_long_words=False,
        break_on_hyphens=False,
    )


def _columns(text: str) -> int:
    return sum(1 + _is_wide(char) for char in plain(text))


def _is_wide(char: str) -> bool:
    return unicodedata.east_asian_width(char) in ("W", "F")
