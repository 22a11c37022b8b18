"""Forms of the setup page: what any browser, or any program, may send."""

from __future__ import annotations

import asyncio

from starlette.requests import Request
from starlette.types import Message

from fuzz.harness import refusals, split
from lifecycle.setup_page.forms import Tokens, read_form

PARSERS = (
    "lifecycle.setup_page.forms.read_form",
    "lifecycle.setup_page.forms.Tokens.is_right",
)
LONGEST = 4096
_KINDS = {
    b"M": b"multipart/form-data; boundary=xYz",
    b"U": b"application/x-www-form-urlencoded",
}
_LOOP = asyncio.new_event_loop()
_TOKENS = Tokens()


def one(data: bytes) -> None:
    """A form or a refusal. ``M`` and ``U`` give the content type; else it is in the input."""
    kind = _KINDS.get(data[:1])
    body = data[1:]
    if kind is None:
        kind, body = split(data, 2)

    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/",
        "query_string": b"",
        "headers": [(b"content-type", kind)],
    }
    with refusals():
        form = _LOOP.run_until_complete(read_form(Request(scope, receive)))
        assert not _TOKENS.is_right("visitor", form.fields.get("token", ""))


def seeds() -> dict[str, bytes]:
    """A file with a field beside it, a form without one, wrong boundaries."""
    part = (
        b'--xYz\r\nContent-Disposition: form-data; name="token"\r\n\r\nabc\r\n'
        b'--xYz\r\nContent-Disposition: form-data; name="file"; filename="a.pem"\r\n'
        b"Content-Type: application/x-pem-file\r\n\r\n-----BEGIN\r\n--xYz--\r\n"
    )
    return {
        "multipart": b"M" + part,
        "urlencoded": b"Utoken=abc&a=%ff%00&a=b",
        "charset": b"multipart/form-data; boundary=a; charset=utf-7\n~~\n"
        + part.replace(b"xYz", b"a"),
        "no-boundary": b"multipart/form-data\n~~\n--a",
        "cut": b"M" + part[:90],
    }
