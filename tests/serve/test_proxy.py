"""An instance reaches its vendor through an HTTP proxy (CONNECT), as many networks demand."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from lifecycle.config import CONFIG_NAME, load_config
from lifecycle.errors import Refused, Unavailable
from lifecycle.standalone import Standalone
from tests.connect_proxy import Proxy, connect_proxy

if TYPE_CHECKING:
    from tests.serve.conftest import Vendor


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    with connect_proxy() as proxy:
        yield proxy


def behind(vendor: Vendor, proxy: str, name: str = "acme") -> Standalone:
    """An instance that is told to go through this proxy; it has a vault."""
    file = vendor.instance_config(name).base / CONFIG_NAME
    file.write_text(f'{file.read_text()}proxy = "{proxy}"\n')
    alone = vendor.opened.enter_context(
        Standalone(load_config(file), vendor.clock, sleep=vendor.slept.append)
    )
    alone.make_vault()
    return alone


def test_everything_goes_through_one_tunnel_that_shows_the_proxy_no_word(
    vendor: Vendor, proxy: Proxy
) -> None:
    vendor.add("acme")
    alone = behind(vendor, f"http://127.0.0.1:{proxy.port}")
    assert alone.enrol(vendor.invite("acme")).customer == "Acme"
    alone.step()
    alone.change_keys()
    assert alone.work().standing is not None
    (asked,) = proxy.asked
    authority = vendor.url.removeprefix("https://")
    assert asked.startswith(f"CONNECT {authority} HTTP/1.1\r\n")
    assert "authorization" not in asked.lower(), "neither the proxy's nor the vendor's"


def test_a_proxy_that_asks_for_them_gets_user_and_password(vendor: Vendor, proxy: Proxy) -> None:
    vendor.add("acme")
    alone = behind(vendor, f"http://user:p%40ss@127.0.0.1:{proxy.port}")
    assert alone.enrol(vendor.invite("acme")).customer == "Acme"
    pair = base64.b64encode(b"user:p@ss").decode()
    assert f"\r\nProxy-Authorization: Basic {pair}\r\n" in proxy.asked[0]


@pytest.mark.parametrize(
    ("status", "attempts"),
    [
        (b"407 Proxy Authentication Required", 1),
        (b"403 Forbidden", 1),
        (b"502 Bad Gateway", 3),
    ],
)
def test_a_proxy_that_says_no_is_named_with_its_reason_and_without_its_password(
    vendor: Vendor, proxy: Proxy, status: bytes, attempts: int
) -> None:
    vendor.add("acme")
    code = vendor.invite("acme")
    proxy.status = status
    alone = behind(vendor, f"http://user:hunter2@127.0.0.1:{proxy.port}")
    with pytest.raises(Unavailable) as fault:
        alone.enrol(code)
    said = str(fault.value)
    assert said.startswith(
        f"The proxy does not let pushcert through to the vendor's server at {vendor.url}"
        f" ({status.decode()})."
    )
    assert "instance.proxy" in said
    assert "hunter2" not in said
    assert len(proxy.asked) == attempts
    assert len(vendor.slept) == attempts - 1, "what is forbidden is not tried again"
    proxy.status = b"200 Connection established"
    assert alone.enrol(code).customer == "Acme", "the code is still good"


def test_a_proxy_that_is_not_there_is_a_vendor_that_cannot_be_reached(vendor: Vendor) -> None:
    vendor.add("acme")
    with pytest.raises(Unavailable, match="cannot be reached"):
        behind(vendor, "http://127.0.0.1:9").enrol(vendor.invite("acme"))


def test_the_environment_does_not_decide_how_the_vendor_is_reached(
    vendor: Vendor, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
    assert vendor.enrolled("acme").work().standing is not None
    assert proxy.asked == []


@pytest.mark.parametrize("url", ["", "proxy:3128", "socks5://proxy:1", "http://", "http://a:x"])
def test_a_proxy_that_is_none_is_refused_without_being_repeated(vendor: Vendor, url: str) -> None:
    with pytest.raises(Refused) as refused:
        behind(vendor, url + "#hunter2").enrol("AAAAA-AAAAA-AAAAA-AAAAA-AAAAA")
    assert refused.value.codes == ("vendor_proxy_malformed",)
    assert "hunter2" not in str(refused.value)
