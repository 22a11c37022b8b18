"""A vendor's own templates: what goes before what, and that a broken one stops no letter."""

from __future__ import annotations

import os
import re
import shutil
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from lifecycle.errors import Severity
from lifecycle.language import texts
from lifecycle.language.languages import LANGUAGES
from lifecycle.vendor import messages
from lifecycle.vendor.kinds import Kind
from lifecycle.vendor.messages import Context, letter, template_values
from lifecycle.vendor.template_check import check_templates

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
)
BUNDLED = Path(messages.__file__).parent / "templates"
SHARED = Path(texts.__file__).parent / "templates"
OWN = """\
Own words for {{ customer_name }}

Renew by *{{ not_after | day }}* at {{ portal | link }}.
"""


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """The vendor's folder, with a place for German and English."""
    for language in ("de", "en"):
        (tmp_path / language).mkdir()
    return tmp_path


def put(own: Path, name: str, text: str | bytes) -> None:
    file = own / name
    file.write_bytes(text if isinstance(text, bytes) else text.encode())


def test_a_template_of_the_vendors_goes_before_the_bundled_one_of_its_name_and_language(
    own: Path,
) -> None:
    put(own, "de/reminder.txt.j2", OWN)
    found = letter(Kind.REMINDER, replace(ABOUT, customer_name="*Acme* <b>"), "de", own)
    assert found.subject == "Own words for *Acme* <b>"
    assert found.body == "Renew by *15. März 2027* at https://identity.apple.com/pushcert.\n"
    assert "<strong" in found.html
    assert 'href="https://identity.apple.com/pushcert"' in found.html
    assert found.fault is None
    for kind, language in ((Kind.DELIVERY, "de"), (Kind.REMINDER, "en")):
        assert letter(kind, ABOUT, language, own) == letter(kind, ABOUT, language)


def test_the_steps_alone_can_be_the_vendors(own: Path) -> None:
    bundled = (SHARED / "en" / "_portal.j2").read_text()
    put(own, "en/_portal.j2", bundled.replace("Sign in at", "Go to our guide, then sign in at"))
    for kind in (Kind.DELIVERY, Kind.REMINDER):
        assert "2. Go to our guide, then sign in at" in letter(kind, ABOUT, "en", own).body


def test_the_layout_alone_can_be_the_vendors(own: Path) -> None:
    put(own, "letter.html.j2", "<p>{{ vendor }}{{ elements | length }}</p>")
    found = letter(Kind.TEST, replace(ABOUT, vendor="R&D <1>"), "ja", own)
    assert found.html == "<p>R&amp;D &lt;1&gt;1</p>\n"
    assert found.body == letter(Kind.TEST, replace(ABOUT, vendor="R&D <1>"), "ja").body


def test_what_a_vendors_template_makes_of_a_name_is_still_only_a_name(own: Path) -> None:
    put(
        own,
        "en/test.txt.j2",
        "x {{ customer_name | upper }}\n\n{{ customer_name | lower }}\n"
        "{{ 'Dear ' ~ customer_name }} {{ '%s!' | format(customer_name) }}\n",
    )
    hostile = replace(ABOUT, customer_name="1. *A* http://b.example")
    found = letter(Kind.TEST, hostile, "en", own)
    assert found.fault is None
    assert "<strong" not in found.html
    assert "<a " not in found.html
    assert "<ol" not in found.html
    assert found.body.startswith("1. *a* http://b.example Dear 1. *A* http://b.example 1. *A*")


def test_what_a_template_counts_may_number_a_list_and_what_it_quotes_is_not_escaped(
    own: Path,
) -> None:
    put(
        own,
        "en/test.txt.j2",
        "x\n\n{% for what in ['a', 'b & c'] %}\n"
        "{{ loop.index }}. {{ what }} {{ '\"q\"' }}\n"
        "{% endfor %}",
    )
    found = letter(Kind.TEST, ABOUT, "en", own)
    assert found.body == '1. a "q"\n2. b & c "q"\n'
    assert "<ol" in found.html


BROKEN: dict[str, tuple[str | bytes, str, int | None]] = {
    "syntax": ("x\n\n{% if %}", "Expected an expression", 3),
    "unknown name": ("x\n\n\n{{ costumer_name }}", "'costumer_name' is undefined", 4),
    "nothing to print": ("x\n\nyes\n{{ revoked or none }}", "None", 4),
    "unknown filter": ("x\n\n{{ vendor | shout }}", "No filter named 'shout'", 3),
    "empty subject": ("{{ '' }}\n\nText", "the subject, comes out empty", None),
    "no text": ("Only a subject\n", "no text below", None),
    "fault": ("x\n\n{{ 1 // 0 }}", "zero", 3),
    "out of the sandbox": ("x\n\n{{ vendor.__class__.__mro__ }}", "unsafe", 3),
    "missing part": ("x\n\n{% import 'none.j2' as n %}{{ n.x() }}", "none.j2", 3),
    "wrong type": ("x\n\n{{ vendor | day }}", "'str' object", None),
    "not text": (b"x\n\n\xff\xfe", "decode", None),
    "endless": ("{% macro f() %}{{ f() }}{% endmacro %}x\n\n{{ f() }}", "recursion", None),
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_template_stops_no_letter(own: Path, what: str) -> None:
    put(own, "en/reminder.txt.j2", BROKEN[what][0])
    found = letter(Kind.REMINDER, ABOUT, "en", own)
    assert found.fault is not None
    assert replace(found, fault=None) == letter(Kind.REMINDER, ABOUT, "en")


@pytest.mark.parametrize("what", BROKEN)
def test_the_check_names_the_file_the_line_and_the_reason(own: Path, what: str) -> None:
    text, reason, line = BROKEN[what]
    put(own, "en/reminder.txt.j2", text)
    found = [one for one in check_templates(own) if one.code == "template_broken"]
    assert found
    for one in found:
        assert "en/reminder.txt.j2" in one.message
        assert reason in one.message
        assert line is None or f"en/reminder.txt.j2, line {line} " in one.message
        assert one.remedy
        assert one.refuses
    assert len(found) <= 2


def test_a_broken_layout_leaves_the_vendors_text_as_it_is(own: Path) -> None:
    put(own, "letter.html.j2", "<p>\n{{ nothing }}</p>")
    put(own, "de/test.txt.j2", "Own subject\n\nOwn text\n")
    found = letter(Kind.TEST, ABOUT, "de", own)
    assert (found.subject, found.body) == ("Own subject", "Own text\n")
    assert "<!doctype html>" in found.html
    assert "nothing" in (found.fault or "")
    (broken,) = check_templates(own)
    assert broken.code == "template_broken"
    assert "letter.html.j2, line 2 " in broken.message


def test_a_part_that_leaves_out_what_the_bundled_templates_need_is_named(own: Path) -> None:
    put(own, "de/_portal.j2", "{% macro steps() %}1. Renew{% endmacro %}")
    found = [one for one in check_templates(own) if one.code == "template_broken"]
    assert found
    assert any(
        "de/delivery.txt.j2 (the bundled one, with yours beside it)" in f.message for f in found
    )
    assert letter(Kind.DELIVERY, ABOUT, "de", own).body == letter(Kind.DELIVERY, ABOUT, "de").body


def test_a_template_that_breaks_only_for_some_is_found(own: Path) -> None:
    put(
        own,
        "en/reminder.txt.j2",
        "Renew\n\n{% if days == 1 %}{{ typo }}{% endif %}Renew {{ serial or '' }}",
    )
    found = check_templates(own)
    assert any("typo" in one.message for one in found)


def test_the_bundled_templates_pass_the_check_as_anybodys(tmp_path: Path) -> None:
    for folder in (BUNDLED, SHARED):
        shutil.copytree(folder, tmp_path / "own", dirs_exist_ok=True)
    assert check_templates(tmp_path / "own") == []


def test_an_empty_folder_is_nothing_to_complain_of_and_a_missing_one_is(tmp_path: Path) -> None:
    assert check_templates(tmp_path) == []
    (found,) = check_templates(tmp_path / "none")
    assert found.code == "template_folder_missing"
    assert found.refuses
    assert letter(Kind.TEST, ABOUT, "en", tmp_path / "none") == letter(Kind.TEST, ABOUT)


def test_a_file_that_no_message_uses_is_noted(own: Path) -> None:
    for name in ("en/reminders.txt.j2", "reminder.txt.j2", "en/letter.html.j2"):
        put(own, name, "x\n\ny")
    put(own, "en/_signature.j2", "shared by the vendor's own templates")
    (own / "nl").mkdir()
    put(own, "nl/reminder.txt.j2", "x\n\ny")
    found = check_templates(own)
    assert {one.code for one in found} == {"template_unused"}
    assert {one.severity for one in found} == {Severity.NOTE}
    assert len(found) == 4


def test_a_reminder_that_leaves_out_the_serial_number_is_noted(own: Path) -> None:
    put(own, "en/reminder.txt.j2", "x\n\nRenew at {{ portal }} as {{ apple_account or '?' }}.")
    (found,) = check_templates(own)
    assert found.code == "template_incomplete"
    assert found.severity is Severity.NOTE
    assert "en/reminder.txt.j2 does not name the serial number" in found.message


def test_a_running_process_sees_a_template_that_is_added_changed_or_removed(own: Path) -> None:
    def subject() -> str:
        return letter(Kind.TEST, ABOUT, "en", own).subject

    bundled = subject()
    file = own / "en" / "test.txt.j2"
    for stamp, words in enumerate(("First", "Second"), start=1):
        file.write_text(f"{words}\n\nText\n")
        for path in (file, own / "en"):  # two writes within one tick of the file system's clock
            os.utime(path, (stamp, stamp))
        assert subject() == words
    file.unlink()
    assert subject() == bundled


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_bundled_template_may_be_copied_and_used_as_it_is(own: Path, language: str) -> None:
    for folder in (BUNDLED, SHARED):
        shutil.copytree(folder / language, own / language, dirs_exist_ok=True)
    for kind in Kind:
        assert letter(kind, ABOUT, language, own) == letter(kind, ABOUT, language)


def test_the_page_names_every_kind_every_value_and_every_role() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "messages.md").read_text()
    shown = set(re.findall(r"`(\w+)`", "\n".join(re.findall(r"^\| (.*?) \|", page, re.MULTILINE))))
    assert shown == {*Kind, *template_values(ABOUT)} | {
        *("paragraph", "heading", "numbers", "bullets", "facts", "commands")
    }
