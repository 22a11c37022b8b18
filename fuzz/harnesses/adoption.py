"""A folder that a customer brings: what belongs together is found, the rest passed over."""

from __future__ import annotations

from fuzz.harness import joined, refusals, split, vector
from fuzz.harnesses import keys  # noqa: F401 - checks each intact key once
from lifecycle.instance.adoption import find_pair

PARSERS = ("lifecycle.instance.adoption.find_pair",)
LONGEST = 8192


def one(data: bytes) -> None:
    """A pair or a refusal."""
    with refusals():
        find_pair({f"file{n}": part for n, part in enumerate(split(data, 4))}, b"correct horse")


def seeds() -> dict[str, bytes]:
    """A pair, a pair in one file, and a certificate without its key."""
    certificate, key = vector("MDM_ Example MDM_Certificate.pem"), vector("customer.key")
    return {
        "pair": joined(certificate, key),
        "one-file": certificate + key,
        "other-key": joined(certificate, vector("vendor.key"), vector("request.b64")),
        "p12": joined(certificate, bytes.fromhex("3082030002010330820200")),
    }
