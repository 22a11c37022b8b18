"""PEM: read generously, written strictly.

Files reach us through mail, browsers, Windows editors and web forms, so reading accepts byte
order marks, UTF-16, CRLF and text around the blocks. What we write goes to Apple's portal,
which wants lines of exactly 64 characters and nothing outside the blocks (Apple, "Setting Up
Push Notifications for Your MDM Customers", "Sign the CSR").
"""

from __future__ import annotations

import binascii
import re
from dataclasses import dataclass, field

from lifecycle.errors import refuse

PEM_COLUMNS = 64
BEGIN_MARK = re.compile(rb"-----BEGIN ([A-Z0-9][A-Z0-9 #]{0,63})-----")
_HEADER_LINE = re.compile(rb"[A-Za-z0-9-]+:.*")
_STRICT = re.compile(
    r"(?:-----BEGIN (?P<label>[A-Z0-9 ]+)-----\n"
    r"(?:[A-Za-z0-9+/]{64}\n)*"
    r"[A-Za-z0-9+/=]{1,64}\n"
    r"-----END (?P=label)-----\n)+"
)


@dataclass(frozen=True, slots=True)
class PemBlock:
    """One PEM block. Its ``repr`` shows the label only: the block may be a private key.

    Attributes:
        label: what stands behind ``BEGIN``, e.g. ``CERTIFICATE``.
        der: the decoded body (still encrypted in an old-style encrypted key).
        inner: what stood between the BEGIN and END lines, as it was.
    """

    label: str
    der: bytes = field(repr=False)
    inner: bytes = field(default=b"", repr=False, compare=False)

    @property
    def text(self) -> bytes:
        """The block with its headers, in LF and without indentation."""
        lines = [line.strip() for line in self.inner.strip().splitlines()]
        label = self.label.encode("ascii")
        return b"\n".join(
            (b"-----BEGIN " + label + b"-----", *lines, b"-----END " + label + b"-----", b"")
        )


def plain_text(data: bytes) -> bytes:
    """``data`` without a byte order mark, and in UTF-8 if it was UTF-16; else unchanged."""
    if data.startswith(b"\xef\xbb\xbf"):
        return data[3:]
    encoding = _utf16_flavour(data)
    if encoding is None:
        return data
    return data.decode(encoding, errors="replace").lstrip("\ufeff").encode()


def pem_blocks(data: bytes) -> tuple[PemBlock, ...]:
    """Every PEM block in ``data``, in order; empty if there is none.

    Accepts a BOM, UTF-16, CRLF or CR line ends, indentation, text before, between and after
    the blocks, lines of any length. Does not look at what the blocks contain.

    Raises:
        Refused: ``pem_truncated`` (a BEGIN without its END) or ``pem_damaged`` (a body that
            is not Base64).
    """
    text = plain_text(data)
    blocks = []
    position = 0
    while (begin := BEGIN_MARK.search(text, position)) is not None:
        label = begin[1]
        end_mark = b"-----END " + label + b"-----"
        end = text.find(end_mark, begin.end())
        following = text.find(b"-----BEGIN ", begin.end())
        if end < 0 or 0 <= following < end:
            raise refuse(
                "pem_truncated",
                f"The file has a BEGIN {label.decode()} line without its END line.",
                "Fetch the file again; it was cut off on the way.",
            )
        blocks.append(_block(label, text[begin.end() : end]))
        position = end + len(end_mark)
    return tuple(blocks)


def encode_pem(label: str, der: bytes) -> str:
    """A PEM block: lines of exactly 64 characters (the last 64 or fewer), LF, LF at the end."""
    body = binascii.b2a_base64(der, newline=False).decode("ascii")
    lines = [body[i : i + PEM_COLUMNS] for i in range(0, len(body), PEM_COLUMNS)]
    return "\n".join((f"-----BEGIN {label}-----", *lines, f"-----END {label}-----", ""))


def lines_obey_rule(pem: str) -> bool:
    """True if ``pem`` is what Apple's portal wants: blocks only, LF, every line of a body 64
    characters long except its last, which has 64 or fewer."""
    return _STRICT.fullmatch(pem) is not None


def _block(label: bytes, inner: bytes) -> PemBlock:
    lines = inner.split()
    if b":" in inner:  # RFC 1421 headers, as in old encrypted keys
        lines = [line.strip() for line in inner.splitlines()]
        lines = [line for line in lines if not _HEADER_LINE.fullmatch(line)]
    try:
        der = binascii.a2b_base64(b"".join(lines), strict_mode=True)
    except binascii.Error:
        der = b""
    if not der:
        raise refuse(
            "pem_damaged",
            f"The {label.decode()} block in the file is not valid Base64.",
            "Fetch the file again and do not open it in an editor in between.",
        ) from None
    return PemBlock(label.decode("ascii"), der, inner)


def _utf16_flavour(data: bytes) -> str | None:
    if data.startswith(b"\xff\xfe"):
        return "utf-16-le"
    if data.startswith(b"\xfe\xff"):
        return "utf-16-be"
    head = data[:64]
    if len(head) < 4:
        return None
    even, odd = head[0::2], head[1::2]
    if not any(odd) and all(even):
        return "utf-16-le"
    if not any(even) and all(odd):
        return "utf-16-be"
    return None
