"""Every situation in every language: nothing missing, nothing that does not belong there."""

from __future__ import annotations

import html
import re
import unicodedata
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from lifecycle.errors import Finding
from lifecycle.language import texts
from lifecycle.language.languages import LANGUAGES
from lifecycle.setup_page import page as page_module
from lifecycle.setup_page.decide import decide
from lifecycle.setup_page.facts import Stage
from lifecycle.setup_page.page import Frame, findings_shown, render, render_trouble, values_of
from lifecycle.setup_page.situation import Check, Phase, Situation, StepState
from lifecycle.setup_page.words import FINDINGS, PAGE, PORTAL_STEPS, Words
from lifecycle.wire.messages import Work
from tests.setup_page.situations import (
    ACTIVE,
    CASES,
    CHANGED,
    FOREIGN,
    NEWER,
    NOW,
    UNTRANSLATED,
    VAULT,
    at_hand,
    attempt,
    heard,
    standing,
)

WORDS = Path(page_module.__file__).parent / "words"
OTHERS = [language for language in LANGUAGES if language != "en"]
FRAME = Frame(base="/push", language="en", token="0123456789abcdef")
HOSTILE = "*Acme* <script>alert(1)</script> 1. \u202ehttps://evil.example"


class Tags(HTMLParser):
    """What a document is made of."""

    def __init__(self, document: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.unclosed: list[str] = []
        self.ids: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.headings: list[int] = []
        self.words: list[str] = []
        self.feed(document)
        self.close()

    VOID = frozenset({"meta", "link", "input", "br"})

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in self.VOID:
            self.open.append(tag)
        for name, value in attrs:
            self.attributes.append((tag, name, value or ""))
            if name == "id":
                self.ids.append(value or "")
        if re.fullmatch(r"h[1-6]", tag):
            self.headings.append(int(tag[1]))

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.unclosed.append(tag)

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def shown(name: str, language: str) -> str:
    return render(CASES[name].situation(), replace(FRAME, language=language)).html


def words_of(document: str) -> str:
    main = document[document.index("<main") : document.index("</main>")]
    without_english = re.sub(r'<(p|details)[^>]*lang="en".*?</\1>', " ", main, flags=re.DOTALL)
    text = html.unescape(re.sub(r"<[^>]+>", " ", without_english))
    return re.sub(r"[ \n]+", " ", text)  # a space that does not break is part of the words


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("name", CASES)
def test_every_state_has_a_whole_page_in_every_language(name: str, language: str) -> None:
    document = shown(name, language)
    tags = Tags(document)
    assert tags.unclosed == []
    assert tags.open == []
    assert len(tags.ids) == len(set(tags.ids))
    assert ("html", "lang", language) in tags.attributes
    assert tags.headings[0] == 1
    assert tags.headings.count(1) == 1
    assert all(b - a <= 1 for a, b in zip(tags.headings, tags.headings[1:], strict=False))
    text = words_of(document)
    assert not re.search(r"[{}\ufdd0-\ufdef]|\bNone\b|\bUndefined\b", text)
    assert document.count('<h2 id="headline">') == 1
    for _, name_of, value in tags.attributes:
        assert not name_of.startswith("on"), "no script in an attribute"
        assert name_of != "style"
        assert value.startswith(("/push/", "?", "#", "https://identity.apple.com/")) or (
            name_of not in ("href", "src", "action") or value == ""
        )


@pytest.mark.parametrize("name", CASES)
def test_labels_controls_and_focus_are_where_they_belong(name: str) -> None:
    document = shown(name, "en")
    labelled = set(re.findall(r'<label for="([^"]+)"', document))
    inputs = set(re.findall(r'<input id="([^"]+)"', document))
    assert labelled == inputs
    forms = re.findall(r"<form.*?</form>", document, re.DOTALL)
    assert all('method="post"' in form and FRAME.token in form for form in forms)
    found = CASES[name].situation()
    wants_focus = bool(found.findings or found.failed or found.finished or found.new_topic)
    assert document.count(" autofocus") == wants_focus
    assert ('http-equiv="refresh"' in document) == bool(found.refresh)
    assert ('type="file"' in document) == found.can_upload
    assert document.startswith("<!doctype html>")
    assert ("<title>Error: " in document) == bool(found.findings)


def macros(path: Path) -> dict[str, str]:
    return dict(re.findall(r"\{% macro (\w+)\((.*?)\) %\}", path.read_text(encoding="utf-8")))


@pytest.mark.parametrize("source", [PAGE, FINDINGS])
@pytest.mark.parametrize("language", OTHERS)
def test_every_language_has_words_for_the_same_things(source: str, language: str) -> None:
    assert macros(WORDS / language / source) == macros(WORDS / "en" / source)


def test_there_is_a_folder_of_words_for_every_language_and_no_other() -> None:
    assert {path.name for path in WORDS.iterdir()} == set(LANGUAGES)
    for folder in WORDS.iterdir():
        assert {path.name for path in folder.iterdir()} == {PAGE, FINDINGS}


def test_there_are_words_for_every_phase_state_and_check() -> None:
    keys = macros(WORDS / "en" / PAGE)
    for phase in Phase:
        assert {f"headline_{phase}", f"text_{phase}"} <= set(keys)
    assert {f"state_{state}" for state in StepState} <= set(keys)
    assert {f"check_{check}" for check in Check} <= set(keys)


def test_every_word_is_used() -> None:
    pages = Path(page_module.__file__).parent / "pages"
    used = " ".join(path.read_text() for path in pages.glob("*.j2"))
    used += Path(page_module.__file__).read_text() + (WORDS / "en" / PAGE).read_text()
    put_together = re.compile(r"(headline|text|state|check|verdict|held|step)_|\w+_text$")
    for key in macros(WORDS / "en" / PAGE):
        if not put_together.match(key):
            assert f'"{key}"' in used or f"{key}()" in used, key


ENGLISH = re.compile(
    r"\b(?:the|and|is|of|with|you|your|this|that|has|been|not|are|for|from|by|will|can|which|there"
    r"|request|renewal|customer|expires|expired|revoked|upload|file|serial|here|step)\b",
    re.IGNORECASE,
)


@pytest.mark.parametrize("language", OTHERS)
@pytest.mark.parametrize("name", CASES)
def test_no_english_is_left_in_a_translation(name: str, language: str) -> None:
    text = words_of(shown(name, language))
    for known in ("Create a Certificate", "acme-push-certificate-request.txt", "Example MDM"):
        text = text.replace(known, "")
    assert not ENGLISH.findall(text)
    assert ENGLISH.search(words_of(shown(name, "en"))), "the check itself"


def test_french_keeps_its_signs_with_the_words_before_them() -> None:
    for name in CASES:
        found = re.findall(r"\w? [:;?!»](?= |$)|« ", words_of(shown(name, "fr")))
        assert not found, (name, found)


@pytest.mark.parametrize("name", CASES)
def test_japanese_has_no_space_where_a_template_breaks_a_line(name: str) -> None:
    wide = "WF"
    document = shown(name, "ja")
    main = document[document.index("<main") : document.index("</main>")]
    for text in Tags(main).words:
        line = text.strip()
        for at in [at for at, char in enumerate(line[1:-1], 1) if char == " "]:
            pair = line[at - 1], line[at + 1]
            assert not all(unicodedata.east_asian_width(char) in wide for char in pair), line


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_page_and_the_letters_say_the_steps_in_the_same_words(language: str) -> None:
    found = CASES["take"].situation()
    words = Words(language, values_of(found))
    shared = Path(texts.__file__).parent / "templates" / language / "_portal.j2"
    steps = re.search(r"macro steps\(\) %\}(.*?)\{% endmacro", shared.read_text(), re.DOTALL)
    assert steps is not None
    document = html.unescape(shown("take", language))
    for macro in ("sign_in", "press", "choose", "why"):
        assert f"{{{{ {macro}() | trim }}}}" in steps[1], "the letters' own steps are these"
        said = words.text(macro, PORTAL_STEPS)
        plain = re.sub(r"<[^>]+>", "", document)
        assert said.replace("*", "") in plain
    assert "Renew" in document
    assert "Create a Certificate" in document


UPLOAD_CODES = (
    *("file_empty", "file_unknown", "file_is_web_page", "file_is_private_key"),
    *("file_is_public_key", "file_is_csr", "file_is_request", "file_is_pkcs12", "file_too_large"),
    *("pkcs7_without_certificate", "signing_certificate", "ca_certificate", "trailing_bytes"),
    *(
        "several_certificates",
        "certificate_damaged",
        "pem_damaged",
        "pem_truncated",
        "topic_changed",
        "key_mismatch",
    ),
    *("already_active", "certificate_expired", "certificate_not_yet_valid", "older_than_active"),
    *("not_client_auth", "topic_not_mdm", "topic_missing", "chain_certificate_missing"),
    *("chain_root_untrusted", "chain_signature_invalid", "self_signed", "key_not_rsa"),
    *("key_too_short", "no_csr_outstanding", "no_request_outstanding", "key_missing"),
    *("topic_of_another_customer", "serial_of_another_customer", "key_of_another_customer"),
    *("already_superseded", "key_pasted", "file_not_chosen", "form_expired", "form_unreadable"),
)


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("case", ["take", "take, account unknown", "take, first certificate"])
def test_what_goes_wrong_at_an_upload_is_said_with_its_remedy(case: str, language: str) -> None:
    found = CASES[case].situation()
    for brought in (None, NEWER):
        words = Words(language, values_of(replace(found, brought=brought)))
        for code in UPLOAD_CODES:
            (one,) = findings_shown([Finding(code, "Source.", "Mend.")], words)
            assert one.translated, code
            for spans in (one.what, one.remedy):
                said = "".join(span.text for span in spans)
                assert said.strip() == said != ""
                assert "None" not in said
    assert set(UPLOAD_CODES) == {
        key.removesuffix("_remedy")
        for key in macros(WORDS / "en" / FINDINGS)
        if key not in ("renew_remedy", "download_remedy")
    }


def test_a_mistake_at_the_portal_is_answered_with_the_row_and_the_button() -> None:
    for language in LANGUAGES:
        words = Words(language, values_of(CASES["take"].situation()))
        for code in ("topic_changed", "key_mismatch", "already_active", "file_is_request"):
            said = words.text(f"{code}_remedy", FINDINGS)
            for fact in (ACTIVE.serial, ACTIVE.common_name, "Renew", "mdm@acme.example"):
                assert fact in said, (language, code)
            assert "https://identity.apple.com/pushcert" in said


def test_what_has_no_words_is_shown_in_the_english_of_its_source_and_says_that_it_is() -> None:
    document = shown("take, refused", "de")
    assert '<p class="what" lang="en">The vault fell apart &amp; nobody saw it.</p>' in document
    assert '<p lang="en">Mend it.</p>' in document
    assert "<code>vault_damaged</code>" in document
    assert '<p class="held" lang="en">Full &lt;moon&gt;. <code>moon</code></p>' in shown(
        "held up for a reason without words", "ja"
    )


def test_another_customer_is_not_named_though_the_vendor_names_it() -> None:
    document = shown("take, refused", "en")
    assert "<code>topic_of_another_customer</code>" in document
    assert "another customer of Example MDM" in document
    assert "birch" not in document
    assert "topic_changed" in document, "other findings keep the sentence of their source"


def hostile() -> Situation:
    names = {"vendor": HOSTILE, "customer": HOSTILE}
    contact = at_hand(
        at_hand().work.request.model_copy(update={"apple_account": HOSTILE}),  # type: ignore[union-attr]
        **names,
    )
    brought = replace(NEWER, common_name=HOSTILE, serial="<b>")
    refused = attempt(
        Stage.REFUSED,
        file=HOSTILE,
        brought=brought,
        findings=(CHANGED, replace(UNTRANSLATED, message=HOSTILE, remedy=HOSTILE)),
    )
    return decide(
        contact, replace(VAULT, active=replace(ACTIVE, common_name=HOSTILE)), refused, NOW
    )


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_name_that_means_harm_is_only_a_name(language: str) -> None:
    document = render(hostile(), replace(FRAME, language=language)).html
    tags = Tags(document)
    assert tags.unclosed == []
    assert document.count("<script") == 1
    assert "alert(1)" in document
    assert not [a for a in tags.attributes if a[1] == "href" and "evil" in a[2]]
    assert "<strong>Acme" not in document
    assert "\u202ehttps" not in words_of(document.replace(html.escape(HOSTILE), "")), "in sentences"


def test_the_version_changes_with_what_is_shown_and_with_nothing_else() -> None:
    first = render(CASES["signing"].situation(), FRAME)
    again = render(replace(CASES["signing"].situation(), now=NOW), FRAME)
    assert first == again
    assert render(CASES["take"].situation(), FRAME).version != first.version


@pytest.mark.parametrize("language", LANGUAGES)
def test_where_there_is_no_page_there_are_words_too(language: str) -> None:
    frame = replace(FRAME, language=language)
    for key, findings in (("missing", ()), ("vault", (UNTRANSLATED, FOREIGN))):
        tags = Tags(render_trouble(key, findings, frame))
        assert tags.unclosed == []
        assert tags.headings[0] == 1


def test_a_form_that_got_no_further_is_an_error_and_the_page_is_still_there() -> None:
    alert = Finding("file_not_chosen", "No file was chosen.", "Choose it.")
    document = render(CASES["take"].situation(), replace(FRAME, alert=alert, language="es")).html
    assert "No se ha elegido ningún archivo." in document
    assert 'type="file"' in document
    assert "<title>Error: " in document


def test_before_the_vendor_has_told_its_name_the_page_does_without() -> None:
    for language in LANGUAGES:
        assert "Example MDM" not in shown("unreached", language)
    assert "Your MDM vendor cannot be reached" in shown("unreached", "en")
    assert "Acme" not in shown("unreached", "en")
    assert "Acme" in render(decide(heard(Work(standing=standing())), VAULT, None, NOW), FRAME).html
