"""Push certificate requests: Base64 of a property list, and what is in it."""

from __future__ import annotations

import base64

from fuzz.harness import refusals, vector
from fuzz.trust import AT, TRUST
from lifecycle.pki.request import decode_request
from lifecycle.pki.request_checks import check_request

PARSERS = (
    "lifecycle.pki.request.decode_request",
    "lifecycle.pki.request_checks.check_request",
)
LONGEST = 16_384
_WRAPPED = b"B"


def one(data: bytes) -> None:
    """A request that was read is written and read again with the same fields.

    Input that begins with ``B`` is encoded first, so that the property list itself is mutated.
    """
    if data.startswith(_WRAPPED):
        data = base64.b64encode(data[1:])
    with refusals():
        request = decode_request(data)
        for finding in check_request(request, TRUST, at=AT):
            str(finding).encode()
        try:
            again = request.encode()
        except ValueError:
            return  # a chain that is no PEM, as ``plist`` says; check_request has refused it
        assert decode_request(again.encode()) == request


def seeds() -> dict[str, bytes]:
    """The vector, its property list, both of them in small."""
    plist = vector("request.plist")
    head, _, rest = plist.partition(b"<dict>")
    small = (
        head + b"<dict><key>PushCertRequestCSR</key><string>AAAA</string>"
        b"<key>PushCertCertificateChain</key><string>x</string>"
        b"<key>PushCertSignature</key><string>AAAA</string></dict></plist>"
    )
    del rest
    return {
        "b64": vector("request.b64"),
        "plist": plist,
        "wrapped": _WRAPPED + plist,
        "small": small,
        "small-wrapped": _WRAPPED + small,
        "entity": b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "b">]><plist>&a;</plist>',
        "deep": b"<plist>" + b"<array>" * 50 + b"</array>" * 50 + b"</plist>",
    }
