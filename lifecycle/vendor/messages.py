"""What the vendor writes to people: one text template for each kind of message.

The templates are in ``templates/<language>/<kind>.txt.j2``: a subject line, a blank line, the
text, in the light markup of ``lifecycle.language.markup``. A vendor's own templates go before them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from datetime import date, datetime
from enum import StrEnum
from pathlib import Path

from lifecycle.language.countdown import days_left
from lifecycle.language.languages import WITHOUT_SPACES, known_language
from lifecycle.language.markup import as_text, clean, join_lines, parse, plain
from lifecycle.language.portal import PORTAL, request_filename
from lifecycle.vendor.kinds import Kind
from lifecycle.vendor.letter_html import as_html
from lifecycle.vendor.letter_templates import render_text

UPLOAD_AT = "the setup page of your MDM server"
"""Where customers upload the certificate, unless the vendor says it; translated in letters."""
MAX_SUBJECT = 500
DIGEST_LINES = 30
"""As many lines as a section of a digest shows; of the others only the number."""


class DigestTopic(StrEnum):
    """The sections of a digest, in the order in which they appear."""

    BREACHED = "breached"
    EXPIRED = "expired"
    URGENT = "urgent"
    HELD_UP = "held_up"
    UNDELIVERED = "undelivered"
    BOUNCED = "bounced"
    SIGNER = "signer"
    RENEWED = "renewed"
    REQUESTS_SENT = "requests_sent"
    REMINDERS_SENT = "reminders_sent"
    OPENED = "opened"
    CANCELLED = "cancelled"


_NEEDS_YOU = frozenset(
    {
        *(DigestTopic.BREACHED, DigestTopic.EXPIRED, DigestTopic.URGENT),
        *(DigestTopic.HELD_UP, DigestTopic.UNDELIVERED, DigestTopic.BOUNCED),
    }
)
"""What somebody must do something about; the subject of a digest counts it."""


@dataclass(frozen=True, slots=True)
class DigestLine:
    """One line of a digest; ``slug`` and ``name`` are None when it is about no customer."""

    slug: str | None
    name: str | None
    detail: str | None


@dataclass(frozen=True, slots=True)
class DigestSection:
    """What a digest says under one heading."""

    topic: DigestTopic
    lines: tuple[DigestLine, ...]


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
        upload_at: where the customer brings the new certificate; follows the word "at" in
            English, a colon elsewhere.
        again: an earlier request was delivered and is replaced by this one.
        blocked: why the renewal cannot go on, a sentence; None when it merely waits.
        why: what an isolation check found, a sentence.
        revoked: the active certificate has been revoked.
        digest: what a digest tells.
        digest_day: the day that a digest is of, where the vendor is; None: the day of ``now``.
        channel: what a test is a test of, as config.toml calls it.
    """

    vendor: str
    now: datetime
    customer_name: str | None = None
    slug: str | None = None
    apple_account: str | None = None
    certificate_name: str | None = None
    serial: str | None = None
    not_after: datetime | None = None
    upload_at: str = UPLOAD_AT
    again: bool = False
    blocked: str | None = None
    why: str | None = None
    revoked: bool = False
    digest: tuple[DigestSection, ...] = ()
    digest_day: date | None = None
    channel: str | None = None


@dataclass(frozen=True, slots=True)
class Letter:
    """A message without its addresses.

    Attributes:
        kind: of the message.
        subject: one line.
        body: the text.
        html: a document that says the same.
        fault: why a template of the vendor's was passed over; None: none was.
    """

    kind: Kind
    subject: str
    body: str
    html: str
    fault: str | None = None


def letter(
    kind: Kind, context: Context, language: str = "en", overrides: Path | None = None
) -> Letter:
    """One message, as text and as HTML that says the same.

    Nothing of the context can break a line or is taken for markup, so no name can forge a
    header, a step or a link. A template of the vendor's that gives no letter is passed over
    for the bundled one: the customer is told in any case, and the letter says why in
    ``fault``.

    Args:
        kind: which template.
        context: what it is about; a message about a customer needs name and slug.
        language: one of ``LANGUAGES``, also with a region (``de-AT``); any other is English.
        overrides: the folder of the vendor's own templates.
    """
    language = known_language(language)
    if overrides is None:
        return _letter(kind, context, language, None, None)
    try:
        return _letter(kind, context, language, overrides, overrides)
    except Exception as fault:  # noqa: BLE001 - a template may raise anything at all
        why = f"{type(fault).__name__}: {fault}"
    try:
        found = _letter(kind, context, language, overrides, None)
    except Exception:  # noqa: BLE001 - as above
        found = _letter(kind, context, language, None, None)
    return replace(found, fault=why)


def _letter(
    kind: Kind, context: Context, language: str, texts: Path | None, layout: Path | None
) -> Letter:
    values = template_values(context)
    spaced = language not in WITHOUT_SPACES
    subject, body = render_text(kind, values, language, texts)
    headline = " ".join(plain(join_lines(subject, spaced=spaced)).split())[:MAX_SUBJECT]
    blocks = parse(body, spaced=spaced)
    html = as_html(
        blocks,
        kind=kind,
        subject=headline,
        vendor=str(values["vendor"]),
        language=language,
        overrides=layout,
    )
    return Letter(kind, headline, as_text(blocks, spaced=spaced), html)


def template_values(context: Context) -> dict[str, object]:
    """What the templates may use; docs/messages.md lists it for the vendor."""
    values = {field.name: _cleaned(getattr(context, field.name)) for field in fields(context)}
    values["portal"] = PORTAL
    values["request_file"] = None if context.slug is None else request_filename(context.slug)
    values["own_upload_at"] = None if context.upload_at == UPLOAD_AT else values["upload_at"]
    if context.not_after is not None:
        values["days"] = days_left(context.not_after, context.now)
    sections = context.digest
    values["digest"] = tuple(_cleaned_section(section) for section in sections)
    values["digest_day"] = context.digest_day or context.now
    values["digest_lines"] = DIGEST_LINES
    values["needing"] = _count(section for section in sections if section.topic in _NEEDS_YOU)
    values["renewed"] = _count(s for s in sections if s.topic is DigestTopic.RENEWED)
    values["changes"] = sum(len(section.lines) for section in sections)
    return values


def _count(sections: Iterable[DigestSection]) -> int:
    """How many customers, and things that are about none: who has two troubles counts once."""
    lines = [line for section in sections for line in section.lines]
    customers = {line.slug for line in lines if line.slug is not None}
    return len(customers) + sum(line.slug is None for line in lines)


def _cleaned(value: object) -> object:
    return clean(value) if isinstance(value, str) else value


def _cleaned_section(section: DigestSection) -> DigestSection:
    def words(value: str | None) -> str | None:
        return None if value is None else clean(value)

    return DigestSection(
        section.topic,
        tuple(DigestLine(words(a.slug), words(a.name), words(a.detail)) for a in section.lines),
    )
