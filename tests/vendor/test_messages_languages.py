"""Every message in every language: the approved texts, and what no language may get wrong.

A text was changed on purpose? Write the golden files anew and read what has changed as a
customer would: ``PUSHCERT_WRITE_GOLDEN=1 pytest tests/vendor/test_messages_languages.py``.
"""

from __future__ import annotations

import os
import re
import unicodedata
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from lifecycle.language import dates
from lifecycle.language.dates import MONTHS, written_day, written_minute
from lifecycle.language.languages import LANGUAGES, known_language
from lifecycle.language.portal import PORTAL
from lifecycle.vendor import messages
from lifecycle.vendor.kinds import Kind
from lifecycle.vendor.messages import (
    UPLOAD_AT,
    Context,
    DigestLine,
    DigestSection,
    DigestTopic,
    Letter,
    letter,
)

NOW = datetime(2027, 3, 1, 9, tzinfo=UTC)
GOLDEN = Path(__file__).parent / "golden"
TEMPLATES = Path(messages.__file__).parent / "templates"
SHARED = Path(dates.__file__).parent / "templates"
"""What the setup page says in the same words."""
OTHERS = [language for language in LANGUAGES if language != "en"]

RENEWING = Context(
    vendor="Example MDM",
    now=NOW,
    customer_name="Acme GmbH",
    slug="acme",
    apple_account="mdm@acme.example",
    certificate_name="APSP:6f1c0a52-93f9-4e6b-9d2c-0a7f5b3c2d11",
    serial="3FA9C01B77DE",
    not_after=NOW + timedelta(days=14),
    upload_at="https://mdm.acme.example/setup",
)
FIRST = replace(RENEWING, certificate_name=None, serial=None, not_after=None)
REVOKED = replace(RENEWING, revoked=True)
SIGNER = Context(
    vendor="Example MDM",
    now=NOW,
    certificate_name="MDM Vendor: Example GmbH",
    not_after=NOW + timedelta(days=7),
)
DIGEST = Context(
    vendor="Example MDM",
    now=NOW,
    digest_day=date(2026, 11, 24),
    digest=(
        *(
            DigestSection(topic, (DigestLine("acme", "Acme GmbH", "12.3."),))
            for topic in DigestTopic
        ),
        DigestSection(DigestTopic.RENEWED, (DigestLine(None, None, "…"),) * 33),
    ),
)


def ending(days: float, about: Context = RENEWING) -> Context:
    return replace(about, not_after=NOW + timedelta(days=days))


def unknown(about: Context) -> Context:
    return replace(about, apple_account=None, upload_at=UPLOAD_AT)


LETTERS: dict[str, tuple[Kind, Context]] = {
    "delivery-renew": (Kind.DELIVERY, RENEWING),
    "delivery-create": (Kind.DELIVERY, unknown(FIRST)),
    "delivery-again": (Kind.DELIVERY, replace(RENEWING, again=True)),
    "delivery-again-create": (Kind.DELIVERY, replace(FIRST, again=True)),
    "delivery-expired": (Kind.DELIVERY, ending(-7)),
    "delivery-revoked": (Kind.DELIVERY, REVOKED),
    "delivery-again-revoked": (Kind.DELIVERY, replace(REVOKED, again=True)),
    "reminder-14": (Kind.REMINDER, RENEWING),
    "reminder-last-day": (Kind.REMINDER, ending(1)),
    "reminder-expired": (Kind.REMINDER, unknown(ending(-7))),
    "reminder-revoked": (Kind.REMINDER, REVOKED),
    "reminder-first": (Kind.REMINDER, FIRST),
    "fulfilled": (Kind.FULFILLED, RENEWING),
    "fulfilled-unknown-account": (Kind.FULFILLED, unknown(RENEWING)),
    "ops-reminder": (Kind.OPS_REMINDER, RENEWING),
    "ops-reminder-last-day": (Kind.OPS_REMINDER, ending(1)),
    "ops-reminder-expired": (Kind.OPS_REMINDER, ending(-7)),
    "ops-reminder-revoked": (Kind.OPS_REMINDER, REVOKED),
    "ops-reminder-first": (Kind.OPS_REMINDER, FIRST),
    "breach": (Kind.BREACH, RENEWING),
    "revoked": (Kind.REVOKED, unknown(RENEWING)),
    "signer-expiry": (Kind.SIGNER_EXPIRY, SIGNER),
    "signer-expiry-last-day": (Kind.SIGNER_EXPIRY, ending(1, SIGNER)),
    "signer-expired": (Kind.SIGNER_EXPIRY, ending(-1, SIGNER)),
    "digest": (Kind.DIGEST, DIGEST),
    "digest-renewed": (Kind.DIGEST, replace(DIGEST, digest=DIGEST.digest[-1:])),
    "digest-opened": (Kind.DIGEST, replace(DIGEST, digest=DIGEST.digest[10:12])),
    "test": (Kind.TEST, replace(SIGNER, channel="slack")),
    "test-unnamed": (Kind.TEST, SIGNER),
}


def written(name: str, language: str) -> Letter:
    kind, context = LETTERS[name]
    return letter(kind, context, language)


def approved(path: Path, text: str) -> None:
    if os.environ.get("PUSHCERT_WRITE_GOLDEN"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8")


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("name", LETTERS)
def test_letters_read_as_they_were_approved(name: str, language: str) -> None:
    found = written(name, language)
    approved(GOLDEN / language / f"{name}.txt", f"Subject: {found.subject}\n\n{found.body}")


@pytest.mark.parametrize("name", ["reminder-14", "digest"])
def test_the_html_is_as_it_was_approved(name: str) -> None:
    approved(GOLDEN / "en" / f"{name}.html", written(name, "en").html)


def test_no_golden_file_is_left_over() -> None:
    assert {path.stem for path in GOLDEN.rglob("*.txt")} == set(LETTERS)
    assert {path.parent.name for path in GOLDEN.rglob("*.txt")} == set(LANGUAGES)


def test_every_language_has_every_template_and_its_months() -> None:
    folders = {path.name for path in TEMPLATES.iterdir() if path.is_dir()}
    assert folders == {path.name for path in SHARED.iterdir()} == set(LANGUAGES) == set(MONTHS)
    for language in LANGUAGES:
        names = {path.name for path in (TEMPLATES / language).iterdir()}
        assert names == {f"{kind}.txt.j2" for kind in Kind}
        assert {path.name for path in (SHARED / language).iterdir()} == {"_portal.j2"}
        assert len(set(MONTHS[language])) == 12


def placeholders(path: Path) -> set[str]:
    """What a template speaks of, where it speaks of it: in its values and its conditions."""
    names = set(
        re.findall(r"[a-z_]+", " ".join(re.findall(r"\{[{%](.*?)[%}]\}", path.read_text())))
    )
    known = set(Context.__slots__) | {"portal", "request_file", "days", "deadline"}
    return names & known - {"upload_at"}


@pytest.mark.parametrize("language", OTHERS)
@pytest.mark.parametrize("name", [*(f"{kind}.txt.j2" for kind in Kind), "_portal.j2"])
def test_every_language_speaks_of_the_same_things(name: str, language: str) -> None:
    folder = SHARED if name.startswith("_") else TEMPLATES
    assert placeholders(folder / language / name) == placeholders(folder / "en" / name)


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("name", [name for name in LETTERS if name.startswith(("deliv", "remin"))])
def test_a_customer_is_told_every_fact_in_every_language(name: str, language: str) -> None:
    _, context = LETTERS[name]
    body = written(name, language).body
    facts = [PORTAL, "acme-push-certificate-request.txt", "Create a Certificate"]
    if context.apple_account is not None:
        facts.append(context.apple_account)
    if context.upload_at != UPLOAD_AT:
        facts.append(context.upload_at)
    if context.serial is not None and context.not_after is not None:
        day = written_day(context.not_after, language)
        facts += [context.serial, str(context.certificate_name), "*Renew*", day]
        facts += [written_minute(context.not_after, language)]
    flat = " ".join(body.split())
    for fact in facts:
        assert " ".join(fact.split()) in flat
        if fact in facts[-5:-1] and context.serial is not None:
            (step,) = re.findall(r"^3\. .*?(?=^4\. )", body, re.MULTILINE | re.DOTALL)
            assert fact in " ".join(step.split()), "the step itself names the certificate"


def prohibitions(body: str) -> int:
    return len(
        re.findall(
            r"\*(?:not|nicht|kein|pas|No|クリックしないでください|作成しないでください)\*", body
        )
    )


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("name", LETTERS)
def test_no_language_forbids_more_or_less_than_english(name: str, language: str) -> None:
    assert prohibitions(written(name, language).body) == prohibitions(written(name, "en").body)
    if name.startswith("reminder-") and name != "reminder-first":
        assert prohibitions(written(name, language).body) >= 1


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("name", LETTERS)
def test_commands_are_not_translated(name: str, language: str) -> None:
    def commands(body: str) -> list[str]:
        return re.findall(r"^  pushcert .*$", body, re.MULTILINE)

    assert commands(written(name, language).body) == commands(written(name, "en").body)


ENGLISH = re.compile(
    r"\b(?:the|and|is|of|with|you|your|this|that|has|been|not|are|for|from|by|will|can|which|there"
    r"|request|renewal|reminder|customer|expires|expired|revoked|upload|file|serial|here|hello)\b",
    re.IGNORECASE,
)


def without_names(text: str) -> str:
    """What is left to translate: no commands, no values, no words on Apple's buttons."""
    text = re.sub(r"^  pushcert .*$", "", text, flags=re.MULTILINE)
    for name in (
        *("acme-push-certificate-request.txt", "MDM Vendor: Example GmbH", "Example MDM"),
        *("Create a Certificate", PORTAL, RENEWING.upload_at),
    ):
        text = re.sub(r"\s+".join(map(re.escape, name.split())), "", text)
    return text


@pytest.mark.parametrize("language", OTHERS)
@pytest.mark.parametrize("name", LETTERS)
def test_no_english_is_left_in_a_translation(name: str, language: str) -> None:
    found = written(name, language)
    assert not ENGLISH.findall(without_names(f"{found.subject}\n{found.body}"))
    assert ENGLISH.search(without_names(written(name, "en").body)), "the check itself"


def is_japanese(char: str) -> bool:
    return unicodedata.east_asian_width(char) in "WF"


@pytest.mark.parametrize("name", LETTERS)
def test_japanese_has_no_space_where_a_template_breaks_a_line(name: str) -> None:
    found = written(name, "ja")
    for line in [found.subject, *found.body.splitlines()]:
        for place in [at for at, char in enumerate(line[:-1]) if char == " " and at]:
            pair = line[place - 1] + line[place + 1]
            fact = line.startswith("  ") and " " in (line[place - 1], line[place + 1])
            allowed = fact or "*" in pair or not all(map(is_japanese, pair))
            assert allowed, line
    assert re.search("[ぁ-んァ-ン]", found.subject + found.body)


def test_a_japanese_paragraph_is_one_line_and_reads_on_across_the_lines_of_its_template() -> None:
    body = written("reminder-14", "ja").body
    assert "プッシュ証明書は、あと14日で有効期限が切れます（2027年3月15日）。期限を" in body
    assert all(line.startswith("  ") or "  " not in line for line in body.splitlines())


@pytest.mark.parametrize("name", LETTERS)
def test_no_japanese_paragraph_or_list_item_is_broken_into_lines(name: str) -> None:
    for block in written(name, "ja").body.strip("\n").split("\n\n"):
        marks = re.findall(r"^(?:  |- |\d+\. )", block, re.MULTILINE)
        assert len(marks or [""]) == len(block.splitlines())


def test_japanese_facts_stand_in_one_column() -> None:
    rows = re.findall(r"^  (\S.*?：)( +)\S", written("fulfilled", "ja").body, re.MULTILINE)
    ends = {sum(1 + is_japanese(char) for char in label) + len(gap) for label, gap in rows}
    assert len(rows) == 4
    assert len(ends) == 1


@pytest.mark.parametrize(
    ("language", "day", "minute"),
    [
        ("en", "1 March 2027", "1 March 2027, 09:05 UTC"),
        ("de", "1. März 2027", "1. März 2027 um 09:05 Uhr (UTC)"),
        ("fr", "1er mars 2027", "1er mars 2027 à 9\u00a0h\u00a005 (UTC)"),
        ("es", "1 de marzo de 2027", "1 de marzo de 2027 a las 09:05 (UTC)"),
        ("ja", "2027年3月1日", "2027年3月1日 09:05（UTC）"),
    ],
)
def test_dates_are_written_as_the_language_writes_them(
    language: str, day: str, minute: str
) -> None:
    instant = datetime(2027, 3, 1, 9, 5, tzinfo=UTC)
    assert written_day(instant, language) == written_day(instant.date(), language) == day
    assert written_minute(instant, language) == minute


@pytest.mark.parametrize(
    ("language", "one", "many"),
    [
        ("en", "in 1 day,", "in 14 days,"),
        ("de", "in 1 Tag ab", "in 14 Tagen ab"),
        ("fr", "dans 1 jour,", "dans 14 jours,"),
        ("es", "dentro de 1 día,", "dentro de 14 días,"),
        ("ja", "あと1日", "あと14日"),
    ],
)
def test_one_day_is_not_written_as_many(language: str, one: str, many: str) -> None:
    assert one in written("ops-reminder-last-day", language).subject
    assert many in written("ops-reminder", language).subject


@pytest.mark.parametrize(
    ("asked", "given"),
    [
        *(("de", "de"), ("de-AT", "de"), ("fr_CA", "fr"), ("JA", "ja")),
        *(("nl", "en"), ("", "en"), ("../ja", "en")),
    ],
)
def test_a_language_without_templates_is_english_and_a_region_is_its_language(
    asked: str, given: str
) -> None:
    assert known_language(asked) == given
    assert letter(Kind.REMINDER, RENEWING, asked) == letter(Kind.REMINDER, RENEWING, given)


@pytest.mark.parametrize(
    ("language", "translated", "own"),
    [
        ("en", "at the setup page of your MDM server.", "certificate at the portal, Settings."),
        ("de", "auf der Einrichtungsseite Ihres MDM-Servers hoch.", "hoch: the portal, Settings."),
        ("fr", "sur la page de configuration de votre serveur MDM.", "ici : the portal, Settings."),
        ("es", "en la página de configuración de su servidor MDM.", "aquí: the portal, Settings."),
        ("ja", "お使いのMDMサーバーの設定ページでアップロード", "します：the portal, Settings\n"),
    ],
)
@pytest.mark.parametrize("context", [RENEWING, FIRST])
def test_where_to_upload_is_translated_unless_the_vendor_said_it(
    language: str, translated: str, own: str, context: Context
) -> None:
    def text(upload_at: str) -> str:
        body = letter(Kind.DELIVERY, replace(context, upload_at=upload_at), language).body
        return re.sub(r"\s*\n   +|(?<=\w)\n(?=\w)", " ", body).replace("\u00a0", " ")

    assert translated in text(UPLOAD_AT)
    assert UPLOAD_AT not in text(UPLOAD_AT) or language == "en"
    assert own in text("the portal, Settings")
    assert translated not in text("the portal, Settings")


def bundled(language: str) -> list[Path]:
    return [*(TEMPLATES / language).iterdir(), *(SHARED / language).iterdir()]


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_vocabulary_is_kept(language: str) -> None:
    for path in bundled(language):
        text = re.sub(r"\{#.*?#\}", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
        assert not re.search(r"\bcerts?\b|APNS? certificate|Apple[- ]?ID", text, re.IGNORECASE)


def test_french_keeps_its_signs_with_the_words_before_them() -> None:
    for path in bundled("fr"):
        text = re.sub(r"\{[%#].*?[%#]\}", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
        assert not re.search(r"[ \w][:;?!»](?= |$)|« ", text.replace("\u00a0:", ""), re.MULTILINE)


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("name", LETTERS)
def test_every_letter_is_clean_plain_text(name: str, language: str) -> None:
    found = written(name, language)
    assert found.fault is None
    assert found.subject.strip() == found.subject != ""
    assert found.subject.isprintable()
    assert found.body.endswith("\n")
    assert "\n\n\n" not in found.body
    assert not re.search(r"[{}\ufdd0-\ufdef]|None", found.subject + found.body)
    for line in found.body.splitlines():
        assert line == line.rstrip()
        assert line.startswith("  ") or "  " not in line
        if language != "ja":
            assert len(line) <= 72 or "://" in line or line.startswith("  ")
