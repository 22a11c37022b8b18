"""The bodies of ``/v1``, as the vendor's server takes them apart: every message there is."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel, TypeAdapter, ValidationError

from fuzz.harness import vector
from fuzz.twist import TWISTED, as_seeds, twisted
from lifecycle.wire.enrolment import Enrolment, KeyChange
from lifecycle.wire.messages import (
    AnyReport,
    CertificateSubmission,
    CsrSubmission,
    Report,
)

PARSERS = (
    "lifecycle.wire.messages.CsrSubmission",
    "lifecycle.wire.messages.CertificateSubmission",
    "lifecycle.wire.messages.Report",
    "lifecycle.wire.enrolment.Enrolment",
    "lifecycle.wire.enrolment.KeyChange",
)
WEIGHT = 2
_REPORT: TypeAdapter[AnyReport] = TypeAdapter(Report)
_KINDS: tuple[TypeAdapter[Any], ...] = (
    _REPORT,
    *(TypeAdapter(kind) for kind in (CsrSubmission, CertificateSubmission, Enrolment, KeyChange)),
)


def one(data: bytes) -> None:
    """A message or a validation error; a message crosses again unchanged, in UTF-8.

    FastAPI reads the body with ``json`` and validates what came of it, so that is done here.
    """
    if data.startswith(TWISTED):
        data = twisted(data[1:], _DOCUMENTS)
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        return  # FastAPI answers 400 and 422
    for kind in _KINDS:
        try:
            message = kind.validate_python(document)
        except ValidationError as error:
            error.errors(include_input=False)
            continue
        assert isinstance(message, BaseModel)
        assert kind.validate_json(message.model_dump_json()) == message
        _can_be_kept(message.model_dump())


def _can_be_kept(value: object) -> None:
    """Texts are UTF-8 and times have a form in UTC: else the database refuses them."""
    match value:
        case datetime():
            value.astimezone(UTC)
        case str():
            value.encode()
        case dict():
            for inner in value.values():
                _can_be_kept(inner)
        case tuple() | list():
            for inner in value:
                _can_be_kept(inner)


def seeds() -> dict[str, bytes]:
    """One of each, and each to be twisted."""
    return as_seeds(documents())


def documents() -> dict[str, object]:
    """By name."""
    at = datetime(2027, 6, 1, tzinfo=UTC).isoformat()
    fingerprint = "ab" * 32
    answer = {
        "probe": "own",
        "topic": "com.apple.mgmt.External.x",
        "token_fingerprint": fingerprint,
        "status": 400,
        "reason": "BadTopic",
        "at": at,
    }
    return {
        "csr": {"renewal_id": 1, "csr": "AAAA"},
        "certificate": {"certificate": vector("root.pem").decode()[:200], "devices": 3},
        "enrolment": {"code": "a", "public_key": "AAAA", "sealing_key": "AAAA", "version": "1"},
        "keys": {"public_key": "AAAA", "sealing_key": "AAAA", "proof": "AAAA"},
        "activation": {
            "kind": "activation",
            "renewal_id": 1,
            "fingerprint": fingerprint,
            "own_push": answer,
        },
        "evidence": {
            "kind": "evidence",
            "check_id": 1,
            "fingerprint": fingerprint,
            "answers": [answer],
            "token_fingerprints": [fingerprint],
        },
        "setback": {"kind": "setback", "renewal_id": 1, "code": "a", "message": "b"},
        "wanted": {"kind": "check_wanted", "after": at},
        "seals": {
            "kind": "canary_seals",
            "topic": "t",
            "token_fingerprint": fingerprint,
            "seals": [{"credential_id": "c", "sealed": "AAAA"}],
        },
        "deployment": {
            "kind": "deployment",
            "target": "t",
            "target_kind": "files",
            "fingerprint": fingerprint,
            "at": at,
        },
        "surrogate": {"kind": "setback", "renewal_id": 1, "code": "\ud800", "message": "b"},
    }


_DOCUMENTS = list(documents().values())
