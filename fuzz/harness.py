"""What a harness is, and the property that all of them hold a parser to.

A harness is a module of ``fuzz.harnesses``. It names the parsers it is for, gives seeds, and takes
bytes: ``one(data)`` returns, whatever the bytes are. Only a refusal may come out of a parser, and
the refusal must be fit to be shown: any other exception is a finding.
"""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from lifecycle.errors import Refused

ROOT = Path(__file__).resolve().parent.parent
CORPUS = ROOT / "fuzz" / "corpus"
VECTORS = ROOT / "tests" / "vectors"
_CODES = frozenset(
    re.findall(r"^\| `(\w+)` \|", (ROOT / "docs" / "findings.md").read_text(), re.MULTILINE)
)


@dataclass(frozen=True)
class Harness:
    """A harness, loaded.

    Attributes:
        name: of its module.
        parsers: dotted names of what it calls.
        one: the entry point.
        seeds: makes the corpus, by file name.
        longest: bytes that inputs grow to.
        weight: of its share of a campaign: more for what is fast.
    """

    name: str
    parsers: tuple[str, ...]
    one: Callable[[bytes], None]
    seeds: Callable[[], Mapping[str, bytes]]
    longest: int = 4096
    weight: int = 1


def names() -> tuple[str, ...]:
    """Of all harnesses, in alphabetical order."""
    package = importlib.import_module("fuzz.harnesses")
    return tuple(sorted(found.name for found in pkgutil.iter_modules(package.__path__)))


def load(name: str) -> Harness:
    """Imports a harness, and the parsers with it."""
    module: ModuleType = importlib.import_module(f"fuzz.harnesses.{name}")
    return Harness(
        name=name,
        parsers=module.PARSERS,
        one=module.one,
        seeds=module.seeds,
        longest=getattr(module, "LONGEST", 4096),
        weight=getattr(module, "WEIGHT", 1),
    )


def corpus(name: str) -> list[bytes]:
    """The committed seeds of a harness, by file name."""
    return [path.read_bytes() for path in sorted((CORPUS / name).iterdir())]


@contextmanager
def refusals(*declared: type[Exception], ours: bool = True) -> Iterator[None]:
    """Lets a ``Refused`` pass, and what a parser declares beside it; nothing else.

    A refusal must be one that people can be shown: every code is in docs/findings.md, and its
    sentences can be written as UTF-8 (no half of a surrogate pair from some JSON).

    Args:
        declared: errors that may come out as well.
        ours: False where the codes are those of another machine.
    """
    try:
        yield
    except Refused as refused:
        for finding in refused.findings:
            assert not ours or finding.code in _CODES, f"{finding.code} is not in docs/findings.md"
        str(refused).encode()
    except declared as error:
        str(error).encode()


def split(data: bytes, parts: int) -> list[bytes]:
    """``data`` in so many parts, for entries that take several values; the marker is a line."""
    found = data.split(b"\n~~\n", parts - 1)
    return [*found, *([b""] * (parts - len(found)))]


def joined(*parts: bytes) -> bytes:
    """What ``split`` takes apart."""
    return b"\n~~\n".join(parts)


def vector(name: str) -> bytes:
    """A file of tests/vectors."""
    return (VECTORS / name).read_bytes()
