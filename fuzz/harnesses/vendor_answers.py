"""What a vendor's server answers an instance, or something on the way in its place."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import httpx

from fuzz.harness import refusals
from fuzz.twist import TWISTED, as_seeds, twisted
from lifecycle.errors import Unavailable
from lifecycle.wire.http_link import HttpLink
from lifecycle.wire.messages import CertificateSubmission

PARSERS = (
    "lifecycle.wire.http_link.HttpLink.work",
    "lifecycle.wire.http_link.HttpLink.submit_certificate",
    "lifecycle.wire.problems.Problem",
    "lifecycle.wire.problems.as_error",
    "lifecycle.wire.vendors_time.VendorsTime.learn",
)
_SUBMISSION = CertificateSubmission(certificate="x")
_NOW = datetime(2027, 6, 1, tzinfo=UTC)


class _Clock:
    """A clock of the machine that goes on after the vendor has told its time."""

    def __init__(self) -> None:
        self.at = _NOW

    def now(self) -> datetime:
        """See ``Clock``."""
        return self.at


def one(data: bytes) -> None:
    """Work, a receipt, a refusal or ``Unavailable``; and the time stays one.

    The first byte chooses the status.
    """
    status = (200, 422, 401, 503, 204, 307)[data[0] % 6] if data else 200
    data = data[1:]
    if data.startswith(TWISTED):
        data = twisted(data[1:], _DOCUMENTS)
    clock = _Clock()
    transport = httpx.MockTransport(lambda _: httpx.Response(status, content=data))
    with httpx.Client(base_url="https://vendor.example", transport=transport) as client:
        link = HttpLink(client, clock, sleep=lambda _: None)
        with refusals(Unavailable, ours=False):
            work = link.work()
            assert work.model_validate_json(work.model_dump_json()) == work
        clock.at += timedelta(days=400)
        with refusals(Unavailable, ours=False):
            link.submit_certificate(_SUBMISSION)
        with refusals(Unavailable, ours=False):
            link.work()


def seeds() -> dict[str, bytes]:
    """Work, a receipt, problems."""
    found = as_seeds(documents(), b"\0")
    problem, skew = (json.dumps(documents()[name]).encode() for name in ("problem", "skew"))
    return {
        **found,
        "problem": b"\1" + problem,
        "skew": b"\2" + skew,
        "twist-problem": b"\1" + TWISTED + bytes((2, 0, 4)),
        "page": b"\3<html>",
        "nothing": b"\4",
    }


def documents() -> dict[str, object]:
    """By name."""
    now = _NOW.isoformat()
    work = {
        "csr": {"renewal_id": 1, "email": "a@b.c", "common_name": "x"},
        "request": {"renewal_id": 1, "request": "AAAA", "renew_not_after": now},
        "received": {"renewal_id": 1, "certificate": "x"},
        "probes": {"check_id": 1},
        "canary": {
            "credential_id": "c",
            "topic": "t",
            "token_fingerprint": "ab" * 32,
            "sealed": "AAAA",
        },
        "sealing": {"orders": [{"credential_id": "c", "sealing_key": "AAAA"}]},
        "standing": {"vendor": "v", "customer": "c", "language": "en", "verdict_at": now},
        "ask_again_seconds": 60,
        "vendor_time": now,
    }
    problem = {
        "title": "t",
        "status": 422,
        "detail": "d",
        "code": "csr_damaged",
        "findings": [{"code": "csr_damaged", "message": "m", "remedy": "r"}],
    }
    skew = {**problem, "status": 401, "code": "clock_skew", "vendor_time": now}
    end = {"vendor_time": "9999-12-31T23:59:59Z"}
    return {
        "work": work,
        "receipt": {"fingerprint": "ab" * 32},
        "problem": problem,
        "skew": skew,
        "end": end,
    }


_DOCUMENTS = list(documents().values())
