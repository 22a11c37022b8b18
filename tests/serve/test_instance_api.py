"""The API as a foreign client meets it: errors, sizes, the document that describes it."""

from __future__ import annotations

import json
import ssl
from collections.abc import Iterator
from datetime import timedelta
from typing import TYPE_CHECKING

import httpx
import pytest

from lifecycle.serve.limits import LARGEST

if TYPE_CHECKING:
    from tests.serve.conftest import BuildVendor, Vendor


@pytest.fixture
def client(vendor: Vendor) -> Iterator[httpx.Client]:
    trusted = ssl.create_default_context(cafile=str(vendor.tls.ca))
    with httpx.Client(base_url=vendor.url, verify=trusted) as client:
        yield client


def test_the_process_is_alive_and_ready(client: httpx.Client) -> None:
    assert client.get("/healthz").json() == {"status": "ok"}
    assert client.get("/readyz").json()["status"] == "ok"


def test_a_worker_that_does_not_keep_up_shows(vendor: Vendor, client: httpx.Client) -> None:
    vendor.add("acme")  # due at once, and nobody works
    vendor.clock.advance(timedelta(minutes=20))
    said = client.get("/readyz")
    assert said.status_code == 200, "instances can still be served"
    assert said.json()["status"] == "degraded"
    assert said.json()["overdue_seconds"] == 20 * 60


def test_a_database_that_is_gone_shows_and_heals(vendor: Vendor, client: httpx.Client) -> None:
    alone = vendor.enrolled("acme")
    database = vendor.directory / "vendor" / "vendor.sqlite"
    vendor.served.database.close()
    away = database.rename(database.with_suffix(".away"))
    for leftover in database.parent.glob("vendor.sqlite-*"):
        leftover.unlink()
    assert client.get("/readyz").status_code == 503
    assert client.get("/healthz").status_code == 200
    vendor.served.database.close()
    for made in database.parent.glob("vendor.sqlite*"):
        if made != away:
            made.unlink()
    away.rename(database)
    assert client.get("/readyz").status_code == 200
    assert alone.work().standing is not None


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"", "application/json"),
        (b"{", "application/json"),
        (b"[]", "application/json"),
        (b"{}", "text/plain"),
        (b"\xff\xfe", "application/json"),
        (b"[" * 50_000, "application/json"),
        (b'{"renewal_id": 1, "csr": "!"}', "application/json"),
        (b'{"renewal_id": 1e400, "csr": ""}', "application/json"),
    ],
)
def test_a_body_that_is_no_message_is_a_problem_and_not_repeated(
    client: httpx.Client, content: bytes, kind: str
) -> None:
    answer = client.post("/v1/csr", content=content, headers={"Content-Type": kind})
    assert answer.status_code in (400, 401, 422)
    assert answer.headers["content-type"] == "application/problem+json"
    assert set(answer.json()) >= {"type", "title", "status", "detail", "code"}
    assert answer.json()["code"] != "internal_fault"


def test_a_private_key_that_is_sent_by_mistake_is_not_in_the_answer(client: httpx.Client) -> None:
    key = "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG9w0BAQ\n-----END PRIVATE KEY-----"
    for body in ({"renewal_id": key, "csr": key}, {"certificate": {"key": key}}):
        for path in ("/v1/csr", "/v1/certificate", "/v1/reports", "/v1/enrolment"):
            assert "MIIEvQ" not in client.post(path, json=body).text


@pytest.mark.parametrize("content", [b"{", b"[" * 50_000, b'{"kind": "nothing"}', b"[[],[],[]]"])
def test_what_nobody_has_signed_is_refused_before_it_is_parsed(
    client: httpx.Client, content: bytes
) -> None:
    for path in ("/v1/reports", "/v1/csr", "/v1/certificate", "/v1/credential"):
        answer = client.post(path, content=content, headers={"Content-Type": "application/json"})
        assert (answer.status_code, answer.json()["code"]) == (401, "signature_missing")


@pytest.mark.parametrize("path", ["/v1/csr", "/v1/enrolment"])
def test_a_body_that_is_too_large_is_not_read_to_its_end(client: httpx.Client, path: str) -> None:
    def endless() -> Iterator[bytes]:
        for _ in range(LARGEST // 1024 * 4):
            yield b" " * 1024

    try:
        answer = client.post(path, content=endless(), headers={"Content-Type": "application/json"})
    except httpx.TransportError:
        return  # the server hung up while we were still sending
    assert answer.status_code == 413
    assert answer.json()["code"] == "body_too_large"


def test_what_is_not_there_and_what_cannot_be_done_are_problems(client: httpx.Client) -> None:
    assert client.get("/v1/nothing").json()["code"] == "path_unknown"
    assert client.delete("/v1/work").json()["code"] == "method_unknown"


def test_the_document_describes_every_answer(client: httpx.Client) -> None:
    document = client.get("/v1/openapi.json").json()
    work = document["paths"]["/v1/work"]["get"]
    assert set(work["responses"]) == {"200", "401", "413", "422", "500", "503"}
    assert "application/problem+json" in work["responses"]["401"]["content"]
    assert document["components"]["securitySchemes"]["instance"]["scheme"] == "bearer"
    assert json.dumps(document).count("private") == json.dumps(document).count("private half")


def test_an_instance_is_told_how_often_to_ask(build_vendor: BuildVendor) -> None:
    vendor = build_vendor("[serve]\npoll_seconds = 17\n")
    assert vendor.enrolled("acme").work().ask_again_seconds == 17


def test_an_instance_whose_clock_is_a_day_off_is_served(vendor: Vendor) -> None:
    from lifecycle.lab.clock import LabClock
    from lifecycle.wire.vendors_time import VendorsTime

    alone = vendor.enrolled("acme")
    for off in (timedelta(days=1), timedelta(days=-1)):
        alone.clock = VendorsTime(LabClock(vendor.clock.now() + off))
        assert alone.work().standing is not None
        assert alone.clock.now() == vendor.clock.now(), "the vendor's time counts"


def test_an_answer_of_a_newer_vendor_is_understood(vendor: Vendor) -> None:
    from lifecycle.wire.http_link import _parsed
    from lifecycle.wire.messages import Work

    said = json.loads(Work().model_dump_json()) | {"invented_in_2028": 1}
    assert _parsed(Work, json.dumps(said).encode()) == Work()
