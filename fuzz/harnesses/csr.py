"""CSRs, from a file of any form to the verdict."""

from __future__ import annotations

from fuzz.harness import refusals, vector
from lifecycle.pki.csr import parse_csr, vet_csr

PARSERS = ("lifecycle.pki.csr.parse_csr", "lifecycle.pki.csr.vet_csr")
WEIGHT = 2


def one(data: bytes) -> None:
    """A CSR that was read is read again from its PEM, with the very same bytes."""
    with refusals():
        csr = parse_csr(data)
        for finding in vet_csr(csr):
            str(finding).encode()
        assert parse_csr(csr.pem.encode()) == csr
        f"{csr.common_name}{csr.email}{csr.country}".encode()


def seeds() -> dict[str, bytes]:
    """PEM and DER."""
    der = vector("customer-csr.der")
    return {
        "der": der,
        "pem": vector("customer-csr.pem"),
        "crlf": vector("customer-csr-crlf.pem"),
        "truncated": der[:-20],
        "tail": der + b"\0\0",
        "key": vector("customer.key"),
    }
