"""Reads what a browser sends: small forms, whole in memory, each with a token of this page."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from starlette.datastructures import UploadFile
from starlette.formparsers import FormParser, MultiPartException, MultiPartParser
from starlette.requests import Request

from lifecycle.errors import Finding, Refused, refuse
from lifecycle.pki.push_certificate import DOWNLOAD
from lifecycle.pki.upload import MAX_UPLOAD_BYTES

_AROUND = 16 * 1024
"""Room for the other fields and the boundaries."""
MAX_BODY = MAX_UPLOAD_BYTES + _AROUND
MAX_FIELDS = 8


@dataclass(frozen=True, slots=True)
class Form:
    """What a person sent. ``data`` may be anything, a private key too: not in the ``repr``."""

    fields: dict[str, str] = field(repr=False)
    file_name: str | None = None
    data: bytes | None = field(default=None, repr=False)


class _InMemory(MultiPartParser):
    """Never writes to a disk: the body is known to be smaller than this."""

    spool_max_size = MAX_BODY + 1


async def read_form(request: Request) -> Form:
    """The form in a request.

    Raises:
        Refused: ``file_too_large``, ``form_unreadable``.
    """
    body = await _whole_body(request)

    async def stream() -> AsyncIterator[bytes]:
        yield body
        if urlencoded:
            yield b""

    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    urlencoded = kind == "application/x-www-form-urlencoded"
    parser: FormParser | MultiPartParser
    if urlencoded:
        parser = FormParser(request.headers, stream())  # type: ignore[arg-type]
    elif kind == "multipart/form-data":
        parser = _InMemory(request.headers, stream(), max_files=1, max_fields=MAX_FIELDS)  # type: ignore[arg-type]
    else:
        raise _unreadable()
    try:
        parsed = await parser.parse()
    except (MultiPartException, ValueError, KeyError):
        raise _unreadable() from None
    fields: dict[str, str] = {}
    name: str | None = None
    data: bytes | None = None
    for key, value in parsed.multi_items():
        if isinstance(value, UploadFile):
            if value.filename:  # a file field that was left empty has no name
                name, data = value.filename, await value.read()
            await value.close()
        else:
            fields[key] = value
    return Form(fields, name, data)


async def _whole_body(request: Request) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY:  # the server reads the rest and throws it away
            raise refuse(
                "file_too_large",
                f"The file has more than {MAX_UPLOAD_BYTES // 2**20} MiB; a push certificate has a"
                " few KiB.",
                DOWNLOAD,
            )
    return bytes(body)


def _unreadable() -> Refused:
    return refuse(
        "form_unreadable", "What the browser sent could not be read.", "Please do it once more."
    )


def not_chosen() -> Finding:
    """The finding for a form without a file."""
    return Finding(
        "file_not_chosen",
        "No file was chosen.",
        "Choose the file that Apple gave you, then upload it.",
    )


def expired() -> Finding:
    """The finding for a form that this page, as it runs now, has not made."""
    return Finding(
        "form_expired",
        "The page had been open for too long, or the form was sent from another place.",
        "Please do it once more; nothing was changed.",
    )


class Tokens:
    """Ties forms to the browser that they were shown in: a signed double-submit cookie."""

    def __init__(self) -> None:
        self._key = secrets.token_bytes(32)

    @staticmethod
    def new_visitor() -> str:
        """The value of a cookie for a browser that has none."""
        return secrets.token_urlsafe(24)

    def token(self, visitor: str) -> str:
        """What forms shown to this visitor carry."""
        return hmac.new(self._key, visitor.encode(), hashlib.sha256).hexdigest()

    def is_right(self, visitor: str | None, token: str | None) -> bool:
        """Whether a form with this token was shown to this visitor, since the page was started."""
        if not visitor or not token:
            return False
        return hmac.compare_digest(self.token(visitor).encode(), token.encode())
