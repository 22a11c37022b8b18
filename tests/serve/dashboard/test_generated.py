"""Hundreds of requests made from the document by an operator who is signed in: no 5xx."""

from __future__ import annotations

from collections import Counter
from typing import Any

import httpx
from hypothesis import HealthCheck, Phase, given, reject, seed, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode, openapi
from schemathesis.core.result import Ok

from lifecycle.serve.dashboard.access import TAG
from tests.serve.dashboard.conftest import Ops
from tests.serve.dashboard.test_access import token_of

CASES = 600


def test_no_form_and_no_address_makes_a_page_fail(acme: Ops) -> None:
    anna = acme.signed_in("anna")
    token = token_of(anna)
    operations = [
        found.ok()
        for found in openapi.from_dict(acme.app.openapi()).get_all_operations()
        if isinstance(found, Ok)
    ]
    operations = [
        operation
        for operation in operations
        if TAG in operation.definition.raw["tags"]
        # The one would end the session, the other hashes a password for each case.
        and operation.path not in ("/sign-out", "/sign-in", "/account")
    ]
    answers: Counter[tuple[str, int]] = Counter()

    @seed(20270301)
    @settings(
        max_examples=CASES,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(data=st.data())
    def run(data: st.DataObject) -> None:
        operation = data.draw(st.sampled_from(operations))
        mode = data.draw(st.sampled_from(GenerationMode))
        case = data.draw(operation.as_strategy(generation_mode=mode))
        if "slug" in case.path_parameters and data.draw(st.booleans()):
            case.path_parameters["slug"] = "acme"
        wanted: dict[str, Any] = case.as_transport_kwargs(base_url=acme.url)
        if isinstance(wanted.get("data"), dict) and data.draw(st.integers(0, 9)):
            wanted["data"]["token"] = token
        elif not isinstance(wanted.get("data"), dict) and "data" in wanted:
            wanted["content"] = wanted.pop("data")
        wanted.pop("files", None)
        wanted["headers"] = {
            name: str(value).encode("utf-8", "replace") for name, value in wanted["headers"].items()
        }
        wanted.pop("cookies", None)
        try:
            answer = anna.client.request(**wanted)
        except httpx.LocalProtocolError:
            reject()  # no client could send such a header
        answers[operation.label, answer.status_code] += 1
        assert answer.status_code < 500, (answer.request.method, answer.request.url, answer.text)

    run()
    assert answers.total() >= CASES
    assert {status for _, status in answers} >= {200, 303, 403, 404, 422}, answers
    assert anna.get("/").status_code == 200, "still signed in"
    done = {action.split()[1] for action, status in answers if status == 303}
    assert len(done) >= 3, answers
