"""Thousands of requests made from the published document, against the live server: no 5xx.

Half of what is made is what the document allows, half is not. Most requests are signed by an
instance that is known, so that they reach what is behind the door.
"""

from __future__ import annotations

import ssl
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from hypothesis import HealthCheck, Phase, given, reject, seed, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode, openapi
from schemathesis.core.result import Ok

from tests.serve.test_authorisation import published

if TYPE_CHECKING:
    from lifecycle.wire.signatures import RequestSigner
    from tests.serve.conftest import Vendor

CASES = 5_000
SEEDS = (20270301, 20270302, 20270303, 20270304)
EACH = CASES // len(SEEDS)
OPERATIONS = [
    found.ok()
    for found in openapi.from_dict(published()).get_all_operations()
    if isinstance(found, Ok)
]
BY_LABEL = {operation.label: operation for operation in OPERATIONS}


@pytest.fixture
def live(vendor: Vendor) -> Iterator[tuple[Vendor, httpx.Client, RequestSigner]]:
    enrolled = vendor.enrolled("acme").enrolled()
    assert enrolled is not None
    trusted = ssl.create_default_context(cafile=str(vendor.tls.ca))
    with httpx.Client(base_url=vendor.url, verify=trusted, timeout=60) as client:
        yield vendor, client, enrolled.signer


def test_the_document_can_be_generated_from() -> None:
    assert len(OPERATIONS) == sum(len(methods) for methods in published()["paths"].values())


@pytest.mark.parametrize("starting_at", SEEDS)
def test_no_request_makes_the_server_fail(
    live: tuple[Vendor, httpx.Client, RequestSigner], starting_at: int
) -> None:
    answers = _play(live, starting_at, cases=EACH, labels=BY_LABEL, modes=tuple(GenerationMode))
    assert answers.total() >= EACH, "fewer cases were made than were asked for"


@pytest.mark.parametrize("label", ["GET /v1/work", "POST /v1/reports"])
def test_signed_requests_that_the_document_allows_get_behind_the_door(
    live: tuple[Vendor, httpx.Client, RequestSigner], label: str
) -> None:
    """Else the thousands above would only ever have been turned away."""
    answers = _play(live, SEEDS[0], cases=100, labels=[label], modes=(GenerationMode.POSITIVE,))
    assert answers[label, 200] + answers[label, 204] > 0, answers


def _play(
    live: tuple[Vendor, httpx.Client, RequestSigner],
    starting_at: int,
    *,
    cases: int,
    labels: Collection[str],
    modes: Sequence[GenerationMode],
) -> Counter[tuple[str, int]]:
    """What the server answered, by operation and status; nine in ten requests are signed."""
    vendor, client, signer = live
    answers: Counter[tuple[str, int]] = Counter()

    @seed(starting_at)
    @settings(
        max_examples=cases,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(data=st.data())
    def run(data: st.DataObject) -> None:
        operation = BY_LABEL[data.draw(st.sampled_from(sorted(labels)))]
        case = data.draw(operation.as_strategy(generation_mode=data.draw(st.sampled_from(modes))))
        request = _request(client, case.as_transport_kwargs(base_url=vendor.url))
        if data.draw(st.integers(0, 9)):
            request.headers["Authorization"] = signer.sign(
                request.method, request.url.path, request.content, vendor.clock.now()
            )
        try:
            answer = client.send(request)
        except httpx.LocalProtocolError:
            reject()  # no client could send such a header
        answers[operation.label, answer.status_code] += 1
        assert answer.status_code < 500, (request.method, request.url, answer.text)

    run()
    return answers


def _request(client: httpx.Client, wanted: dict[str, Any]) -> httpx.Request:
    wanted["headers"] = {
        name: str(value).encode("utf-8", "replace") for name, value in wanted["headers"].items()
    }
    if "data" in wanted and not isinstance(wanted["data"], dict):
        wanted["content"] = wanted.pop("data")  # a dict is a form, which httpx encodes
    wanted.pop("files", None)
    return client.build_request(**wanted)
