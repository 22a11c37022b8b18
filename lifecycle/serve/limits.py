"""How much a request may bring: counted while it arrives, before anything is parsed."""

from __future__ import annotations

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LARGEST = 64 * 1024
"""A CSR, a certificate or a form is far smaller."""
LARGEST_REPORT = 16 * 1024 * 1024
"""The evidence of an isolation check names every device: 240,000 of them."""
REPORTS = "/v1/reports"


class BodyLimit:
    """ASGI middleware: 413 for a body that is larger than its address takes.

    Args:
        app: what is behind it.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        limit = LARGEST_REPORT if str(scope["path"]).endswith(REPORTS) else LARGEST
        arrived = 0

        async def counted() -> Message:
            nonlocal arrived
            message = await receive()
            if message["type"] == "http.request":
                arrived += len(message.get("body", b""))
                if arrived > limit:
                    raise HTTPException(413)
            return message

        await self._app(scope, counted, send)
