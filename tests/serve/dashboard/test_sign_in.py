"""Signing in with a password: who gets in, what the browser keeps, when the door shuts."""

from __future__ import annotations

import ssl
from datetime import timedelta
from http.cookies import SimpleCookie

import httpx
import pytest
from sqlmodel import select

from lifecycle.vendor import failed_sign_ins, users
from lifecycle.vendor.access_models import FailedSignIn, UserAccount, UserSession
from tests.serve.dashboard.conftest import (
    BROWSER_COOKIE,
    PASSWORD,
    ROOT,
    SESSION_COOKIE,
    BuildOps,
    Ops,
    Visitor,
)


def test_name_and_password_lead_to_the_page_that_was_asked_for(ops: Ops) -> None:
    visitor = ops.visitor()
    asked = visitor.get("/customers?status=due")
    assert asked.status_code == 303
    visitor.get(asked.headers["location"])
    answer = visitor.send("/sign-in", name="Vera ", password=PASSWORD, next="/customers?status=due")
    assert (answer.status_code, answer.headers["location"]) == (303, "/customers?status=due")
    assert visitor.get("/customers?status=due").status_code == 200
    assert "vera" in visitor.words()


@pytest.mark.parametrize(
    "elsewhere",
    [
        "https://evil.example/",
        "//evil.example/",
        "/\\evil.example",
        "\\\\evil.example",
        "javascript:alert(1)",
        "/\tx",
        " //evil.example",
        "///evil.example",
    ],
)
def test_nobody_is_led_to_another_site(ops: Ops, elsewhere: str) -> None:
    visitor = ops.visitor()
    visitor.get("/sign-in")
    answer = visitor.send("/sign-in", name="vera", password=PASSWORD, next=elsewhere)
    assert (answer.status_code, answer.headers["location"]) == (303, "/")


@pytest.mark.parametrize(
    ("name", "password"),
    [
        ("vera", "wrong horse battery staple"),
        ("nobody", PASSWORD),
        ("gone", PASSWORD),
        ("", ""),
        ("vera", ""),
        ("vera' OR '1'='1", PASSWORD),
    ],
)
def test_every_wrong_try_gets_the_very_same_answer(ops: Ops, name: str, password: str) -> None:
    """What the page says must not tell which names there are."""
    visitor = ops.visitor()
    answer = visitor.sign_in(name, password)
    assert answer.status_code == 403
    visitor.page = answer
    assert "Name or password is wrong." in visitor.words()
    assert visitor.session is None
    with ops.served.database.reading() as session:
        assert session.exec(select(UserSession)).all() == []


def test_as_much_is_computed_for_a_name_that_there_is_not(
    ops: Ops, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not by the clock, which a busy machine would spoil: the hash of nobody is verified."""
    from argon2 import PasswordHasher

    verified: list[str] = []
    verify = PasswordHasher.verify

    def noting(self: PasswordHasher, kept: str, password: str) -> bool:
        verified.append(kept.rsplit("$", 2)[0])
        return bool(verify(self, kept, password))

    monkeypatch.setattr(PasswordHasher, "verify", noting)
    for name in ("vera", "nobody", "gone"):
        ops.visitor().sign_in(name, "wrong horse battery staple")
    assert len(verified) == 3
    assert len(set(verified)) == 1, "with the same costs"


def test_the_cookie_is_for_this_host_alone_and_out_of_a_scripts_reach(ops: Ops) -> None:
    answer = ops.visitor().sign_in("vera")
    cookies = [SimpleCookie(line) for line in answer.headers.get_list("set-cookie")]
    (session,) = [c[SESSION_COOKIE] for c in cookies if SESSION_COOKIE in c]
    assert session["secure"]
    assert session["httponly"]
    assert (session["samesite"], session["path"], session["domain"]) == ("lax", "/", "")
    assert session["max-age"] == str(12 * 3600)
    (browser,) = [c[BROWSER_COOKIE] for c in cookies if BROWSER_COOKIE in c]
    assert browser["max-age"] == "0", "what the sign-in page left is gone"


def test_the_registry_has_the_hash_of_the_cookie_and_not_the_cookie(ops: Ops) -> None:
    visitor = ops.signed_in("vera")
    assert visitor.session is not None
    kept = b"".join(path.read_bytes() for path in ops.directory.glob("vendor.sqlite*"))
    assert visitor.session.encode() not in kept
    assert PASSWORD.encode() not in kept


def test_a_session_that_somebody_else_has_chosen_is_not_taken(ops: Ops) -> None:
    """Session fixation: what the browser brings is never what it is signed in under."""
    visitor = ops.visitor()
    visitor.client.cookies.set(SESSION_COOKIE, "chosen-by-somebody-else", domain="127.0.0.1")
    assert visitor.get("/").status_code == 303
    visitor.sign_in("vera")
    assert visitor.client.cookies.get(SESSION_COOKIE) != "chosen-by-somebody-else"


def test_signing_in_again_ends_the_session_before(ops: Ops) -> None:
    first = ops.signed_in("vera")
    old = first.session
    assert old is not None
    second = ops.visitor()
    second.get("/sign-in")
    token = second.token()
    # The same browser: it brings the old session along, as another tab would.
    cookies = {SESSION_COOKIE: old, BROWSER_COOKIE: second.client.cookies[BROWSER_COOKIE]}
    answer = httpx.post(
        f"{ops.url}/sign-in",
        data={"name": "anna", "password": PASSWORD, "token": token},
        headers={"cookie": "; ".join(f"{name}={value}" for name, value in cookies.items())},
        verify=ssl.create_default_context(cafile=str(ops.tls.ca)),
    )
    assert answer.status_code == 403, "the form was not served to whoever is signed in"
    assert first.get("/").status_code == 200


def test_signing_out_ends_the_session_and_not_the_cookie_alone(ops: Ops) -> None:
    visitor = ops.signed_in("vera")
    kept = visitor.session
    visitor.get("/")
    assert visitor.send("/sign-out").headers["location"] == "/sign-in"
    assert visitor.session is None
    assert kept is not None
    visitor.client.cookies.set(SESSION_COOKIE, kept, domain="127.0.0.1")
    assert visitor.get("/").status_code == 303


def test_a_session_ends_after_the_hours_that_are_configured(build_ops: BuildOps) -> None:
    ops = build_ops("[serve]\nsession_hours = 2\n")
    visitor = ops.signed_in("vera")
    ops.clock.advance(timedelta(hours=1, minutes=59))
    assert visitor.get("/").status_code == 200
    ops.clock.advance(timedelta(minutes=1))
    assert visitor.get("/").status_code == 303


def test_a_disabled_user_is_out_at_once_and_a_role_counts_at_once(ops: Ops) -> None:
    anna, vera = ops.signed_in("anna"), ops.signed_in("vera")
    ops.add("acme")
    with ops.served.database.transaction() as session:
        users.disable(session, users.user_by_name(session, "anna"), at=ops.clock.now(), actor=ROOT)
        account = users.user_by_name(session, "vera")
        users.set_role(session, account, users.Role.OPERATOR, at=ops.clock.now(), actor=ROOT)
    assert anna.get("/").status_code == 303
    assert vera.get("/customers/acme/renew").status_code == 200
    with ops.served.database.reading() as session:
        assert [row.user for row in session.exec(select(UserSession))] == ["vera"]


def test_another_password_signs_out_everywhere_and_the_old_one_is_no_use(ops: Ops) -> None:
    here, there = ops.signed_in("vera"), ops.signed_in("vera")
    here.get("/account")
    new = "four other words in a row"
    answer = here.send("/account", old=PASSWORD, new=new, again=new)
    assert answer.headers["location"] == "/sign-in"
    assert here.get("/").status_code == there.get("/").status_code == 303
    assert ops.visitor().sign_in("vera").status_code == 403
    assert ops.visitor().sign_in("vera", new).status_code == 303
    assert [e.action for e in ops.entries(actor="user:vera")][-2:] == [
        "user_password_set",
        "signed_in",
    ]


@pytest.mark.parametrize(
    ("old", "new", "again", "says"),
    [
        ("wrong", "four other words", "four other words", "old password is wrong"),
        (PASSWORD, "four other words", "four other word", "differ"),
        (PASSWORD, "short", "short", "has 5 characters"),
        (PASSWORD, "aaaaaaaaaaaaaaa", "aaaaaaaaaaaaaaa", "over and over"),
    ],
)
def test_a_password_that_will_not_do_is_said_on_the_same_page(
    ops: Ops, old: str, new: str, again: str, says: str
) -> None:
    visitor = ops.signed_in("vera")
    visitor.get("/account")
    answer = visitor.send("/account", old=old, new=new, again=again)
    assert answer.status_code == 422
    assert says in answer.text
    assert visitor.get("/").status_code == 200, "still signed in"


# Too many tries


def wrong(visitor: Visitor, name: str, times: int) -> list[int]:
    return [visitor.sign_in(name, "wrong horse battery staple").status_code for _ in range(times)]


def test_after_five_wrong_passwords_not_even_the_right_one_opens_the_door(ops: Ops) -> None:
    assert wrong(ops.visitor(), "vera", failed_sign_ins.BY_NAME) == [403] * 5
    answer = ops.visitor().sign_in("vera")
    assert answer.status_code == 429
    assert int(answer.headers["retry-after"]) == 15 * 60
    assert "Try again after 09:15 UTC." in answer.text
    assert ops.visitor().sign_in("anna").status_code == 303, "others get in"
    ops.clock.advance(failed_sign_ins.WINDOW)
    assert ops.visitor().sign_in("vera").status_code == 303


def test_a_name_that_there_is_not_closes_in_the_same_way(ops: Ops) -> None:
    assert wrong(ops.visitor(), "nobody", 6) == [403] * 5 + [429]


def test_tries_at_many_names_close_the_door_for_the_address(ops: Ops) -> None:
    visitor = ops.visitor()
    codes = [wrong(visitor, f"name{number}", 1)[0] for number in range(21)]
    assert codes == [403] * failed_sign_ins.BY_ADDRESS + [429]
    assert visitor.sign_in("anna").status_code == 429


def test_a_burst_is_one_entry_of_the_audit_log(ops: Ops) -> None:
    wrong(ops.visitor(), "vera", 9)
    (entry,) = ops.entries(action="sign_in_closed")
    assert (entry.actor, entry.subject) == ("address:127.0.0.1", "user:vera")
    assert entry.detail["failed_for_name"] == 5


def test_tries_while_the_door_is_shut_do_not_keep_it_shut(ops: Ops) -> None:
    visitor = ops.visitor()
    wrong(visitor, "vera", 5)
    ops.clock.advance(timedelta(minutes=14))
    assert wrong(visitor, "vera", 20) == [429] * 20
    ops.clock.advance(timedelta(minutes=1))
    assert visitor.sign_in("vera").status_code == 303
    with ops.served.database.reading() as session:
        assert session.exec(select(FailedSignIn)).all() == []


def test_a_right_password_forgets_the_wrong_ones_before(ops: Ops) -> None:
    visitor = ops.visitor()
    for _ in range(3):
        wrong(visitor, "vera", 4)
        assert visitor.sign_in("vera").status_code == 303
        visitor.get("/")
        visitor.send("/sign-out")


def test_a_new_password_opens_the_door_again(ops: Ops, password_hash: str) -> None:
    wrong(ops.visitor(), "vera", 5)
    with ops.served.database.transaction() as session:
        account = session.get_one(UserAccount, "vera")
        users.set_password(session, account, password_hash, at=ops.clock.now(), actor=ROOT)
    assert ops.visitor().sign_in("vera").status_code == 303


def test_what_a_proxy_says_of_the_address_counts_only_if_it_is_trusted(
    build_ops: BuildOps,
) -> None:
    for more, counted in (
        ("", "127.0.0.1"),
        ('[serve]\ntrusted_proxies = ["127.0.0.1"]\n', "203.0.113.9"),
        ('[serve]\ntrusted_proxies = ["127.0.0.0/8"]\n', "203.0.113.9"),
        ('[serve]\ntrusted_proxies = ["192.0.2.1"]\n', "127.0.0.1"),
    ):
        ops = build_ops(more)
        visitor = ops.visitor()
        visitor.client.headers["X-Forwarded-For"] = "198.51.100.7, 203.0.113.9"
        assert visitor.sign_in("vera").status_code == 303
        (entry,) = ops.entries(action="signed_in")
        assert entry.detail["address"] == counted, more


# Without TLS


def test_over_plain_http_nobody_but_this_machine_signs_in(build_ops: BuildOps) -> None:
    """The proxy that does TLS is not named in the configuration: then it says what to set."""
    ops = build_ops('[serve]\ntrusted_proxies = ["127.0.0.1"]\n', encrypted=False)
    visitor = ops.visitor()
    visitor.get("/sign-in")
    visitor.client.headers["X-Forwarded-For"] = "203.0.113.9"
    answer = visitor.send("/sign-in", name="vera", password=PASSWORD)
    assert answer.status_code == 403
    assert "without TLS" in answer.text
    assert "trusted_proxies" in answer.text


def test_on_this_machine_plain_http_will_do_and_the_cookie_says_so(build_ops: BuildOps) -> None:
    ops = build_ops(encrypted=False)
    answer = ops.visitor().sign_in("vera")
    lines = answer.headers.get_list("set-cookie")
    assert any(line.startswith("pushcert=") for line in lines)
    assert not any("Secure" in line or "__Host-" in line for line in lines)
    assert "strict-transport-security" not in answer.headers


def test_behind_a_proxy_that_does_tls_the_cookie_is_secure(build_ops: BuildOps) -> None:
    ops = build_ops('[serve]\ntrusted_proxies = ["127.0.0.1"]\n', encrypted=False)
    client = httpx.Client(base_url=ops.url, headers={"X-Forwarded-Proto": "https"})
    visitor = Visitor(ops.opened.enter_context(client))
    page = visitor.get("/sign-in")
    assert page.headers["set-cookie"].startswith(f"{BROWSER_COOKIE}=")
    assert "Secure" in page.headers["set-cookie"]
    assert "max-age=31536000" in page.headers["strict-transport-security"]
