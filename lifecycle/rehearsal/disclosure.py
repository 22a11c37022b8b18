"""Searches files for secrets, in every form in which they could have got there.

Used at the end of a rehearsal, and by the tests, which also plant one to see it found.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

WINDOW = 8
_WHITE = bytes.maketrans(b"", b"")
_LINE_ENDS = b"\r\n\t "


@dataclass(frozen=True, slots=True)
class Secret:
    """Bytes that must not be found. ``name`` says what they are; the bytes never show."""

    name: str
    value: bytes = field(repr=False)

    @classmethod
    def of_key(cls, name: str, key: RSAPrivateKey) -> tuple[Secret, ...]:
        """A private key: whatever form it is written in, its primes are in it."""
        numbers = key.private_numbers()
        return tuple(
            cls(f"{name} ({part})", value.to_bytes((value.bit_length() + 7) // 8, "big"))
            for part, value in (("p", numbers.p), ("q", numbers.q), ("d", numbers.d))
        )


@dataclass(frozen=True, slots=True)
class Disclosure:
    """A secret that was found: where, which, and written how."""

    where: str
    secret: str
    form: str


def forms(secret: bytes) -> Iterator[tuple[str, bytes]]:
    """The ways in which bytes are written: raw (DER), hex, Base64 at any offset (PEM, JSON).

    Backwards as well: in the memory of a process a large number begins with its last byte.
    """
    yield "raw", secret
    yield "raw, backwards", secret[::-1]
    yield "hex", secret.hex().encode()
    yield "HEX", secret.hex().upper().encode()
    for offset in range(3):
        # Within a longer Base64 text the bytes may begin at any of three offsets; the digits
        # at both ends depend on the neighbours and are left off.
        encoded = base64.b64encode(b"\0" * offset + secret)
        start = (0, 2, 3)[offset]
        end = len(encoded) - (4 if (offset + len(secret)) % 3 else 0)
        yield "Base64", encoded[start:end]
        yield "Base64url", encoded[start:end].replace(b"+", b"-").replace(b"/", b"_")


class Search:
    """Finds any of many secrets in one pass over what is searched.

    Every needle has at least the length of the shortest one, so that wherever one stands, one of
    the windows at every ``stride``-th place lies wholly in it: looking each of those up is exact,
    and a recording of a whole year takes a second.

    Args:
        secrets: what must not be found; each of at least ``WINDOW`` bytes.
    """

    def __init__(self, secrets: Iterable[Secret]) -> None:
        needles = {
            needle: (secret.name, form)
            for secret in secrets
            for form, needle in reversed(tuple(forms(secret.value)))
        }
        shortest = min(map(len, needles), default=WINDOW)
        if shortest < WINDOW:
            raise ValueError("a secret is too short to be searched for")
        self._stride = shortest - WINDOW + 1
        self._names = needles
        self._windows: dict[bytes, list[tuple[bytes, int]]] = {}
        for needle in needles:
            for offset in range(self._stride):
                window = needle[offset : offset + WINDOW]
                self._windows.setdefault(window, []).append((needle, offset))

    def in_bytes(self, where: str, data: bytes) -> list[Disclosure]:
        """Every secret in ``data``, also across line breaks and JSON's escapes of them."""
        joined = data.replace(b"\\n", b"").replace(b"\\r", b"").translate(_WHITE, _LINE_ENDS)
        found = dict.fromkeys((*self._needles_in(data), *self._needles_in(joined)))
        hits = dict.fromkeys(self._names[needle] for needle in found)
        return [Disclosure(where, secret, form) for secret, form in hits]

    def in_files(self, paths: Iterable[Path]) -> list[Disclosure]:
        """Every secret in any of the files; folders are searched through."""
        files = (
            file
            for path in paths
            for file in (sorted(path.rglob("*")) if path.is_dir() else (path,))
            if file.is_file()
        )
        return [hit for file in files for hit in self.in_bytes(str(file), file.read_bytes())]

    def _needles_in(self, data: bytes) -> Iterator[bytes]:
        known = self._windows
        for at in range(0, len(data) - WINDOW + 1, self._stride):
            if (window := data[at : at + WINDOW]) in known:
                for needle, offset in known[window]:
                    if at >= offset and data.startswith(needle, at - offset):
                        yield needle


def search_bytes(where: str, data: bytes, secrets: Iterable[Secret]) -> list[Disclosure]:
    """See ``Search.in_bytes``."""
    return Search(secrets).in_bytes(where, data)


def search_files(paths: Iterable[Path], secrets: Iterable[Secret]) -> list[Disclosure]:
    """See ``Search.in_files``."""
    return Search(secrets).in_files(paths)
