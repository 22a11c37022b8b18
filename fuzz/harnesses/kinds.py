"""The first look at a file, and `inspect`, which has an answer for any bytes."""

from __future__ import annotations

from fuzz.harness import vector
from fuzz.trust import AT, TRUST
from lifecycle.pki.inspection import inspect
from lifecycle.pki.kinds import FileKind, kind_of

PARSERS = ("lifecycle.pki.kinds.kind_of", "lifecycle.pki.inspection.inspect")


def one(data: bytes) -> None:
    """Nothing is raised, refusals neither."""
    assert isinstance(kind_of(data), FileKind)
    found = inspect(data, TRUST, at=AT)
    for finding in found.findings:
        str(finding).encode()
    for label, value in found.facts:
        f"{label}{value}".encode()


def seeds() -> dict[str, bytes]:
    """One of each kind."""
    return {
        "csr": vector("customer-csr.der"),
        "certificate": vector("MDM_ Example MDM_Certificate.pem"),
        "signing": vector("vendor.pem"),
        "key": vector("customer.key"),
        "request": vector("request.b64"),
        "plist": vector("request.plist"),
        "page": b"<!DOCTYPE html><html></html>",
        "bplist": b"bplist00\xd0",
        "p12": bytes.fromhex("308203000201033082"),
    }
