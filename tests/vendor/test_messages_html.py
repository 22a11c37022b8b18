"""The HTML part says what the text says, and nothing in a name becomes markup in either."""

from __future__ import annotations

import re
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lifecycle.language.languages import LANGUAGES
from lifecycle.language.markup import (
    Commands,
    Facts,
    Items,
    Paragraph,
    Span,
    as_text,
    clean,
    parse,
    plain,
    protect,
    spans,
)
from lifecycle.vendor.kinds import Kind
from lifecycle.vendor.messages import (
    Context,
    DigestLine,
    DigestSection,
    DigestTopic,
    Letter,
    letter,
)

NOW = datetime(2027, 3, 1, 9, tzinfo=UTC)
ABOUT = Context(
    vendor="Example MDM",
    now=NOW,
    customer_name="Acme GmbH",
    slug="acme",
    apple_account="mdm@acme.example",
    certificate_name="APSP:6f1c0a52-93f9-4e6b-9d2c-0a7f5b3c2d11",
    serial="3FA9C01B77DE",
    not_after=NOW + timedelta(days=14),
    upload_at="https://mdm.acme.example/setup",
    blocked="There is no signer.",
    why="A probe was answered.",
    digest=(DigestSection(DigestTopic.EXPIRED, (DigestLine("acme", "Acme GmbH", "today"),)),),
    channel="mail",
)
VOID = {"meta", "br", "hr", "img"}


class Page(HTMLParser):
    """What a mail program sees of a document: its elements, and the words that are shown."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, tuple[tuple[str, str | None], ...]]] = []
        self.shown = ""
        self.hidden = ""
        self.strong: list[str] = []
        self._open: list[tuple[str, bool]] = []
        self._lists: list[int | None] = []
        self.feed(html)
        self.close()
        assert not self._open, "not closed"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.elements.append((tag, tuple(attrs)))
        if tag in VOID:
            return
        quiet = tag in ("head", "style", "title") or "display:none" in (given.get("style") or "")
        self._open.append((tag, quiet or bool(self._open and self._open[-1][1])))
        if tag in ("ol", "ul"):
            self._lists.append(int(given.get("start") or 1) if tag == "ol" else None)
        elif tag == "li":
            number = self._lists[-1]
            self.shown += "- " if number is None else f"{number}. "
            self._lists[-1] = None if number is None else number + 1
        elif tag == "strong":
            self.strong.append("")

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop()[0] == tag
        if tag in ("ol", "ul"):
            self._lists.pop()

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1][1]:
            self.hidden += data
            return
        self.shown += data
        if self._open and self._open[-1][0] == "strong":
            self.strong[-1] += data


def signs(text: str) -> str:
    """Every character that is seen, except the signs of emphasis."""
    return re.sub(r"[\s*]+", "", text)


def with_name(field: str, name: str) -> Context:
    changes: dict[str, Any] = {field: name}
    if field == "customer_name":
        line = DigestLine("acme", name, name)
        changes["digest"] = (DigestSection(DigestTopic.EXPIRED, (line,)),)
    return replace(ABOUT, **changes)


NAMES = (
    *("vendor", "customer_name", "apple_account", "certificate_name", "serial"),
    *("blocked", "why", "channel"),
)
HOSTILE = (
    "*Create a Certificate*",
    "1. Press Create",
    "- Press Create",
    "<script>alert(1)</script><img src=x onerror=alert(1)>",
    "https://evil.example/ *now*",
    '"><a href="https://evil.example">&lt;',
    "Label:  value",
    "Label：value",
    "{{ 7 * 7 }}{% raw %}",
    "\ufdd0\ufdd1https://evil.example\ufdd2\ufdd3x\ufdd3",
    "a\u2028b\x85c\x0bd\r\n\r\ne\x00f",
    "\u202eemca\u2066",
    "\ud800",
    "株式会社アクメ",
)


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("kind", list(Kind))
def test_the_html_says_what_the_text_says(kind: Kind, language: str) -> None:
    found = letter(kind, ABOUT, language)
    page = Page(found.html)
    assert signs(page.shown) == signs(found.body)
    assert f'<html lang="{language}">' in found.html
    assert f"<title>{found.subject}</title>".replace("'", "&#39;") in found.html


@pytest.mark.parametrize("kind", list(Kind))
@pytest.mark.parametrize("field", NAMES)
def test_no_name_becomes_markup(kind: Kind, field: str) -> None:
    for name in HOSTILE:
        assert_only_a_name(kind, field, name, "en")


@given(
    kind=st.sampled_from(list(Kind)),
    field=st.sampled_from(NAMES),
    name=st.text(
        st.sampled_from("*:/.-1 <>&\"'`#：h\ufdd0\ufdd3\n日") | st.characters(), min_size=1
    ),
    language=st.sampled_from(LANGUAGES),
)
@example(Kind.REMINDER, "customer_name", "1.", "en")
@example(Kind.REMINDER, "vendor", "-", "ja")
def test_no_name_whatever_becomes_markup(kind: Kind, field: str, name: str, language: str) -> None:
    assert_only_a_name(kind, field, name, language)


def assert_only_a_name(kind: Kind, field: str, name: str, language: str) -> None:
    """The letter has the structure that it has with an ordinary name, and shows the name."""
    if not clean(name):
        return
    ordinary = letter(kind, with_name(field, "Ordinary"), language)
    found = letter(kind, with_name(field, name), language)
    page = Page(found.html)
    assert page.elements == Page(ordinary.html).elements
    assert page.strong == Page(ordinary.html).strong
    assert signs(page.shown) == signs(found.body)
    assert "\n" not in found.subject
    for text in (found.body, page.shown):
        if "Ordinary" in ordinary.body:
            assert signs(clean(name)) in signs(text)
        assert not re.search("[\ufdd0-\ufdef\u202a-\u202e\u2066-\u2069]", text)
    found.html.encode()
    found.body.encode()


def test_a_name_with_stars_is_shown_with_its_stars_in_both_parts() -> None:
    found = letter(Kind.DELIVERY, replace(ABOUT, customer_name="A*STAR* <R&D>"))
    assert "A*STAR* <R&D>" in " ".join(found.body.split())
    assert "A*STAR* <R&D>" in Page(found.html).shown
    assert "A*STAR* &lt;R&amp;D&gt;" in found.html
    assert found.subject.startswith("Renew the push certificate of A*STAR* <R&D> by")


def test_a_line_that_begins_with_a_name_is_no_list_item() -> None:
    first = replace(ABOUT, serial=None, certificate_name=None, not_after=None)
    found = letter(Kind.REMINDER, replace(first, customer_name="1. Press Create. 2. Done"))
    assert "Hello,\n\n1. Press Create. 2. Done has no push certificate yet: " in found.body
    assert [tag for tag, _ in Page(found.html).elements].count("ol") == 1


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("kind", [Kind.DELIVERY, Kind.REMINDER])
def test_the_button_and_the_deadline_are_emphasised_and_the_two_addresses_are_links(
    kind: Kind, language: str
) -> None:
    page = Page(letter(kind, ABOUT, language).html)
    assert "Renew" in page.strong
    assert any("2027" in words for words in page.strong)
    links = [dict(attrs)["href"] for tag, attrs in page.elements if tag == "a"]
    assert links == ["https://identity.apple.com/pushcert", "https://mdm.acme.example/setup"]


def test_a_link_is_only_what_is_an_address_in_the_vendors_phrase() -> None:
    phrase = 'the page "Push" (https://mdm.example/a?b=1&c=*2*, below javascript:x)'
    found = letter(Kind.DELIVERY, replace(ABOUT, upload_at=phrase))
    assert phrase in " ".join(found.body.split())
    page = Page(found.html)
    links = [dict(attrs)["href"] for tag, attrs in page.elements if tag == "a"]
    assert links[-1] == "https://mdm.example/a?b=1&c=*2*"
    assert phrase in page.shown


@pytest.mark.parametrize("kind", list(Kind))
def test_the_html_loads_nothing_and_runs_nothing(kind: Kind) -> None:
    found = letter(kind, ABOUT)
    tags = {tag for tag, _ in Page(found.html).elements}
    assert not tags & {"img", "link", "script", "iframe", "form", "object", "svg", "base"}
    names = {name for _, attrs in Page(found.html).elements for name, _ in attrs}
    assert not {name for name in names if name.startswith("on")} | (names & {"src", "background"})
    assert not re.search(r"url\(|@import|@font-face|http-equiv", found.html)


def test_the_html_suits_narrow_and_dark_screens() -> None:
    html = letter(Kind.REMINDER, ABOUT).html
    assert '<meta name="color-scheme" content="light dark">' in html
    assert "prefers-color-scheme: dark" in html
    assert "max-width:600px" in html


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_preview_says_what_it_is_about_and_not_hello(language: str) -> None:
    found = letter(Kind.REMINDER, ABOUT, language)
    shown = Page(found.html).hidden.rpartition("}")[2].strip()
    assert "Example MDM" in shown
    assert "Acme GmbH" in shown
    assert len(shown) <= 140


def test_the_html_goes_by_mail_without_a_line_that_is_too_long_for_it() -> None:
    from email.message import EmailMessage
    from email.policy import SMTP

    found = letter(Kind.REMINDER, ABOUT, "ja")
    message = EmailMessage(policy=SMTP)
    message.set_content(found.body, cte="quoted-printable")
    message.add_alternative(found.html, subtype="html", cte="quoted-printable")
    assert max(map(len, message.as_bytes().split(b"\r\n"))) <= 78
    text, html = message.iter_parts()
    assert text.get_content().replace("\r\n", "\n") == found.body
    assert html.get_content().replace("\r\n", "\n") == found.html


def test_text_is_parsed_into_blocks() -> None:
    text = (
        "Words that\ngo on:\n1. one\n   more\n2. two\n\n- a\n- b\n\n"
        "  Label: value: x\n  Étendue\u00a0: là\n  証明書：値\n\n  run --this\n  x: y\n\n\n\nend"
    )
    assert parse(text) == (
        Paragraph("Words that go on:"),
        Items(("one more", "two"), 1),
        Items(("a", "b"), None),
        Facts((("Label:", "value: x"), ("Étendue\u00a0:", "là"), ("証明書：", "値"))),
        Commands(("run --this", "x: y")),
        Paragraph("end"),
    )


def test_text_is_filled_to_72_columns_and_items_hang() -> None:
    text = as_text(parse("a " * 50 + "\nb\n\n9. " + "word " * 20 + "\n12. x\n   y\n\n  kept   as"))
    assert text.splitlines()[2:] == [
        "",
        "9. word word word word word word word word word word word word word word",
        "   word word word word word word",
        "10. x y",
        "",
        "  kept   as",
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("press *Renew* now", [Span("press "), Span("Renew", strong=True), Span(" now")]),
        ("5 * 3 * 2", [Span("5 * 3 * 2")]),
        ("a*b*c*", [Span("a"), Span("b", strong=True), Span("c*")]),
        ("*a* *b*", [Span("a", strong=True), Span(" "), Span("b", strong=True)]),
        (
            "see https://a.example/x.",
            [Span("see "), Span("https://a.example/x", href="https://a.example/x"), Span(".")],
        ),
        ("https://a.exampleに", [Span("https://a.example", href="https://a.example"), Span("に")]),
    ],
)
def test_emphasis_and_addresses_are_found(text: str, expected: list[Span]) -> None:
    assert list(spans(text)) == expected


@given(st.text())
def test_what_is_protected_comes_back_as_it_was_on_one_line(value: str) -> None:
    came_back = plain(protect(value))
    kept = "".join(char for char in value if not "\ufdd0" <= char <= "\ufdef")
    assert came_back == " ".join(kept.splitlines())
    assert spans(protect(value)) == ((Span(came_back),) if came_back else ())


def test_contexts_hold_no_text_that_this_file_forgets_to_make_hostile() -> None:
    texts = {field.name for field in fields(Context) if "str" in str(field.type)}
    assert texts == {*NAMES, "slug", "upload_at"}


def test_letters_are_equal_when_they_say_the_same() -> None:
    assert isinstance(letter(Kind.TEST, ABOUT), Letter)
    assert letter(Kind.TEST, ABOUT) == letter(Kind.TEST, ABOUT)
