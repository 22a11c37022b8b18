"""What a log line may hold, decided by the type of each value, just before it is written.

The rule of the house is that no secret is handed to a log. This is what stands behind the rule: a
line on which somebody forgot it says that something was left out, and not what.
"""

from __future__ import annotations

import re
import sys
import traceback
from collections.abc import Mapping
from enum import Enum

from structlog.typing import EventDict, WrappedLogger

from lifecycle.secret_bytes import SHOWN, SecretBytes

BYTES = "<bytes, not shown>"
KEY = "<private key, not shown>"
TEXT = "<text of a key or a certificate, not shown>"
_DEPTH = 6
_PEM = re.compile(r"-----BEGIN |PRIVATE KEY-----")
_LONG_RUN = re.compile(r"[A-Za-z0-9+/=_-]{100,}")
"""No sentence, path or fingerprint has such a word; DER in Base64, and signed tokens, have."""
_FORMS_OF_A_KEY = ("private_bytes", "private_bytes_raw", "private_numbers", "private_key")
"""Methods of private keys, and of their numbers."""


def redact(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """A structlog processor: bytes, private keys and texts of keys are left out.

    An exception is told by its kind and its place: its text may quote what it was given, and
    its frames hold it.
    """
    failure = event.pop("exc_info", None)
    shown = {str(name): shown_as(value) for name, value in event.items()}
    return {**shown, **_told(failure)}


def shown_as(value: object, depth: int = _DEPTH) -> object:
    """``value`` as a log may have it; of what has parts, each part."""
    match value:
        case SecretBytes():
            return SHOWN
        case bytes() | bytearray() | memoryview():
            return BYTES
        case None | bool() | int() | float():
            return value
        case Enum():
            return shown_as(value.value, depth)
        case str():
            return TEXT if _is_text_of_a_key(value) else value
        case _ if any(hasattr(value, form) for form in _FORMS_OF_A_KEY):
            return KEY
        case BaseException():
            return type(value).__name__
        case _ if depth <= 0:
            return type(value).__name__
        case Mapping():
            return {shown_as(k, depth - 1): shown_as(v, depth - 1) for k, v in value.items()}
        case list() | tuple() | set() | frozenset():
            return [shown_as(one, depth - 1) for one in value]
        case _:
            return shown_as(repr(value), 0)


def _is_text_of_a_key(text: str) -> bool:
    return _PEM.search(text) is not None or _LONG_RUN.search(text) is not None


def _told(failure: object) -> dict[str, str]:
    if not failure:
        return {}
    found = sys.exc_info() if failure is True else failure
    error = found[1] if isinstance(found, tuple) else found
    if not isinstance(error, BaseException):
        return {}
    frames = traceback.extract_tb(error.__traceback__)
    at = f"{frames[-1].filename}:{frames[-1].lineno}" if frames else "nowhere"
    return {"fault": type(error).__name__, "at": at}
