"""Packs request headers for HTTP/2: literals without Huffman coding or a dynamic table (RFC 7541).

Four requests to a connection repay no table: what a general encoder spends on it and on Huffman
codes is more than the whole rest of a request. A field that comes again, on this connection or
the next customer's, is packed once. What names a device is marked so that no table on the way
may take it in (section 7.1.3), and is kept here neither.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

SECRET = frozenset({b":path"})
"""The path of a push holds the device's token."""
ONCE = frozenset({b"apns-id", b"apns-expiration"})
"""Not secret, but different each time."""
_WHOLE = {
    (b":method", b"POST"): b"\x83",
    (b":method", b"GET"): b"\x82",
    (b":scheme", b"https"): b"\x87",
}
_NAMES = {b":authority": 1, b":method": 2, b":path": 4, b":scheme": 6}
"""Places in the static table (appendix A); other names are spelled out."""
_WITHOUT_INDEXING, _NEVER_INDEXED = 0x00, 0x10


def pack(fields: Iterable[tuple[bytes, bytes]]) -> bytes:
    """A header block; names in lower case, the pseudo-headers first."""
    return b"".join(
        _literal(name, value) if name in ONCE or name in SECRET else _known(name, value)
        for name, value in fields
    )


@lru_cache(maxsize=1024)
def _known(name: bytes, value: bytes) -> bytes:
    return _WHOLE.get((name, value)) or _literal(name, value)


def _literal(name: bytes, value: bytes) -> bytes:
    """Sections 6.2.2 and 6.2.3."""
    kind = _NEVER_INDEXED if name in SECRET else _WITHOUT_INDEXING
    place = _NAMES.get(name, 0)
    spelled = b"" if place else _string(name)
    return bytes((kind | place,)) + spelled + _string(value)


def _string(text: bytes) -> bytes:
    """Section 5.2, and the length's integer of section 5.1."""
    length = len(text)
    if length < 0x7F:
        return bytes((length,)) + text
    head = bytearray((0x7F,))
    length -= 0x7F
    while length >= 0x80:
        head.append(length & 0x7F | 0x80)
        length >>= 7
    head.append(length)
    return bytes(head) + text
