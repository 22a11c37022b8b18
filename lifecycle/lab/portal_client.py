"""The portal of a running lab, from another process: for `pushcert lab portal` and for tests."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

import httpx

from lifecycle.errors import Finding, Refused, Unavailable
from lifecycle.lab.portal_http import malformed

Document = Mapping[str, Any]


class PortalClient:
    """The portal of a running lab.

    Args:
        url: ``portal_url`` as `pushcert lab up` printed it.
    """

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")

    def create(self, apple_account: str, request: bytes) -> bytes:
        """See ``Portal.create``. Raises ``Refused``, ``Unavailable``."""
        return self._certificate(
            "/create", {"apple_account": apple_account, "request": _encoded(request)}
        )

    def renew(self, apple_account: str, request: bytes, serial: str) -> bytes:
        """See ``Portal.renew``. Raises ``Refused``, ``Unavailable``."""
        return self._certificate(
            "/renew",
            {"apple_account": apple_account, "request": _encoded(request), "serial": serial},
        )

    def revoke(self, apple_account: str, serial: str) -> None:
        """See ``Portal.revoke``. Raises ``Refused``, ``Unavailable``."""
        self._post("/revoke", {"apple_account": apple_account, "serial": serial})

    def certificates(self, apple_account: str) -> list[Any]:
        """The rows of an Apple Account, as JSON values. Raises ``Unavailable``."""
        rows = self._post("/certificates", {"apple_account": apple_account})
        return rows if isinstance(rows, list) else []

    def register_device(self, topic: str) -> bytes:
        """A device enrols; gives its token. Raises ``Unavailable``."""
        return bytes.fromhex(self._post("/devices", {"topic": topic})["token"])

    def _certificate(self, path: str, document: Document) -> bytes:
        return str(self._post(path, document)["certificate"]).encode()

    def _post(self, path: str, document: Document) -> Any:
        try:
            response = httpx.post(self._url + path, json=document, trust_env=False)
        except httpx.HTTPError as error:
            raise Unavailable(
                f"The lab at {self._url} gave no answer ({type(error).__name__}).",
                "Start it with `pushcert lab up`.",
            ) from None
        if response.status_code == 422:
            raise Refused(Finding(**found) for found in response.json()["findings"])
        if response.status_code != 200:
            raise malformed(f"The lab answered {response.status_code}.")
        return response.json()


def _encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()
