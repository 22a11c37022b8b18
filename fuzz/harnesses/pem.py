"""PEM as people bring it, and as we write it."""

from __future__ import annotations

from fuzz.harness import refusals, vector
from lifecycle.pki.pem import encode_pem, lines_obey_rule, pem_blocks, plain_text

PARSERS = (
    "lifecycle.pki.pem.pem_blocks",
    "lifecycle.pki.pem.plain_text",
    "lifecycle.pki.pem.lines_obey_rule",
)
WEIGHT = 6


def one(data: bytes) -> None:
    """Every block that was read can be written strictly, and read again as the same."""
    lines_obey_rule(plain_text(data).decode(errors="replace"))
    with refusals():
        for block in pem_blocks(data):
            written = encode_pem(block.label, block.der)
            assert lines_obey_rule(written) or "#" in block.label
            assert pem_blocks(written.encode()) == (block,)
            assert pem_blocks(block.text) == (block,)


def seeds() -> dict[str, bytes]:
    """A certificate, a chain, CRLF, a BOM, UTF-16, and an old encrypted key's headers."""
    certificate = vector("root.pem")
    return {
        "certificate": certificate,
        "crlf": vector("customer-csr-crlf.pem"),
        "bom": b"\xef\xbb\xbf" + certificate,
        "utf16": certificate[:300].decode().encode("utf-16"),
        "headers": b"-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n"
        b"DEK-Info: AES-128-CBC,00\n\nAAAA\n-----END RSA PRIVATE KEY-----\n",
        "two": b"x\n-----BEGIN A-----\nAAAA\n-----END A-----\ny\n-----BEGIN B-----\nAAA=\n"
        b"-----END B-----\n",
    }
