"""DER at its outermost: where one element ends, and how one is written."""

from __future__ import annotations

INTEGER = 0x02
BIT_STRING = 0x03
NULL = 0x05
UTF8_STRING = 0x0C
PRINTABLE_STRING = 0x13
IA5_STRING = 0x16
SEQUENCE = 0x30
SET = 0x31
CONTEXT_0 = 0xA0

_MAX_LENGTH_OCTETS = 4


def element_length(data: bytes) -> int | None:
    """Bytes that the SEQUENCE at the start of ``data`` says it has, header included.

    May be more than ``len(data)``: then the element is cut off. None if ``data`` does not begin
    with a SEQUENCE of definite length (X.690, 8.1.3).
    """
    if len(data) < 2 or data[0] != SEQUENCE:
        return None
    first = data[1]
    if first < 0x80:
        return 2 + first
    octets = first & 0x7F
    if octets == 0 or octets > _MAX_LENGTH_OCTETS or len(data) < 2 + octets:
        return None
    return 2 + octets + int.from_bytes(data[2 : 2 + octets], "big")


def first_inside(data: bytes) -> bytes:
    """The first element inside of the SEQUENCE that ``data`` is: itself a SEQUENCE, as received.

    ``data`` must have been parsed already: nothing is checked.
    """
    begins = 2 if data[1] < 0x80 else 2 + (data[1] & 0x7F)
    length = element_length(data[begins : begins + 2 + _MAX_LENGTH_OCTETS])
    return data[begins : begins + (length or 0)]


def element(tag: int, *parts: bytes) -> bytes:
    """One DER element with ``parts`` as its content."""
    content = b"".join(parts)
    length = len(content)
    if length < 0x80:
        return bytes((tag, length)) + content
    octets = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(octets))) + octets + content
