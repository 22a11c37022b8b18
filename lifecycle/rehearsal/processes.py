"""What the system lets one see of a running process: environment, open files, memory (Linux)."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from lifecycle.rehearsal.disclosure import Disclosure, Search

PROC = Path("/proc")
CHUNK = 16 * 1024 * 1024
OVERLAP = 4096
"""More than the longest form of any secret, so that none is cut in two."""
_MAPPING = re.compile(r"([0-9a-f]+)-([0-9a-f]+) rw.. \S+ \S+ \S+ *(.*)")


def can_be_seen(pid: int) -> bool:
    """Whether this system shows the memory of that process to us; False where there is no such
    view at all, or where it is forbidden."""
    try:
        with (PROC / str(pid) / "mem").open("rb"):
            return True
    except OSError:
        return False


def open_files(pid: int) -> list[Path]:
    """The regular files that the process holds open, as they are named now."""
    found = set()
    for descriptor in (PROC / str(pid) / "fd").iterdir():
        with suppress(OSError):  # closed since it was listed
            target = descriptor.readlink()
            if target.is_file():
                found.add(target)
    return sorted(found)


def search_process(name: str, pid: int, search: Search) -> list[Disclosure]:
    """Every secret in the environment, the arguments, the open files or the memory of a process.

    Raises:
        OSError: the system does not show it, or there is no such process.
    """
    of = PROC / str(pid)
    hits = search.in_bytes(f"the environment of {name}", (of / "environ").read_bytes())
    hits += search.in_bytes(f"the arguments of {name}", (of / "cmdline").read_bytes())
    for file in open_files(pid):
        with suppress(FileNotFoundError):
            hits += search.in_bytes(f"{file.name}, open in {name}", file.read_bytes())
    for part in _memory(of):
        hits += search.in_bytes(f"the memory of {name}", part)
    return list(dict.fromkeys(hits))


def _memory(of: Path) -> Iterator[bytes]:
    """Everything that the process can write to; what it cannot was read from files."""
    with (of / "mem").open("rb", buffering=0) as memory:
        for line in (of / "maps").read_text().splitlines():
            mapping = _MAPPING.match(line)
            if mapping is None:
                continue
            start, end = int(mapping[1], 16), int(mapping[2], 16)
            for at in range(start, end, CHUNK):
                with suppress(OSError):  # freed since, or not there for anybody
                    size = min(CHUNK + OVERLAP, end - at)
                    yield os.pread(memory.fileno(), size, at)
