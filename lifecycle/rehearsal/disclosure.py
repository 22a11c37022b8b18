"""Searches files for secrets, in every form in which they could have got there.

Used at the end of a rehearsal, and by the tests, which also plant one to see it found.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

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
    """The ways in which bytes are written: raw (DER), hex, Base64 at any offset (PEM, JSON)."""
    yield "raw", secret
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


def search_bytes(where: str, data: bytes, secrets: Iterable[Secret]) -> list[Disclosure]:
    """Every secret that is in ``data``, also across line breaks and JSON's escapes of them."""
    joined = data.replace(b"\\n", b"").replace(b"\\r", b"").translate(_WHITE, _LINE_ENDS)
    return [
        Disclosure(where, secret.name, form)
        for secret in secrets
        for form, needle in dict.fromkeys(forms(secret.value))
        if needle in data or needle in joined
    ]


def search_files(paths: Iterable[Path], secrets: Iterable[Secret]) -> list[Disclosure]:
    """Every secret that is in any of the files; folders are searched through."""
    wanted = tuple(secrets)
    files = (
        file
        for path in paths
        for file in (sorted(path.rglob("*")) if path.is_dir() else (path,))
        if file.is_file()
    )
    return [hit for file in files for hit in search_bytes(str(file), file.read_bytes(), wanted)]
