"""Whether APNs can be reached is found out by the way a push takes, and without a push."""

from __future__ import annotations

import socket
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from lifecycle.apns.gateway import Gateway
from lifecycle.apns.reach import require_reachable
from lifecycle.errors import Refused, Unavailable

if TYPE_CHECKING:
    from tests.connect_proxy import Proxy


def test_who_answers_and_is_apns_is_reached(node_gateway: Gateway) -> None:
    require_reachable(node_gateway)


def test_the_proxy_is_used(node_gateway: Gateway, proxy: Proxy) -> None:
    require_reachable(replace(node_gateway, proxy=f"http://127.0.0.1:{proxy.port}"))
    assert proxy.asked[0].startswith(f"CONNECT 127.0.0.1:{node_gateway.port} ")


def test_a_proxy_that_says_no_is_named(node_gateway: Gateway, proxy: Proxy) -> None:
    proxy.status = b"403 Forbidden"
    through = replace(node_gateway, proxy=f"http://user:hunter2@127.0.0.1:{proxy.port}")
    with pytest.raises(Unavailable, match="proxy does not let us through") as refused:
        require_reachable(through)
    assert "hunter2" not in str(refused.value)


def test_somebody_in_between_is_found_out(node_gateway: Gateway) -> None:
    public = Gateway(node_gateway.host, node_gateway.port)  # trusts the public roots alone
    with pytest.raises(Unavailable, match="cannot show that it is APNs") as found:
        require_reachable(public)
    assert "TLS inspection" in found.value.remedy


def test_nobody_there(node_gateway: Gateway) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(Unavailable, match=f"127.0.0.1:{port} cannot be reached"):
        require_reachable(replace(node_gateway, port=port))


def test_a_file_of_roots_that_is_none_is_named(node_gateway: Gateway, tmp_path: Path) -> None:
    with pytest.raises(Refused) as refused:
        require_reachable(replace(node_gateway, ca_file=tmp_path / "none.pem"))
    assert refused.value.codes == ("apns_ca_unreadable",)
