"""Tries a vendor's own templates before a customer does: every kind, in every language.

While letters are written, a template that gives none is passed over for the bundled one, so
nobody would notice. ``doctor`` does, with this.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from lifecycle.errors import Finding, Severity
from lifecycle.language.languages import LANGUAGES, WITHOUT_SPACES
from lifecycle.language.markup import parse
from lifecycle.language.portal import PORTAL
from lifecycle.vendor.kinds import Kind
from lifecycle.vendor.letter_html import as_html
from lifecycle.vendor.letter_templates import LAYOUT, render_text, template_line
from lifecycle.vendor.messages import (
    Context,
    DigestLine,
    DigestSection,
    DigestTopic,
    letter,
    template_values,
)

_NOW = datetime(2027, 3, 1, 9, tzinfo=UTC)
"""Any instant does: the contexts are made around it."""
_PARTIALS = frozenset({"_portal.j2"})
_URGES_CUSTOMER = frozenset({Kind.DELIVERY, Kind.REMINDER})


def check_templates(overrides: Path) -> list[Finding]:
    """What is wrong with the templates in a vendor's folder; empty: nothing.

    Renders every kind of message in every language, with and without a certificate, before
    and after its end. A file that no message would use is reported as a note, and so is one
    that leaves out what a customer cannot do without.

    Args:
        overrides: the folder; see ``letter_templates``.
    """
    if not overrides.is_dir():
        return [
            Finding(
                "template_folder_missing",
                f"{overrides}, the folder of your own templates, is not there.",
                "Correct vendor.templates in config.toml, or make the folder.",
            )
        ]
    found = [*_unused(overrides)]
    for language in LANGUAGES:
        for kind in Kind:
            found += _broken(overrides, kind, language)
    found += _incomplete(overrides)
    return list(dict.fromkeys(found))


def _contexts(kind: Kind) -> Iterator[Context]:
    """What can be said in a letter of that kind, each of the ways once."""
    about = Context(
        vendor="Example MDM",
        now=_NOW,
        customer_name="Acme GmbH",
        slug="acme",
        apple_account="mdm@acme.example",
        certificate_name="APSP:6f1c0a52-93f9-4e6b-9d2c-0a7f5b3c2d11",
        serial="3FA9C01B77DE",
        not_after=_NOW + timedelta(days=14),
        why="An example.",
        blocked="An example.",
    )
    if kind is Kind.DIGEST:
        line = DigestLine("acme", "Acme GmbH", "an example")
        full = tuple(DigestSection(topic, (line,) * 40) for topic in DigestTopic)
        yield replace(about, digest=full)
        for topic in (DigestTopic.BOUNCED, DigestTopic.RENEWED, DigestTopic.OPENED):
            other = (DigestLine(None, None, "an example"), DigestLine("acme", "Acme GmbH", None))
            yield replace(about, digest=(DigestSection(topic, other),))
        return
    if kind is Kind.TEST:
        yield Context(vendor="Example MDM", now=_NOW)
        yield Context(vendor="Example MDM", now=_NOW, channel="mail")
        return
    if kind is Kind.SIGNER_EXPIRY:
        about = replace(about, customer_name=None, slug=None, apple_account=None, serial=None)
    for days in (14, 1, 0, -21):
        ending = replace(about, not_after=_NOW + timedelta(days=days))
        yield ending
        if kind is not Kind.SIGNER_EXPIRY:
            for again in (False, True):
                yield replace(ending, again=again, revoked=True, why=None, blocked=None)
                yield replace(
                    ending, again=again, apple_account=None, upload_at="https://a.example"
                )
    if kind in (Kind.DELIVERY, Kind.REMINDER, Kind.OPS_REMINDER, Kind.BREACH):
        first = replace(about, certificate_name=None, serial=None, not_after=None)
        for again in (False, True):
            yield replace(first, again=again)
            yield replace(first, again=again, apple_account=None, blocked=None)


def _broken(overrides: Path, kind: Kind, language: str) -> Iterator[Finding]:
    spaced = language not in WITHOUT_SPACES
    for context in _contexts(kind):
        values = template_values(context)
        name = f"{language}/{kind}.txt.j2"
        try:
            subject, body = render_text(kind, values, language, overrides)
        except Exception as fault:  # noqa: BLE001 - a template may raise anything at all
            yield _finding(overrides, language, name, fault)
            subject, body = render_text(kind, values, language, None)
        try:
            as_html(
                parse(body, spaced=spaced),
                kind=kind,
                subject=subject,
                vendor=context.vendor,
                language=language,
                overrides=overrides,
            )
        except Exception as fault:  # noqa: BLE001 - as above
            yield _finding(overrides, "", LAYOUT, fault)


def _finding(overrides: Path, folder: str, rendered: str, fault: Exception) -> Finding:
    """Names the template that the fault arose in; it may be another than the one rendered."""
    file, line = template_line(fault)
    at = rendered
    if file is not None:
        path = Path(file)
        if path.is_relative_to(overrides):
            at = str(path.relative_to(overrides))
        else:
            name = f"{folder}/{path.name}".lstrip("/")
            at = f"{name} (the bundled one, with yours beside it)"
    place = at if line is None else f"{at}, line {line}"
    why = " ".join((str(fault) or type(fault).__name__).split())
    return Finding(
        "template_broken",
        f"The template {place} gives no letter: {why}. The bundled text is sent instead.",
        "Correct it, or remove it; docs/messages.md says what templates may use.",
    )


def _unused(overrides: Path) -> Iterator[Finding]:
    known = {f"{kind}.txt.j2" for kind in Kind} | _PARTIALS
    for path in sorted(overrides.rglob("*.j2")):
        name = path.relative_to(overrides)
        used = (len(name.parts) == 1 and path.name == LAYOUT) or (
            len(name.parts) == 2 and name.parts[0] in LANGUAGES and path.name in known
        )
        # A name with an underscore may be what the vendor's own templates share.
        if not used and not (path.name.startswith("_") and name.parts[0] in LANGUAGES):
            yield Finding(
                "template_unused",
                f"No message uses the template {name}.",
                "Check the spelling: LANGUAGE/KIND.txt.j2, LANGUAGE/_portal.j2, letter.html.j2.",
                Severity.NOTE,
            )


def _incomplete(overrides: Path) -> Iterator[Finding]:
    for language in LANGUAGES:
        for kind in sorted(_URGES_CUSTOMER):
            context = next(_contexts(kind))
            found = letter(kind, context, language, overrides)
            needed = {
                "the serial number": context.serial or "",
                "the Apple Account": context.apple_account or "",
                "the address of Apple's portal": PORTAL,
                "the button Renew": "Renew",
            }
            for what, words in needed.items():
                if words not in found.body:
                    yield Finding(
                        "template_incomplete",
                        f"With your templates, {language}/{kind}.txt.j2 does not name {what}.",
                        "Name it, so that no customer renews the wrong certificate or creates one.",
                        Severity.NOTE,
                    )
