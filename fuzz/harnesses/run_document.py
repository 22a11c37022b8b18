"""The signed document of an isolation run, its signature and its public key."""

from __future__ import annotations

import json

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from fuzz.harness import joined, refusals, split, vector
from fuzz.twist import TWISTED, as_seeds, twisted
from lifecycle.evidence_key import verify_signature
from lifecycle.pki.certificates import parse_certificates
from lifecycle.vendor.run_document import FORMAT, contradictions, parse_document

PARSERS = (
    "lifecycle.evidence_key.verify_signature",
    "lifecycle.vendor.run_document.parse_document",
    "lifecycle.vendor.run_document.contradictions",
)
LONGEST = 8192
WEIGHT = 2


def one(data: bytes) -> None:
    """A verdict or a refusal."""
    document, signature, key = split(data, 3)
    if document.startswith(TWISTED):
        document = twisted(document[1:], _DOCUMENTS)
    if key:
        with refusals():
            verify_signature(key, signature, document)
    with refusals():
        for slug in contradictions(parse_document(document)):
            slug.encode()


def seeds() -> dict[str, bytes]:
    """A document with a contradiction in it, and keys of three kinds."""
    document = json.dumps(_DOCUMENTS[0]).encode()
    key = Ed25519PrivateKey.from_private_bytes(b"\x07" * 32)
    spki, pem = PublicFormat.SubjectPublicKeyInfo, Encoding.PEM
    rsa = parse_certificates(vector("root.pem"))[0].public_key().public_bytes(pem, spki)
    return {
        **as_seeds(dict(zip(("document", "text-answer"), _DOCUMENTS, strict=True))),
        "signed": joined(document, key.sign(document), key.public_key().public_bytes(pem, spki)),
        "rsa": joined(b"{}", b"\0" * 256, rsa),
    }


def documents() -> list[object]:
    """A good one, and one whose answer is no object."""
    row = {
        "slug": "acme",
        "topic": "com.apple.mgmt.External.x",
        "verdict": "isolated",
        "probes": [
            {
                "probe": "own",
                "topic": "com.apple.mgmt.External.x",
                "token_fingerprint": "ab" * 32,
                "status": 410,
                "at": "2027-06-01T00:00:00Z",
                "expected": "200",
            }
        ],
    }
    head = {
        "format": FORMAT,
        "vendor": "v",
        "run": "r",
        "started_at": "2027-06-01T00:00:00+00:00",
        "finished_at": None,
        "verdicts": {"isolated": 1},
    }
    return [{**head, "customers": [row]}, {**head, "customers": [{**row, "probes": ["x"]}]}]


_DOCUMENTS = documents()
