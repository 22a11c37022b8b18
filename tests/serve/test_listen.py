"""The server's end."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

import httpx
import pytest

from lifecycle.serve.app import build_app
from lifecycle.serve.listen import Listening
from tests.serve.conftest import running

if TYPE_CHECKING:
    from tests.serve.conftest import Vendor


def test_a_server_does_not_wait_for_clients_that_only_keep_their_connection(
    vendor: Vendor, caplog: pytest.LogCaptureFixture
) -> None:
    tls = vendor.tls
    trusted = ssl.create_default_context(cafile=str(tls.ca))
    with httpx.Client(verify=trusted, trust_env=False) as idle:
        with running(
            build_app(vendor.served), Listening("127.0.0.1", 0, tls.certificate, tls.key)
        ) as url:
            assert idle.get(f"{url}/healthz").json() == {"status": "ok"}
        said = [record.getMessage() for record in caplog.records]
    assert not [line for line in said if "timeout graceful shutdown exceeded" in line]
