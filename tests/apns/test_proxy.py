"""Pushes through an HTTP proxy (CONNECT), as many customers' networks demand."""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from lifecycle.apns.client import RetryPolicy, send
from lifecycle.apns.gateway import Gateway
from lifecycle.apns.identity import ClientIdentity
from lifecycle.apns.push import Answer, Push
from lifecycle.errors import Refused

if TYPE_CHECKING:
    from tests.connect_proxy import Proxy

MakePush = Callable[..., Push]
HASTY = RetryPolicy(attempts=3, base=0.001, cap=0.002, timeout=20.0)


def one(identity: ClientIdentity, gateway: Gateway, push: Push) -> Answer:
    (answer,) = send(identity, gateway, [push], retry=HASTY)
    return answer


def test_a_push_goes_through_a_proxy_that_sees_neither_token_nor_certificate(
    proxy: Proxy, node_gateway: Gateway, identity: ClientIdentity, make_push: MakePush
) -> None:
    gateway = replace(node_gateway, proxy=f"http://user:p%40ss@127.0.0.1:{proxy.port}")
    push = make_push()
    assert one(identity, gateway, push).delivered
    authority = f"127.0.0.1:{node_gateway.port}"
    pair = base64.b64encode(b"user:p@ss").decode()
    assert proxy.asked == [
        f"CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n"
        f"Proxy-Authorization: Basic {pair}\r\n\r\n"
    ]


def test_many_pushes_share_one_tunnel(
    proxy: Proxy, node_gateway: Gateway, identity: ClientIdentity, make_push: MakePush
) -> None:
    gateway = replace(node_gateway, proxy=f"http://127.0.0.1:{proxy.port}")
    answers = send(identity, gateway, [make_push() for _ in range(30)], retry=HASTY)
    assert all(a.delivered for a in answers)
    assert len(proxy.asked) == 1
    assert "Proxy-Authorization" not in proxy.asked[0]


@pytest.mark.parametrize(
    ("status", "fault", "detail", "attempts"),
    [
        (b"407 Proxy Authentication Required", "proxy_refused", "proxy_407", 1),
        (b"403 Forbidden", "proxy_refused", "proxy_403", 1),
        (b"502 Bad Gateway", "apns_unreachable", "proxy_502", 3),
    ],
)
def test_a_proxy_that_says_no_is_named(
    proxy: Proxy,
    node_gateway: Gateway,
    identity: ClientIdentity,
    make_push: MakePush,
    status: bytes,
    fault: str,
    detail: str,
    attempts: int,
) -> None:
    proxy.status = status
    gateway = replace(node_gateway, proxy=f"http://127.0.0.1:{proxy.port}")
    answer = one(identity, gateway, make_push())
    assert (answer.fault, answer.detail, answer.attempts) == (fault, detail, attempts)
    assert len(proxy.asked) == attempts


def test_the_environment_does_not_decide_where_pushes_go(
    proxy: Proxy,
    node_gateway: Gateway,
    identity: ClientIdentity,
    make_push: MakePush,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
    assert one(identity, node_gateway, make_push()).delivered
    assert proxy.asked == []


def test_a_refused_certificate_is_a_refusal_through_a_proxy_as_well(
    proxy: Proxy, lab_gateway: Gateway, stranger: ClientIdentity, make_push: MakePush
) -> None:
    gateway = replace(lab_gateway, proxy=f"http://127.0.0.1:{proxy.port}")
    answer = one(stranger, gateway, make_push())
    assert (answer.fault, answer.detail) == ("certificate_refused", "unknown_ca")


@pytest.mark.parametrize("url", ["", "proxy:3128", "socks5://proxy:1", "http://", "http://a:x"])
def test_a_proxy_that_is_none_is_refused_without_being_repeated(url: str) -> None:
    with pytest.raises(Refused) as refused:
        Gateway(proxy=url + "#hunter2")
    assert refused.value.codes == ("apns_proxy_malformed",)
    assert "hunter2" not in str(refused.value)
