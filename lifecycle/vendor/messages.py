"""What the vendor writes to people: one text template for each kind of message.

The templates are in ``templates/<language>/<kind>.txt.j2``: a subject line, a blank line, the
text. Paragraphs and list items are filled to 72 columns afterwards, so a template may break
its lines anywhere; lines that begin with a space stay as they are.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from enum import StrEnum
from functools import cache
from types import MappingProxyType
from typing import TYPE_CHECKING

from lifecycle.clock import require_utc
from lifecycle.vendor.countdown import days_left

if TYPE_CHECKING:
    from jinja2 import Environment

PORTAL = "https://identity.apple.com/pushcert"
WIDTH = 72
MAX_SUBJECT = 500

MONTHS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "en": (
            *("January", "February", "March", "April", "May", "June", "July"),
            *("August", "September", "October", "November", "December"),
        )
    }
)
"""Names of the months by language; every language with a template folder has its own."""

_ITEM = re.compile(r"(?:\d+\.|-) ")


class Kind(StrEnum):
    """The kinds of messages; each has a template of its name."""

    DELIVERY = "delivery"
    """To the customer: the request, and what to do with it."""
    REMINDER = "reminder"
    """To the customer: the request is still to be taken to the portal."""
    OPS_REMINDER = "ops_reminder"
    """To vendor ops: the time is running, and the customer cannot act."""
    FULFILLED = "fulfilled"
    """To both: the new certificate is active."""
    BREACH = "breach"
    """To vendor ops: an isolation check found a breach."""
    REVOKED = "revoked"
    """To vendor ops: the issuer revoked the active certificate."""
    SIGNER_EXPIRY = "signer_expiry"
    """To vendor ops: the MDM signing certificate, or a CA above it, ends soon or has ended."""


@dataclass(frozen=True, slots=True)
class Context:
    """What a message is about.

    Attributes:
        vendor: the vendor's name, as customers know it.
        now: when the message is written, aware UTC; relative times count from here.
        customer_name, slug: the customer.
        apple_account: the Apple Account that owns the certificate; None when not known.
        certificate_name, serial, not_after: the certificate concerned, as the portal shows
            it. None where there is none yet: then *Create a Certificate* is right.
        upload_at: where the customer brings the new certificate; follows the word "at".
        again: an earlier request was delivered and is replaced by this one.
        blocked: why the renewal cannot go on, a sentence; None when it merely waits.
        why: what an isolation check found, a sentence.
        revoked: the active certificate has been revoked.
    """

    vendor: str
    now: datetime
    customer_name: str | None = None
    slug: str | None = None
    apple_account: str | None = None
    certificate_name: str | None = None
    serial: str | None = None
    not_after: datetime | None = None
    upload_at: str = "the setup page of your MDM server"
    again: bool = False
    blocked: str | None = None
    why: str | None = None
    revoked: bool = False


@dataclass(frozen=True, slots=True)
class Letter:
    """A message as text, without its addresses."""

    kind: Kind
    subject: str
    body: str


def letter(kind: Kind, context: Context, language: str = "en") -> Letter:
    """The text of one message.

    Nothing of the context can break a line, so no name can forge a header or a step.

    Args:
        kind: which template.
        context: what it is about; a message about a customer needs name and slug.
        language: a folder of ``templates``.
    """
    values: dict[str, object] = {
        field.name: _one_line(getattr(context, field.name)) for field in fields(context)
    }
    values["portal"] = PORTAL
    values["request_file"] = None if context.slug is None else request_filename(context.slug)
    if context.not_after is not None:
        values["days"] = days_left(context.not_after, context.now)
    text = _environment(language).get_template(f"{kind}.txt.j2").render(values)
    subject, _, body = text.partition("\n\n")
    return Letter(kind, " ".join(subject.split())[:MAX_SUBJECT], fill(body))


def request_filename(slug: str) -> str:
    """What the request is called when it travels as a file.

    Of the endings that the portal's page has let pass over the years (``.csr .txt .rtf``,
    later ``.txt .rtf .plist .b64``; github.com/micromdm/micromdm/pull/833) only ``.txt`` was
    always among them.
    """
    return f"{slug}-push-certificate-request.txt"


def fill(text: str) -> str:
    """``text`` with its paragraphs and list items filled to 72 columns, one LF at the end."""
    paragraphs = re.split(r"\n\s*\n", text.strip("\n"))
    return "\n\n".join(_fill_paragraph(p) for p in paragraphs if p.strip()) + "\n"


def _fill_paragraph(paragraph: str) -> str:
    pieces: list[str] = []
    for line in paragraph.splitlines():
        begins = not pieces or line.startswith(" ") or pieces[-1].startswith(" ")
        if begins or _ITEM.match(line):
            pieces.append(line.rstrip())
        else:
            pieces[-1] += " " + line.strip()
    return "\n".join(piece if piece.startswith(" ") else _wrap(piece) for piece in pieces)


def _wrap(piece: str) -> str:
    item = _ITEM.match(piece)
    return textwrap.fill(
        piece,
        WIDTH,
        subsequent_indent=" " * (item.end() if item else 0),
        break_long_words=False,
        break_on_hyphens=False,
    )


def _one_line(value: object) -> object:
    return " ".join(value.split()) if isinstance(value, str) else value


@cache
def _environment(language: str) -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("lifecycle.vendor", f"templates/{language}"),
        undefined=StrictUndefined,
        autoescape=False,  # noqa: S701 - plain text, read by people and by no parser
        trim_blocks=True,
        lstrip_blocks=True,
    )
    months = MONTHS[language]

    def day(instant: datetime) -> str:
        utc = require_utc(instant)
        return f"{utc.day} {months[utc.month - 1]} {utc.year}"

    def minute(instant: datetime) -> str:
        utc = require_utc(instant)
        return f"{day(utc)}, {utc:%H:%M} UTC"

    environment.filters["day"] = day
    environment.filters["minute"] = minute
    return environment
