"""Signing in through OpenID Connect: with an honest provider, and with one that lies."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx
import oidc_provider_mock
import pytest

from lifecycle.config import CONFIG_NAME, OidcSection, load_config
from lifecycle.errors import Refused
from lifecycle.serve.dashboard.person import person_of
from lifecycle.serve.dashboard.provider import MAX_ANSWER
from lifecycle.serve.dashboard.round_trip import departing, returning
from lifecycle.serve.listen import Listening
from lifecycle.vendor.users import Role
from tests.serve.conftest import running
from tests.serve.dashboard.conftest import BuildOps, Ops, Visitor
from tests.serve.dashboard.crooked_provider import (
    Crooked,
    crooked_app,
    signed_with_what_everybody_knows,
    unsigned,
)

TODAY = datetime.now(UTC).replace(microsecond=0)
"""When these tests were read; the crooked provider goes by it."""


def free_port() -> int:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        return int(bound.getsockname()[1])


def configured(issuer: str, port: int, more: str = "", client: str = "pushcert") -> str:
    return (
        f'[serve]\npublic_url = "https://127.0.0.1:{port}"\n'
        f'[oidc]\nissuer = "{issuer}"\nclient_id = "{client}"\n'
        f'viewers = ["staff"]\noperators = ["push-ops"]\n{more}'
    )


@pytest.fixture
def honest() -> Iterator[str]:
    """oidc-provider-mock, on loopback; gives its URL."""
    people = [
        oidc_provider_mock.User(
            sub="1001",
            claims={
                "preferred_username": "anna",
                "email": "anna@vendor.example",
                "groups": ["staff", "push-ops"],
            },
        ),
        oidc_provider_mock.User(
            sub="1002", claims={"email": "vera@vendor.example", "groups": ["staff"]}
        ),
        oidc_provider_mock.User(
            sub="1003", claims={"preferred_username": "mallory", "groups": ["x"]}
        ),
    ]
    with oidc_provider_mock.run_server_in_thread(require_nonce=True, user_claims=people) as server:
        yield f"http://localhost:{server.server_port}"


@pytest.fixture
def ops(build_ops: BuildOps, honest: str, monkeypatch: pytest.MonkeyPatch) -> Ops:
    monkeypatch.setenv("OIDC_SECRET", "what the provider knows us by")
    port = free_port()
    secret = 'client_secret = "env:OIDC_SECRET"\n'
    # The honest provider goes by the host's clock, which has moved on since this file was read.
    now = datetime.now(UTC).replace(microsecond=0)
    return build_ops(configured(honest, port, secret), port=port, start=now)


def go_through(visitor: Visitor, sub: str, path: str = "/sign-in/oidc") -> httpx.Response:
    """To the provider, as the person with this ``sub``, and back."""
    gone = visitor.get(path)
    assert gone.status_code == 303, gone.text
    with httpx.Client() as elsewhere:
        back = elsewhere.post(gone.headers["location"], data={"sub": sub})
    assert back.status_code == 302, back.text
    return visitor.get(back.headers["location"])


def test_an_operator_signs_in_at_an_honest_provider_and_lands_where_they_wanted(ops: Ops) -> None:
    visitor = ops.visitor()
    assert "Sign in with your organisation" in visitor.get("/sign-in?next=/audit").text
    answer = go_through(visitor, "1001", "/sign-in/oidc?next=/audit")
    assert (answer.status_code, answer.headers["location"]) == (303, "/audit")
    ops.add("acme")
    assert visitor.get("/customers/acme/renew").status_code == 200
    (entry,) = ops.entries(action="signed_in")
    assert entry.actor == "user:anna@localhost", "and no local user's name"
    assert entry.detail["subject"] == "1001"
    assert entry.detail["role"] == "operator"


def test_a_viewer_by_the_claim_may_look_and_not_act(ops: Ops) -> None:
    visitor = ops.visitor()
    go_through(visitor, "1002")
    ops.add("acme")
    assert visitor.get("/").status_code == 200
    assert "vera@vendor.example" in visitor.words()
    assert visitor.get("/customers/acme/renew").status_code == 403
    visitor.get("/account")
    assert "Another password" not in visitor.words()
    answer = visitor.post("/account", None, token=visitor.token(), old="x", new="y", again="y")
    assert answer.status_code == 403


def test_somebody_without_a_role_stays_outside_and_the_audit_log_says_so(ops: Ops) -> None:
    visitor = ops.visitor()
    answer = go_through(visitor, "1003")
    assert answer.status_code == 403
    assert "neither the role of a viewer nor of an operator" in answer.text
    assert visitor.session is None
    (entry,) = ops.entries(action="sign_in_refused")
    assert entry.actor == "user:mallory@localhost"


def test_the_way_there_asks_for_a_code_with_pkce_state_and_nonce(ops: Ops) -> None:
    location = ops.visitor().get("/sign-in/oidc").headers["location"]
    asked = {name: values[0] for name, values in parse_qs(urlsplit(location).query).items()}
    assert asked["response_type"] == "code"
    assert asked["code_challenge_method"] == "S256"
    assert len(asked["code_challenge"]) == 43
    assert len(asked["nonce"]) == 64
    assert asked["redirect_uri"] == f"{ops.url}/sign-in/oidc/return"
    assert asked["scope"] == "openid profile email"


def test_a_code_is_no_use_in_another_browser(ops: Ops) -> None:
    """What an attacker begins, a victim cannot be made to finish; nor the other way round."""
    attacker, victim = ops.visitor(), ops.visitor()
    victim.get("/sign-in")
    gone = attacker.get("/sign-in/oidc")
    with httpx.Client() as elsewhere:
        back = elsewhere.post(gone.headers["location"], data={"sub": "1001"})
    answer = victim.get(back.headers["location"])
    assert answer.status_code == 422
    assert "not begun in this browser" in answer.text
    assert victim.session is None
    assert ops.visitor().get(back.headers["location"]).status_code == 422, "nor without a cookie"
    assert attacker.get(back.headers["location"]).status_code == 303
    assert attacker.get(back.headers["location"]).status_code == 422, "nor a second time"


def test_a_sign_in_that_takes_too_long_must_be_begun_again(ops: Ops) -> None:
    visitor = ops.visitor()
    gone = visitor.get("/sign-in/oidc")
    with httpx.Client() as elsewhere:
        back = elsewhere.post(gone.headers["location"], data={"sub": "1001"})
    ops.clock.advance(timedelta(minutes=16))
    answer = visitor.get(back.headers["location"])
    assert answer.status_code == 422
    assert "no longer good" in answer.text


def test_one_who_says_no_at_the_provider_comes_back_to_a_sentence(ops: Ops) -> None:
    visitor = ops.visitor()
    gone = visitor.get("/sign-in/oidc")
    with httpx.Client() as elsewhere:
        back = elsewhere.post(gone.headers["location"], data={"action": "deny"})
    state = parse_qs(urlsplit(gone.headers["location"]).query)["state"][0]
    answer = visitor.get(f"{back.headers['location']}&{urlencode({'state': state})}")
    assert answer.status_code == 403
    assert "access_denied" in answer.text


def test_without_a_provider_there_is_no_such_way_in(build_ops: BuildOps) -> None:
    ops = build_ops()
    assert "organisation" not in ops.visitor().get("/sign-in").text
    assert ops.visitor().get("/sign-in/oidc").status_code == 404


def test_a_provider_that_is_down_is_said_and_local_users_get_in(build_ops: BuildOps) -> None:
    port = free_port()
    ops = build_ops(configured(f"http://127.0.0.1:{free_port()}", port), port=port)
    answer = ops.visitor().get("/sign-in/oidc")
    assert answer.status_code == 503
    assert "it does not answer" in answer.text
    assert ops.visitor().sign_in("vera").status_code == 303


# A provider that lies


@pytest.fixture
def crooked() -> Iterator[Crooked]:
    port = free_port()
    provider = Crooked(f"http://127.0.0.1:{port}", int(TODAY.timestamp()))
    provider.claims = {"preferred_username": "anna", "groups": ["push-ops"]}
    with running(crooked_app(provider), Listening("127.0.0.1", port)):
        yield provider


@pytest.fixture
def against(build_ops: BuildOps, crooked: Crooked) -> Ops:
    port = free_port()
    return build_ops(configured(crooked.url, port), port=port, start=TODAY)


def through(visitor: Visitor) -> httpx.Response:
    gone = visitor.get("/sign-in/oidc")
    if gone.status_code != 303:
        return gone
    return visitor.get(httpx.get(gone.headers["location"]).headers["location"])


def test_the_crooked_provider_can_be_straight(against: Ops) -> None:
    """Or the refusals below show nothing."""
    visitor = against.visitor()
    assert through(visitor).headers["location"] == "/"
    assert visitor.get("/").status_code == 200


def other(name: str, value: Any) -> Any:
    return lambda claims: claims.update({name: value})


def without(name: str) -> Any:
    return lambda claims: claims.pop(name)


NOW = int(TODAY.timestamp())


@pytest.mark.parametrize(
    "bend",
    [
        other("nonce", "another"),
        without("nonce"),
        other("aud", "another-client"),
        other("aud", ["another-client", "third"]),
        without("aud"),
        other("iss", "https://evil.example"),
        without("iss"),
        other("exp", NOW - 600),
        without("exp"),
        other("iat", NOW + 3600),
        other("nbf", NOW + 3600),
        without("sub"),
        other("sub", 42),
        other("azp", "another-client"),
        other("at_hash", "AAAAAAAAAAAAAAAAAAAAAA"),
    ],
)
def test_an_id_token_with_a_wrong_claim_lets_nobody_in(
    against: Ops, crooked: Crooked, bend: Any
) -> None:
    crooked.bend_claims = bend
    visitor = against.visitor()
    answer = through(visitor)
    assert answer.status_code == 422
    assert "oidc" not in answer.text.lower() or "ID token" in answer.text
    assert visitor.session is None
    assert against.entries(action="signed_in") == []


def test_an_id_token_that_anybody_could_have_made_lets_nobody_in(
    against: Ops, crooked: Crooked
) -> None:
    from joserfc import jwt
    from joserfc.jwk import RSAKey

    stranger = RSAKey.generate_key(2048, {"kid": "one"})
    for sign in (
        unsigned,
        signed_with_what_everybody_knows(crooked.key.as_pem(private=False)),
        signed_with_what_everybody_knows(b"pushcert"),
        lambda claims: jwt.encode({"alg": "RS256", "kid": "one"}, claims, stranger),
        lambda claims: jwt.encode({"alg": "RS256", "kid": "two"}, claims, crooked.key),
        lambda _: "no.token.atall",
        lambda _: "",
    ):
        crooked.sign = sign
        visitor = against.visitor()
        assert through(visitor).status_code == 422
        assert visitor.session is None


def test_an_answer_of_another_provider_is_not_taken(against: Ops, crooked: Crooked) -> None:
    """RFC 9207: mix-up."""
    crooked.bend_answer = other("iss", "https://evil.example")
    assert through(against.visitor()).status_code == 422
    crooked.bend_answer = other("iss", crooked.url)
    assert through(against.visitor()).status_code == 303


def test_a_state_that_was_changed_on_the_way_is_not_taken(against: Ops, crooked: Crooked) -> None:
    for state in ("", "x", "x.y", "AAAA.", "..", "ü"):
        crooked.bend_answer = other("state", state)
        assert through(against.visitor()).status_code == 422


def test_a_provider_that_goes_by_another_name_is_not_used(against: Ops, crooked: Crooked) -> None:
    crooked.bend_metadata = other("issuer", "https://evil.example")
    answer = through(against.visitor())
    assert answer.status_code == 503
    assert "another name" in answer.text


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("padding", "x" * (MAX_ANSWER + 1), "far too large"),
        ("jwks_uri", "http://[", "does not answer"),
        ("token_endpoint", "https://h:99999/", "does not answer"),
    ],
)
def test_a_provider_whose_metadata_is_no_use_is_not_used(
    against: Ops, crooked: Crooked, name: str, value: str, why: str
) -> None:
    crooked.bend_metadata = other(name, value)
    answer = through(against.visitor())
    assert answer.status_code == 503
    assert why in answer.text


def test_groups_that_only_userinfo_has_count_if_it_is_about_the_same_person(
    against: Ops, crooked: Crooked
) -> None:
    crooked.claims = {"preferred_username": "anna"}
    crooked.userinfo = {"sub": "0042", "groups": ["staff"]}
    visitor = against.visitor()
    through(visitor)
    assert visitor.get("/").status_code == 200
    crooked.userinfo = {"sub": "0043", "groups": ["push-ops"]}
    assert through(against.visitor()).status_code == 403


def test_the_clients_secret_goes_in_the_head_or_where_the_provider_wants_it(
    build_ops: BuildOps, crooked: Crooked, monkeypatch: pytest.MonkeyPatch
) -> None:
    import base64

    monkeypatch.setenv("OIDC_SECRET", "s:e cret")
    port = free_port()
    secret = 'client_secret = "env:OIDC_SECRET"\n'
    ops = build_ops(configured(crooked.url, port, secret, "push cert"), port=port, start=TODAY)
    assert through(ops.visitor()).status_code == 303
    said = base64.b64decode(crooked.asked[-1]["authorization"].removeprefix("Basic ")).decode()
    assert said == "push%20cert:s%3Ae%20cret"
    assert crooked.asked[-1]["client_secret"] == ""
    crooked.bend_metadata = other("token_endpoint_auth_methods_supported", ["client_secret_post"])
    ops.clock.advance(timedelta(hours=1))
    crooked.now += 3600
    assert through(ops.visitor()).status_code == 303
    assert crooked.asked[-1]["authorization"] is None
    assert crooked.asked[-1]["client_secret"] == "s:e cret"


# Pure parts


def test_a_round_trip_comes_back_as_it_went() -> None:
    gone = departing("browser", "/customers?q=ü", TODAY)
    assert returning("browser", gone.state, TODAY + timedelta(minutes=5)) == gone
    assert gone.nonce != gone.verifier
    assert departing("browser", "/", TODAY).state != departing("browser", "/", TODAY).state
    assert "browser" not in repr(gone)
    assert gone.verifier not in repr(gone)


@pytest.mark.parametrize("browser", [None, "", "another"])
def test_a_round_trip_does_not_come_back_to_another_browser(browser: str | None) -> None:
    gone = departing("browser", "/", TODAY)
    with pytest.raises(Refused) as refused:
        returning(browser, gone.state, TODAY)
    assert refused.value.codes == ("sign_in_not_begun_here",)


SECTION = OidcSection(
    issuer="https://login.example.com/realm",
    client_id="pushcert",
    viewers=("staff",),
    operators=("push-ops", "admins"),
)


@pytest.mark.parametrize(
    ("claims", "role"),
    [
        ({"groups": ["staff"]}, Role.VIEWER),
        ({"groups": ["staff", "admins"]}, Role.OPERATOR),
        ({"groups": "push-ops"}, Role.OPERATOR),
        ({"groups": ["Staff"]}, None),
        ({"groups": []}, None),
        ({"groups": {"staff": True}}, None),
        ({"groups": [["staff"]]}, None),
        ({"groups": "staff push-ops"}, None),
        ({}, None),
    ],
)
def test_the_claim_says_the_role(claims: dict[str, Any], role: Role | None) -> None:
    assert person_of({"sub": "1", **claims}, SECTION).role is role


def test_a_claim_may_lie_deeper_or_have_dots_in_its_name() -> None:
    section = SECTION.model_copy(update={"roles_claim": "realm_access.roles"})
    deep = {"sub": "1", "realm_access": {"roles": ["staff"]}}
    assert person_of(deep, section).role is Role.VIEWER
    flat = {"sub": "1", "realm_access.roles": ["admins"]}
    assert person_of({**deep, **flat}, section).role is Role.OPERATOR
    assert person_of({"sub": "1", "realm_access": "staff"}, section).role is None


@pytest.mark.parametrize(
    ("claims", "name"),
    [
        ({"preferred_username": "anna", "email": "a@b.example"}, "anna@login.example.com"),
        ({"email": "a@b.example"}, "a@b.example"),
        ({"email": "a@b.example", "email_verified": False}, "1@login.example.com"),
        ({"preferred_username": "an\nna"}, "1@login.example.com"),
        ({"preferred_username": ["anna"]}, "1@login.example.com"),
        ({"preferred_username": "a" * 400 + "@b.example"}, "a" * 150),
        ({}, "1@login.example.com"),
    ],
)
def test_a_person_is_called_by_a_name_that_no_local_user_has(
    claims: dict[str, Any], name: str
) -> None:
    assert person_of({"sub": "1", **claims}, SECTION).name == name


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ('[oidc]\nissuer = "https://x.example"\nclient_id = "a"', "serve.public_url"),
        (
            '[serve]\npublic_url = "https://p.example"\n[oidc]\nissuer = "https://x.example"',
            "client_id",
        ),
        ('[oidc]\nscopes = ["profile"]', "openid"),
    ],
)
def test_a_configuration_that_cannot_work_is_refused(tmp_path: Path, text: str, names: str) -> None:
    (tmp_path / CONFIG_NAME).write_text(text)
    with pytest.raises(Refused, match=names):
        load_config(tmp_path / CONFIG_NAME)
