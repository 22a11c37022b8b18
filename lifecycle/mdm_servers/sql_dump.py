"""Reads the rows of one table out of a database dump of ``mysqldump`` or ``pg_dump``.

Pure, and no SQL parser: it looks for what these two programs write for one table and passes over
all else. Only the columns that are asked for are given back; NanoMDM's tables hold private keys
too.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Generator, Iterator, Sequence

from lifecycle.errors import refuse

MAX_DUMP_BYTES = 64 * 1024 * 1024
"""As text it can take four times as much memory."""
_LOOK = 4096
_NOT_COLUMNS = frozenset(
    {"PRIMARY", "UNIQUE", "KEY", "INDEX", "CONSTRAINT", "CHECK", "FOREIGN", "FULLTEXT", "EXCLUDE"}
)
_WORD = r"[`\"]?(\w+)[`\"]?"
_TABLE = rf"(?:{_WORD}\.)?{_WORD}"
# None of these looks beyond its own line (or the white space behind it), and what a match opens is
# passed over before the next is looked for: the time taken grows with the size of the dump alone.
_CREATE = re.compile(rf"^CREATE TABLE (?:IF NOT EXISTS )?{_TABLE}[ \t]*\(", re.M)
_COPY = re.compile(rf"^COPY {_TABLE} \(([^)\n]*)\) FROM stdin;\n", re.M)
_INSERT = re.compile(rf"^INSERT INTO {_TABLE}[ \t]*(?:\(([^)\n]*)\))?\s*+VALUES\s*+", re.M)
_VALUE = r"(NULL\b)|(?:_binary\s+|[Ee])?'({string})'|([-+.\w]+)"
_WITH_ESCAPES = re.compile(_VALUE.format(string=r"(?:[^'\\]++|''|\\.)*+"), re.S)
_PLAIN = re.compile(_VALUE.format(string=r"(?:[^']++|'')*+"), re.S)
_ESCAPES = {
    "n": "\n",
    "r": "\r",
    "t": "\t",
    "0": "\0",
    "Z": "\x1a",
    "b": "\b",
    "f": "\f",
    "v": "\v",
}

Row = dict[str, str | None]


def is_dump(data: bytes) -> bool:
    """True if ``data`` looks like an SQL dump."""
    head = data[:_LOOK]
    return (b"dump" in head and head.lstrip().startswith((b"--", b"/*"))) or bool(
        re.search(rb"^(INSERT INTO|COPY|CREATE TABLE) ", data[: 64 * _LOOK], re.M)
    )


def rows(data: bytes, tables: Collection[str], columns: Collection[str]) -> Iterator[Row]:
    """The rows of a table, with those of the columns that it has.

    Args:
        data: the dump.
        tables: names of the table; NanoMDM's have been renamed, so there may be several.
        columns: what is wanted of it.

    Raises:
        Refused: ``dump_too_big``, ``dump_table_missing``, ``dump_columns_unknown`` (a dump made
            without ``CREATE TABLE`` and without column names), ``dump_damaged``.
    """
    if len(data) > MAX_DUMP_BYTES:
        raise refuse(
            "dump_too_big",
            f"The dump has {len(data) // 2**20} MiB; at most {MAX_DUMP_BYTES // 2**20} are read.",
            f"Dump the one table that is needed: {' or '.join(sorted(tables))}.",
        )
    text = data.decode(errors="replace").replace("\r\n", "\n")
    if not text.endswith("\n"):
        text += "\n"
    created = {
        match[2]: _columns_of(body)
        for match, body in _enclosed(text, _CREATE, ")")
        if match[2] in tables
    }
    found = bool(created)
    for match, body in _enclosed(text, _COPY, "\\.\n"):
        if match[2] in tables:
            found = True
            yield from _copied(body, _names(match[3]), columns)
    position = 0
    while (insert := _INSERT.search(text, position)) is not None:
        position = insert.end()
        if insert[2] in tables:
            found = True
            names = _names(insert[3]) if insert[3] else created.get(insert[2], [])
            position = yield from _inserted(text, position, names, columns)
    if not found:
        raise refuse(
            "dump_table_missing",
            f"The dump has no table {' or '.join(sorted(tables))}.",
            "Dump it with mysqldump or pg_dump from NanoMDM's database.",
        )


def _enclosed(
    text: str, opening: re.Pattern[str], closing: str
) -> Iterator[tuple[re.Match[str], str]]:
    """What stands between each opening and the closing after it, which begins a line."""
    position = 0
    while (match := opening.search(text, position)) is not None:
        # From one back: an empty body's closing stands right behind the opening's line end.
        end = text.find("\n" + closing, match.end() - 1)
        if end < 0:
            return
        yield match, text[match.end() : end + 1]
        position = end + 1


def _columns_of(body: str) -> list[str]:
    found = []
    for line in body.splitlines():
        match = re.match(rf"\s*{_WORD}\s+\S", line)
        if match is not None and match[1].upper() not in _NOT_COLUMNS:
            found.append(match[1])
    return found


def _names(text: str) -> list[str]:
    return [name.strip().strip('`"') for name in text.split(",")]


def _copied(body: str, names: Sequence[str], columns: Collection[str]) -> Iterator[Row]:
    for line in body.splitlines():
        cells = [None if cell == r"\N" else _unescaped(cell) for cell in line.split("\t")]
        yield _row(names, cells, columns)


def _inserted(
    text: str, position: int, names: Sequence[str], columns: Collection[str]
) -> Generator[Row, None, int]:
    """The rows of one INSERT; gives the place behind them."""
    if not names:
        raise refuse(
            "dump_columns_unknown",
            "The dump does not say in which order the columns are.",
            "Dump the table again with its CREATE TABLE statement (mysqldump does so by itself).",
        )
    value = _PLAIN if "PostgreSQL database dump" in text[:_LOOK] else _WITH_ESCAPES
    while position < len(text) and text[position] == "(":
        cells: list[str | None] = []
        while text[position] in "(,":
            match = value.match(text, position + 1 + _space(text, position + 1))
            if match is None:
                raise _damaged()
            quoted = None if match[2] is None else match[2].replace("''", "'")
            if value is _WITH_ESCAPES and quoted is not None:
                quoted = _unescaped(quoted)
            cells.append(None if match[1] else quoted if quoted is not None else match[3])
            position = match.end() + _space(text, match.end())
            if position >= len(text):
                raise _damaged()
        if text[position] != ")":
            raise _damaged()
        yield _row(names, cells, columns)
        position += 1
        position += _space(text, position)
        if position < len(text) and text[position] == ",":
            position += 1
            position += _space(text, position)
    return position


def _space(text: str, position: int) -> int:
    start = position
    while position < len(text) and text[position].isspace():
        position += 1
    return position - start


def _row(names: Sequence[str], cells: Sequence[str | None], columns: Collection[str]) -> Row:
    if len(names) != len(cells):
        raise _damaged()
    return {name: cell for name, cell in zip(names, cells, strict=True) if name in columns}


def _unescaped(text: str) -> str:
    return re.sub(r"\\(.)", lambda match: _ESCAPES.get(match[1], match[1]), text, flags=re.S)


def _damaged() -> Exception:
    return refuse(
        "dump_damaged",
        "A row of the dump does not have the form that mysqldump and pg_dump write.",
        "Dump the table again, and do not edit the file.",
    )
