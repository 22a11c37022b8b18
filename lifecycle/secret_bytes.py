"""Bytes that must not be shown: passphrases, API keys, passwords as they were fetched.

No fingerprint either: a passphrase may be short enough to be guessed from one.
"""

from __future__ import annotations

from typing import Any

SHOWN = "<secret>"


class SecretBytes(bytes):
    """Bytes to every function that takes bytes; to a person, a log or an f-string ``<secret>``.

    What is made of them (a slice, ``decode()``, a concatenation) is plain again: it is made where
    the secret is used, and nowhere else.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return SHOWN

    def __str__(self) -> str:
        return SHOWN

    def __format__(self, spec: str) -> str:
        return format(SHOWN, spec)

    def __reduce__(self) -> Any:
        raise TypeError("a secret is not pickled")
