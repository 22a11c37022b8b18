"""PKCS#11 URIs (RFC 7512): which key, in which token, by which module, opened with whose PIN.

Read strictly: an attribute that is not understood is refused by its name rather than passed over,
because passing over one can lead to another key than the one that was meant. ``pin-value`` is
refused, too: a URI is seen in the process list and kept in shell histories.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote_to_bytes

from lifecycle.errors import Finding, Refused, refuse

SCHEME = "pkcs11:"
MAX_URI = 2048
_FORM = "Write it as pkcs11:token=NAME;object=NAME?module-path=/path/to/module.so (RFC 7512)."
_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
# RFC 7512, 2.3: pk11-pchar and pk11-qchar, without the percent sign.
_IN_PATH = re.compile(r"[A-Za-z0-9\-._~:\[\]@!$'()*+,=&%]*")
_IN_QUERY = re.compile(r"[A-Za-z0-9\-._~:\[\]@!$'()*+,=/?|%]*")
_KEPT_IN_PATH = "-._~:[]@!$'()*+,=&"
_KEPT_IN_QUERY = "-._~:[]@!$'()*+,=/?|"


@dataclass(frozen=True, slots=True)
class Pkcs11Uri:
    """A private key in a token. Every attribute that is None matches anything.

    Attributes:
        token, manufacturer, model, serial: of the token.
        slot_id, slot_description, slot_manufacturer: of the slot that it is in.
        object, id: CKA_LABEL and CKA_ID of the key.
        module_path: the PKCS#11 module to load.
        pin_source: where the PIN comes from: ``file:PATH``, ``/PATH`` or ``|COMMAND``.
    """

    token: str | None = None
    manufacturer: str | None = None
    model: str | None = None
    serial: str | None = None
    slot_id: int | None = None
    slot_description: str | None = None
    slot_manufacturer: str | None = None
    object: str | None = None
    id: bytes | None = None
    module_path: Path | None = None
    pin_source: str | None = None

    def __str__(self) -> str:
        """The URI; reading it gives an equal one."""
        path = ";".join(self._written(_PATH, _KEPT_IN_PATH))
        query = "&".join(self._written(_QUERY, _KEPT_IN_QUERY))
        return f"{SCHEME}{path}{'?' if query else ''}{query}"

    def _written(self, known: dict[str, _Reader], kept: str) -> Iterator[str]:
        for name in known:
            value = getattr(self, _field(name), None)
            if value is not None:
                plain = value if isinstance(value, bytes) else str(value)
                yield f"{name}={quote(plain, safe=kept)}"


def parse_pkcs11_uri(text: str) -> Pkcs11Uri:
    """Reads a PKCS#11 URI.

    Raises:
        Refused: with every finding; ``pkcs11_uri_malformed`` (no such URI, an escape that is none,
            a character that must be escaped), ``pkcs11_uri_unknown`` (names the attribute),
            ``pkcs11_uri_twice`` (an attribute that is given twice), ``pkcs11_uri_value`` (one that
            does not have the form of its kind), ``pkcs11_uri_pin`` (the PIN itself). No message
            repeats a value: it may be a PIN that is in the wrong place.
    """
    text = text.strip()
    if not text[: len(SCHEME)].lower() == SCHEME or len(text) > MAX_URI:
        raise refuse("pkcs11_uri_malformed", "This is not a PKCS#11 URI.", _FORM)
    path, _, query = text[len(SCHEME) :].partition("?")
    findings: list[Finding] = []
    values: dict[str, Any] = {}
    for part, separator, known, allowed in (
        (path, ";", _PATH, _IN_PATH),
        (query, "&", _QUERY, _IN_QUERY),
    ):
        seen: set[str] = set()
        for name, raw in _attributes(part, separator):
            finding = _finding(name, raw, known, allowed, seen)
            seen.add(name)
            if finding is not None:
                findings.append(finding)
                continue
            try:
                values[_field(name)] = known[name](unquote_to_bytes(raw or ""))
            except ValueError:
                findings.append(_bad_value(name))
    if findings:
        raise Refused(findings)
    values.pop("type", None)
    return Pkcs11Uri(**values)


def _field(name: str) -> str:
    return name.replace("-", "_")


def _attributes(part: str, separator: str) -> Iterator[tuple[str, str | None]]:
    """Name and value of each; None where there is no equals sign."""
    for attribute in part.split(separator) if part else ():
        name, equals, value = attribute.partition("=")
        yield name, value if equals else None


def _finding(
    name: str,
    raw: str | None,
    known: dict[str, _Reader],
    allowed: re.Pattern[str],
    seen: set[str],
) -> Finding | None:
    shown = name[:40] if name.isprintable() else "?"
    if name == "pin-value":
        return Finding(
            "pkcs11_uri_pin",
            "The URI holds a PIN (pin-value), and URIs are seen in the process list.",
            "Leave it out; set signer.pin in config.toml, or pin-source. Change that PIN.",
        )
    if raw is None:
        return Finding(
            "pkcs11_uri_malformed", "A part of the PKCS#11 URI is no “name=value”.", _FORM
        )
    if name not in known:
        return Finding(
            "pkcs11_uri_unknown",
            f"The PKCS#11 URI has the attribute “{shown}”, which pushcert does not go by"
            f" {'before' if known is _PATH else 'after'} the question mark.",
            f"Leave it out; known there: {', '.join(sorted(known))}.",
        )
    if name in seen:
        return Finding(
            "pkcs11_uri_twice", f"The PKCS#11 URI says “{name}” twice.", "Keep the right one."
        )
    if _ESCAPE.search(raw) or not allowed.fullmatch(raw):
        return Finding(
            "pkcs11_uri_malformed",
            f"“{name}” in the PKCS#11 URI has a character that must be written as %XX.",
            "Write a space as %20, a semicolon as %3B, a percent sign as %25.",
        )
    return None


def _bad_value(name: str) -> Finding:
    return Finding(
        "pkcs11_uri_value",
        f"“{name}” in the PKCS#11 URI does not have the form of its kind.",
        "slot-id is a number, type is private, module-path an absolute path, pin-source file:PATH"
        " or |COMMAND; texts are UTF-8.",
    )


def _text(value: bytes) -> str:
    return value.decode()  # a UnicodeDecodeError is a ValueError


def _number(value: bytes) -> int:
    if not value.isdigit():
        raise ValueError("no number")
    return int(value)


def _private(value: bytes) -> str:
    if value != b"private":
        raise ValueError("no private key")
    return "private"


def _absolute(value: bytes) -> Path:
    path = Path(value.decode())
    if not path.is_absolute() or b"\0" in value:
        raise ValueError("no absolute path")
    return path


def _source(value: bytes) -> str:
    text = value.decode()
    if not text.startswith(("file:/", "/", "|")) or len(text) < 2 or "\0" in text:
        raise ValueError("no source")
    return text


_Reader = Callable[[bytes], Any]
_PATH: dict[str, _Reader] = {
    "token": _text,
    "manufacturer": _text,
    "model": _text,
    "serial": _text,
    "slot-id": _number,
    "slot-description": _text,
    "slot-manufacturer": _text,
    "object": _text,
    "id": bytes,
    "type": _private,
}
_QUERY: dict[str, _Reader] = {"module-path": _absolute, "pin-source": _source}
