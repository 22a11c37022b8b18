"""What opening an encrypted key would cost, read from the file before anything is computed.

A file says itself how often its key derivation goes round: one that says 2,147,483,648 would keep
a processor busy for twenty minutes, and libraries do as they are told. The parameters are found by
their object identifiers wherever they stand, so that PEM, PKCS#8 and PKCS#12, in DER or BER, are
looked through in the same way. Not seen: what is itself encrypted, such as a key bag in an
encrypted safe of a PKCS#12 file.
"""

from __future__ import annotations

import re

from lifecycle.errors import Finding

MAX_ROUNDS = 2_000_000
"""Of all derivations of a file together: 0.6 s with SHA-256. Ours asks for 1.2 million."""
MAX_SCRYPT_BLOCKS = 2**20
"""N · r · p; the heaviest settings of OWASP's Password Storage Cheat Sheet have as many."""
MAX_KEY_BYTES = 8 * 1024
"""Of one key: RSA of 8192 bits has 4.7 KB. A longer one takes minutes to be checked."""

_PBKDF2 = bytes.fromhex("06092a864886f70d01050c")
_SCRYPT = bytes.fromhex("06092b06010401da47040b")
_ROUNDS = re.compile(
    re.escape(_PBKDF2)
    # PBES1 (RFC 8018, A.3) and the schemes of PKCS#12 (RFC 7292, appendix C)
    + rb"|\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x05[\x01\x03\x04\x06\x0a\x0b]"
    + rb"|\x06\x0a\x2a\x86\x48\x86\xf7\x0d\x01\x0c\x01[\x01-\x06]"
)
_KEY_BAG = re.compile(rb"\x06\x0b\x2a\x86\x48\x86\xf7\x0d\x01\x0c\x0a\x01[\x01\x02]")
_INTEGER, _OCTETS, _SEQUENCE = 0x02, 0x04, 0x30
_INDEFINITE = 0x80
_DEPTH = 16
_REMEDY = "Export the key again, with the settings that the exporting program proposes."


def cost_findings(data: bytes) -> tuple[Finding, ...]:
    """Why the encrypted key or PKCS#12 file in ``data`` (BER) is not opened; empty if it may be.

    Codes: ``key_derivation_too_costly``, ``private_key_too_long``.
    """
    found = []
    rounds = sum(_rounds_behind(data, mark.end()) for mark in _ROUNDS.finditer(data))
    rounds += _mac_rounds(data)
    if rounds > MAX_ROUNDS:
        found.append(
            Finding(
                "key_derivation_too_costly",
                f"The file asks for {rounds:,} rounds of key derivation; at most {MAX_ROUNDS:,}"
                " are done.",
                _REMEDY,
            )
        )
    blocks = max((_blocks_behind(data, at) for at in _places(data, _SCRYPT)), default=0)
    if blocks > MAX_SCRYPT_BLOCKS:
        found.append(
            Finding(
                "key_derivation_too_costly",
                f"The file asks for {blocks:,} blocks of scrypt; at most {MAX_SCRYPT_BLOCKS:,} are"
                " done.",
                _REMEDY,
            )
        )
    longest = max((_length_behind(data, mark.end()) for mark in _KEY_BAG.finditer(data)), default=0)
    if longest > MAX_KEY_BYTES:
        found.append(too_long(longest))
    return tuple(found)


def too_long(size: int) -> Finding:
    """The finding about a private key of so many bytes."""
    return Finding(
        "private_key_too_long",
        f"The private key in the file has {size:,} bytes; RSA of 8192 bits has 4,700.",
        "Make a new RSA key of 2048 bits and a CSR with it.",
    )


def _places(data: bytes, mark: bytes) -> list[int]:
    return [found.end() for found in re.finditer(re.escape(mark), data)]


def _head(data: bytes, at: int) -> tuple[int, int, int] | None:
    """Tag, start and end of the element at ``at``; one of indefinite length ends with the data."""
    if at + 2 > len(data):
        return None
    tag, first = data[at], data[at + 1]
    if first < 0x80:
        return tag, at + 2, at + 2 + first
    start = at + 2 + (first & 0x7F)
    if first == _INDEFINITE:
        return tag, start, len(data)
    return tag, start, start + int.from_bytes(data[at + 2 : start], "big")


def _behind(data: bytes, at: int, depth: int = _DEPTH) -> int | None:
    """Where the element at ``at`` ends; one of indefinite length (BER), behind its two zeros."""
    head = _head(data, at)
    if head is None or depth == 0:
        return None
    if data[at + 1] != _INDEFINITE:
        return head[2]
    inner: int | None = head[1]
    while inner is not None and data[inner : inner + 2] not in (b"\0\0", b""):
        inner = _behind(data, inner, depth - 1)
    return None if inner is None else inner + 2


def _integers(data: bytes, at: int) -> list[int]:
    """The integers in the SEQUENCE at ``at``, up to the first element of a constructed kind."""
    found: list[int] = []
    head = _head(data, at)
    if head is None or head[0] != _SEQUENCE:
        return found
    _, at, end = head
    while at < end and (inner := _head(data, at)) is not None and inner[0] in (_INTEGER, _OCTETS):
        if inner[0] == _INTEGER:
            found.append(_number(data, inner))
        at = inner[2]
    return found


def _number(data: bytes, head: tuple[int, int, int]) -> int:
    """An INTEGER's value; one of more than eight octets is as good as any other that large."""
    octets = data[head[1] : head[2]].lstrip(b"\0")
    return int.from_bytes(octets, "big") if len(octets) <= 8 else 2**64


def _rounds_behind(data: bytes, at: int) -> int:
    return next(iter(_integers(data, at)), 0)


def _blocks_behind(data: bytes, at: int) -> int:
    n, r, p = (*_integers(data, at), 0, 0, 0)[:3]
    return n * r * p


def _length_behind(data: bytes, at: int) -> int:
    head = _head(data, at)
    return 0 if head is None else head[2] - head[1]


def _mac_rounds(data: bytes) -> int:
    """MacData (RFC 7292, section 4): DigestInfo, salt, rounds; the last element of the file."""
    whole = _head(data, 0)
    if whole is None or whole[0] != _SEQUENCE:
        return 0
    at = whole[1]
    for _ in range(2):  # version and authSafe
        behind = _behind(data, at)
        if behind is None:
            return 0
        at = behind
    mac = _head(data, at)
    digest = None if mac is None or mac[0] != _SEQUENCE else _head(data, mac[1])
    if digest is None or digest[0] != _SEQUENCE:
        return 0
    salt = _head(data, digest[2])
    rounds = None if salt is None or salt[0] != _OCTETS else _head(data, salt[2])
    if rounds is None or rounds[0] != _INTEGER:
        return 0
    return _number(data, rounds)
