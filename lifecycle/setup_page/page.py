"""Puts a situation into words and HTML: the whole page, and its main part for a live update."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

from lifecycle.errors import Finding
from lifecycle.language.languages import LANGUAGES
from lifecycle.language.markup import Span, clean
from lifecycle.language.portal import PORTAL
from lifecycle.setup_page.situation import Situation, Urgency
from lifecycle.setup_page.words import FINDINGS, Words

if TYPE_CHECKING:
    from jinja2 import Environment

NATIVE = {"en": "English", "de": "Deutsch", "fr": "Français", "es": "Español", "ja": "日本語"}
"""How speakers of each language call it."""
MAX_FILE_NAME = 120


@dataclass(frozen=True, slots=True)
class Frame:
    """What surrounds a situation.

    Attributes:
        base: the path that the page is mounted under; empty at the top.
        language: that it is shown in.
        token: shows that a form was sent from this page.
        alert: what was wrong with a form, where it got no further.
    """

    base: str
    language: str
    token: str = field(repr=False)
    alert: Finding | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """A page, ready to be sent.

    Attributes:
        title, main: for a live update; ``main`` is HTML.
        html: the whole document.
        version: changes whenever ``main`` does.
    """

    title: str
    main: str
    html: str
    version: str


@dataclass(frozen=True, slots=True)
class FindingShown:
    """A finding in the reader's language.

    Attributes:
        code: of the finding.
        what, remedy: its sentences; in English where ``translated`` is false.
        english: the sentences of the source, for support; None where ``what`` is them, and where
            they name another customer.
    """

    code: str
    what: tuple[Span, ...]
    remedy: tuple[Span, ...]
    translated: bool
    english: str | None


def render(situation: Situation, frame: Frame) -> Page:
    """The setup page."""
    words = Words(frame.language, values_of(situation))
    findings = situation.findings if frame.alert is None else (frame.alert,)
    shared: dict[str, object] = {
        **_shared(frame, words),
        "s": situation,
        "findings": findings_shown(findings, words),
        "notes": findings_shown(situation.notes, words),
        "alert": frame.alert,
        "phase": str(situation.phase),
        "urgency": str(situation.urgency),
    }
    main = _environment().get_template("main.html.j2").render(shared)
    title = words.text("title")
    if findings:
        title = f"{words.text('wrong')}: {title}"
    version = hashlib.sha256(main.encode()).hexdigest()[:16]
    document = {**shared, "main": _markup(main), "title": title, "version": version}
    html = _environment().get_template("page.html.j2").render(document)
    return Page(title, main, html, version)


def render_trouble(key: str, findings: Iterable[Finding], frame: Frame) -> str:
    """A page that says why there is none: ``vault`` or ``missing``, with what was found."""
    words = Words(frame.language, _NOTHING_KNOWN)
    shown = findings_shown(findings, words)
    body = {**_shared(frame, words), "key": key, "findings": shown}
    main = _environment().get_template("trouble.html.j2").render(body)
    document = {
        **body,
        "s": None,
        "main": _markup(main),
        "title": words.text(key),
        "version": "",
    }
    return _environment().get_template("page.html.j2").render(document)


def values_of(situation: Situation) -> dict[str, object]:
    """What the templates of words may speak of, by the names that letters have for it too."""
    s = situation
    row = s.row
    creates = row is not None and row.creates
    shown = None if creates else s.certificate
    return {
        "vendor": _clean(s.vendor),
        "customer_name": _clean(s.customer),
        "portal": PORTAL,
        "request_file": s.request_file,
        "apple_account": None if row is None else _clean(row.apple_account),
        "certificate_name": _clean(
            (row.common_name if row is not None else None)
            or (shown.common_name if shown is not None else None)
        ),
        "serial": (row.serial if row is not None else None)
        or (shown.serial if shown is not None else None),
        "not_after": (row.not_after if row is not None else None)
        or (shown.not_after if shown is not None else None),
        "creates": creates,
        "moves": row is not None and row.moves,
        "active": s.certificate,
        "days": s.days,
        "urgency": str(s.urgency),
        "revoked": s.urgency is Urgency.REVOKED,
        "devices": s.devices,
        "brought": s.brought,
        "new_topic_devices": 0 if s.new_topic is None else s.new_topic.devices,
        "silent_since": s.silent_since,
        "heard_at": s.heard_at,
        "renewal_opens_at": s.renewal_opens_at,
        "verdict_at": None if s.verification is None else s.verification.at,
        "finished": s.finished,
        "uploaded": s.brought is not None,
    }


_NOTHING_KNOWN: Mapping[str, object] = {
    "vendor": None,
    "customer_name": None,
    "portal": PORTAL,
    "creates": False,
    "serial": None,
    "brought": None,
    "active": None,
}


def findings_shown(findings: Iterable[Finding], words: Words) -> tuple[FindingShown, ...]:
    """Findings in the language of ``words``, in English where it has no words for one."""
    return tuple(_shown(finding, words) for finding in findings)


def _shown(finding: Finding, words: Words) -> FindingShown:
    code = finding.code
    if not words.has(code, FINDINGS):
        return FindingShown(
            code, (Span(finding.message),), (Span(finding.remedy),), translated=False, english=None
        )
    # The vendor's sentence names both customers, which is for the vendor to know.
    names_others = code.endswith("_of_another_customer")
    return FindingShown(
        code,
        words.line(code, FINDINGS),
        words.line(f"{code}_remedy", FINDINGS),
        translated=True,
        english=None if names_others else str(finding),
    )


def _shared(frame: Frame, words: Words) -> dict[str, object]:
    return {
        "w": words,
        "base": frame.base,
        "language": frame.language,
        "token": frame.token,
        "languages": tuple((code, NATIVE[code]) for code in LANGUAGES),
        "assets": assets_version(),
        "portal": PORTAL,
    }


def _clean(value: str | None) -> str | None:
    return None if value is None else clean(value)


def asset(name: str) -> bytes:
    """A file that the page needs: ``setup.css``, ``setup.js``, ``icon.svg``."""
    return files("lifecycle.setup_page").joinpath("pages", name).read_bytes()


@cache
def assets_version() -> str:
    """Changes with the files that the page needs, so that browsers may keep them for long."""
    together = asset("setup.css") + asset("setup.js") + asset("icon.svg")
    return hashlib.sha256(together).hexdigest()[:12]


@cache
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    return Environment(
        loader=PackageLoader("lifecycle.setup_page", "pages"),
        undefined=StrictUndefined,
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _markup(html: str) -> str:
    from markupsafe import Markup

    return Markup(html)  # noqa: S704 - rendered by our own escaping template
