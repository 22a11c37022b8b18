"""The events that NanoMDM and MicroMDM send to a webhook, as somebody kept them.

One event (JSON), a list of events, or one on each line. What counts in it is the check-in message
itself, ``checkin_event.raw_payload``, Base64 (NanoMDM, service/webhook/event.json).
"""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator
from typing import Any

from lifecycle.errors import Refused, refuse

MAX_WEBHOOK_BYTES = 16 * 1024 * 1024
"""Parsed JSON can take 25 times as much memory as its text."""
TOKEN_UPDATE = "mdm.TokenUpdate"  # noqa: S105 - the name of an event


def is_json(data: bytes) -> bool:
    """True if ``data`` begins like JSON."""
    return data.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] in (b"{", b"[")


def token_updates(data: bytes) -> list[bytes]:
    """The TokenUpdate messages among the events, in their order; other events are passed over.

    Raises:
        Refused: ``webhook_too_large``, ``webhook_unreadable``, ``webhook_without_tokens``.
    """
    if len(data) > MAX_WEBHOOK_BYTES:
        raise refuse(
            "webhook_too_large",
            f"The file has {len(data) // 2**20} MiB; at most {MAX_WEBHOOK_BYTES // 2**20} are"
            " read.",
            "Keep the mdm.TokenUpdate events alone, or split the file.",
        )
    found = []
    for event in _events(data):
        if not isinstance(event, dict) or event.get("topic") != TOKEN_UPDATE:
            continue
        checkin = event.get("checkin_event")
        raw = checkin.get("raw_payload") if isinstance(checkin, dict) else None
        try:
            found.append(base64.b64decode(raw if isinstance(raw, str) else "", validate=True))
        except ValueError:  # binascii.Error, or letters beyond ASCII
            raise _unreadable() from None
    if not found:
        raise refuse(
            "webhook_without_tokens",
            f"There is no {TOKEN_UPDATE} event in the file, so no device token.",
            "Keep the events of a webhook for a while: devices send a new TokenUpdate when"
            " they enrol and when their token changes.",
        )
    return found


def _events(data: bytes) -> Iterator[Any]:
    text = data.decode("utf-8-sig", errors="replace")
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        yield from _lines(text)
        return
    yield from document if isinstance(document, list) else [document]


def _lines(text: str) -> Iterator[Any]:
    for line in io.StringIO(text):
        if line.strip():
            try:
                event = json.loads(line)
            except (ValueError, RecursionError):
                raise _unreadable() from None
            yield event


def _unreadable() -> Refused:
    return refuse(
        "webhook_unreadable",
        "The file is not what NanoMDM sends to a webhook: events in JSON.",
        "Give the body of a webhook request, a list of them, or one on each line.",
    )
