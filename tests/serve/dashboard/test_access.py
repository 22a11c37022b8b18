"""Who may use what: every route of the dashboard, made from the application's own routes."""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from lifecycle.serve import dashboard
from lifecycle.serve.dashboard.access import TAG, Needs
from lifecycle.vendor import credentials
from lifecycle.vendor.access_models import InstanceCredential
from tests.serve.dashboard.conftest import Ops, Visitor

FORMS = {
    "/customers/{slug}/pause": {"reason": "moving"},
    "/customers/{slug}/revoke": {"reason": "stolen"},
    "/sign-in": {"name": "vera", "password": "wrong"},
}
"""What a form must have filled in to be carried out."""
ELSEWHERE = ("cross-site", "same-site")


def routes(ops: Ops) -> Iterator[tuple[str, str, str]]:
    """Method, path and role of every route of the dashboard, as the OpenAPI document has them."""
    for path, methods in ops.app.openapi()["paths"].items():
        for method, said in methods.items():
            if TAG in said.get("tags", ()):
                assert said.get("x-role") in set(Needs), f"{path} has no rule"
                yield method.upper(), path, said["x-role"]


def filled(path: str) -> str:
    return path.format(slug="acme", digest="0" * 16, name="dashboard.css")


def ask(visitor: Visitor, method: str, path: str, token: str | None) -> int:
    if method == "GET":
        return visitor.client.get(filled(path)).status_code
    fields = dict(FORMS.get(path, {}))
    if token is not None:
        fields["token"] = token
    return visitor.client.post(filled(path), data=fields).status_code


def token_of(visitor: Visitor) -> str:
    visitor.get("/account")
    return visitor.token()


def state(ops: Ops) -> tuple[object, ...]:
    customer = ops.customer("acme")
    return (
        customer.paused_at,
        len(ops.entries()),
        len(ops.messages()),
        getattr(ops.renewal("acme"), "id", None),
    )


def test_there_are_routes_of_every_role_and_each_carries_its_rule(acme: Ops) -> None:
    found = list(routes(acme))
    assert {role for _, _, role in found} == {"public", "viewer", "operator"}
    assert len(found) == len(set(found)) > 25
    assert {path for _, path, _ in found} >= {
        "/",
        "/customers",
        "/audit",
        "/customers/{slug}/renew",
    }


def test_no_route_can_be_made_without_a_rule_or_left_out_of_the_document() -> None:
    """Routes are made by ``Pages`` alone, which asks for the role; none is added beside it."""
    for module in pkgutil.iter_modules(dashboard.__path__, f"{dashboard.__name__}."):
        text = Path(importlib.import_module(module.name).__file__ or "").read_text()
        assert "include_in_schema" not in text, module.name
        if module.name.rpartition(".")[2] not in ("access", "routes"):
            assert not re.search(r"APIRouter|\.add_api_route|\brouter\.", text), module.name


def test_whoever_is_not_signed_in_sees_and_does_nothing(acme: Ops) -> None:
    before = state(acme)
    for method, path, role in routes(acme):
        status = ask(acme.visitor(), method, path, "0" * 64)
        if role == "public":
            assert status in (200, 303, 403, 404, 422), path
        else:
            assert status == (303 if method == "GET" else 401), f"{method} {path}"
    assert state(acme) == before


def test_a_viewer_sees_everything_and_does_nothing(acme: Ops) -> None:
    vera = acme.signed_in("vera")
    token, before = token_of(vera), state(acme)
    for method, path, role in routes(acme):
        if path in ("/sign-out", "/account", "/audit/verdict") or role == "public":
            continue
        status = ask(vera, method, path, token)
        assert status == (403 if role == "operator" else 200), f"{method} {path}"
    assert state(acme) == before
    assert vera.get("/customers/acme/renew").status_code == 403
    assert "your role is viewer" in vera.words().lower()
    assert "Renew …" not in vera.get("/customers/acme").text, "what one may not is not offered"


def test_an_operator_may_open_every_confirmation(acme: Ops) -> None:
    anna = acme.signed_in("anna")
    for method, path, role in routes(acme):
        if method == "GET" and role != "public":
            assert ask(anna, method, path, None) == 200, path


def test_no_form_is_taken_without_its_token_or_with_another_ones(acme: Ops) -> None:
    anna, vera = acme.signed_in("anna"), acme.signed_in("vera")
    token, others, before = token_of(anna), token_of(vera), state(acme)
    for method, path, _ in routes(acme):
        if method == "POST":
            for wrong in (None, "", "0" * 64, others, token[:-1], token.upper()):
                assert ask(anna, method, path, wrong) == 403, f"{path} with {wrong}"
    assert state(acme) == before


def test_no_form_is_taken_that_another_site_has_sent(acme: Ops) -> None:
    """Even with the right token: the browser itself says where it comes from."""
    anna = acme.signed_in("anna")
    token, before = token_of(anna), state(acme)
    port = acme.url.rpartition(":")[2]
    for method, path, _ in routes(acme):
        if method != "POST":
            continue
        fields = {**FORMS.get(path, {}), "token": token}
        for headers in (
            *({"Sec-Fetch-Site": site} for site in ELSEWHERE),
            {"Origin": "https://evil.example"},
            {"Origin": "null"},
            {"Origin": f"http://127.0.0.1:{port}"},
            {"Origin": f"https://127.0.0.1.evil.example:{port}"},
        ):
            answer = anna.client.post(filled(path), data=fields, headers=headers)
            assert answer.status_code == 403, f"{path} with {headers}"
            assert "another site" in answer.text
    assert state(acme) == before


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "same-origin", "Origin": "https://behind.a.proxy.example"},
        {"Origin": "https://push.example.com"},
        {},
    ],
)
def test_a_form_of_ours_is_taken_under_every_name_that_is_ours(
    build_ops: object, headers: dict[str, str]
) -> None:
    assert callable(build_ops)
    ops: Ops = build_ops('[serve]\npublic_url = "https://push.example.com"\n')
    ops.add("acme")
    anna = ops.signed_in("anna")
    anna.get("/customers/acme/pause")
    answer = anna.post(
        "/customers/acme/pause", headers, token=anna.token(), reason="moving", until=""
    )
    assert answer.headers["location"] == "/customers/acme?done=pause"


def test_the_form_of_the_sign_in_page_is_bound_to_the_browser(acme: Ops) -> None:
    """Or another site could sign somebody in under a name of its choice."""
    victim, attacker = acme.visitor(), acme.visitor()
    victim.get("/sign-in")
    attacker.get("/sign-in")
    answer = victim.post(
        "/sign-in", token=attacker.token(), name="vera", password="correct horse battery staple"
    )
    assert answer.status_code == 403
    assert victim.session is None
    nobody = acme.visitor()
    assert nobody.post("/sign-in", token="0" * 64, name="vera", password="x").status_code == 403


def test_every_answer_tells_the_browser_to_trust_nothing_from_elsewhere(acme: Ops) -> None:
    anna = acme.signed_in("anna")
    for path in ("/", "/customers/acme", "/sign-in", "/nowhere", "/customers/nobody", "/audit"):
        headers = anna.client.get(path).headers
        policy = dict(part.split(" ", 1) for part in headers["content-security-policy"].split("; "))
        assert policy["default-src"] == "'none'"
        assert policy["script-src"] == policy["style-src"] == policy["form-action"] == "'self'"
        assert policy["frame-ancestors"] == policy["base-uri"] == "'none'"
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "same-origin"
        assert headers["cache-control"] == "no-store"
        assert headers["strict-transport-security"].startswith("max-age=")


def test_no_page_has_an_inline_script_style_or_handler(acme: Ops) -> None:
    anna = acme.signed_in("anna")
    for method, path, role in routes(acme):
        if method == "GET" and role != "public":
            text = anna.client.get(filled(path)).text
            assert not re.search(
                r"<style|<script(?![^>]*\bsrc=)|\son\w+=|\sstyle=|javascript:", text
            )


def test_files_are_kept_for_ever_and_nothing_else_is_served_with_them(acme: Ops) -> None:
    visitor = acme.visitor()
    page = visitor.get("/sign-in").text
    for name in ("dashboard.css", "dashboard.js", "icon.svg"):
        path = page[page.index("/assets/") :].split(name)[0].rsplit("/assets/", 1)[1] + name
        answer = visitor.client.get(f"/assets/{path}")
        assert answer.status_code == 200
        assert "immutable" in answer.headers["cache-control"]
        assert answer.headers["x-content-type-options"] == "nosniff"
    for path in ("0/dashboard.css", "0/../errors.py", "x/..%2f__init__.py", "0/base.html.j2"):
        assert visitor.client.get(f"/assets/{path}").status_code == 404


def test_an_address_that_is_not_there_is_a_page_for_people_and_a_problem_for_machines(
    acme: Ops,
) -> None:
    visitor = acme.visitor()
    answer = visitor.client.get("/nowhere")
    assert answer.status_code == 404
    assert "There is no such page." in answer.text
    assert answer.headers["content-type"].startswith("text/html")
    machine = visitor.client.get("/v1/nowhere")
    assert machine.status_code == 404
    assert machine.headers["content-type"] == "application/problem+json"
    assert "content-security-policy" not in machine.headers


@pytest.mark.parametrize(
    ("path", "status", "says"),
    [
        ("/customers/nobody", 404, "There is no customer &#39;nobody&#39;."),
        ("/customers/nobody/renew", 404, "There is no customer"),
        ("/customers?page=soon", 422, "a value that cannot be"),
        ("/customers?q=" + "x" * 300, 422, "a value that cannot be"),
        ("/audit?before=-1", 422, "a value that cannot be"),
        ("/sign-out", 405, "not used that way"),
    ],
)
def test_an_error_is_a_sentence_and_a_next_step_in_the_same_look(
    acme: Ops, path: str, status: int, says: str
) -> None:
    answer = acme.signed_in("anna").client.get(path)
    assert answer.status_code == status
    assert says in answer.text
    assert "To the overview" in answer.text
    assert "content-security-policy" in answer.headers


def test_a_fault_of_ours_is_a_page_that_tells_nothing(
    acme: Ops, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lifecycle.serve.dashboard import overview_page

    def fails(*_: object) -> None:
        raise RuntimeError("secret: hunter2")

    vera = acme.signed_in("vera")
    monkeypatch.setattr(overview_page, "overview", fails)
    answer = vera.client.get("/")
    assert answer.status_code == 500
    assert "hunter2" not in answer.text
    assert "an error that it does not know" in answer.text


def test_a_revoked_session_of_an_instance_is_no_way_into_the_dashboard(acme: Ops) -> None:
    """An instance's credential opens no page, whatever it is."""
    with acme.served.database.transaction() as session:
        customer = acme.customer("acme")
        credential: InstanceCredential = credentials.install(
            session,
            session.merge(customer),
            credentials.NewKeys(bytes(32), bytes(32)),
            at=acme.clock.now(),
            invitation_id=None,
        )
        key = credential.id
    visitor = acme.visitor()
    visitor.client.cookies.set("__Host-pushcert", key, domain="127.0.0.1")
    visitor.client.headers["Authorization"] = f"Bearer {key}"
    assert visitor.get("/").status_code == 303
