"""What people are told: every fact they need, and nothing that leads them wrong."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lifecycle.vendor import messages
from lifecycle.vendor.countdown import days_left
from lifecycle.vendor.ladder import LadderPolicy, Rung, current_rung, expiry_ladder
from lifecycle.vendor.messages import WIDTH, Context, Kind, Letter, fill, letter

NOW = datetime(2027, 3, 1, 9, tzinfo=UTC)
GOLDEN = Path(__file__).parent / "golden"

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
SIGNER = Context(
    vendor="Example MDM",
    now=NOW,
    certificate_name="MDM Vendor: Example GmbH",
    not_after=NOW + timedelta(days=7),
)
TO_CUSTOMER = (Kind.DELIVERY, Kind.REMINDER)


def ending(days: float) -> Context:
    return replace(RENEWING, not_after=NOW + timedelta(days=days))


def flat(text: str) -> str:
    return " ".join(text.split())


@pytest.mark.parametrize("kind", TO_CUSTOMER)
def test_a_customer_is_told_which_certificate_which_account_what_to_press_and_where_to_upload(
    kind: Kind,
) -> None:
    text = flat(letter(kind, RENEWING).body)
    for fact in (
        "https://identity.apple.com/pushcert as mdm@acme.example",
        "APSP:6f1c0a52-93f9-4e6b-9d2c-0a7f5b3c2d11",
        "serial number 3FA9C01B77DE",
        "15 March 2027",
        "press Renew beside it",
        'Do not press "Create a Certificate"',
        "attached file acme-push-certificate-request.txt",
        "Upload the new certificate at https://mdm.acme.example/setup",
    ):
        assert fact in text


@pytest.mark.parametrize("kind", TO_CUSTOMER)
def test_an_unknown_apple_account_is_described_and_never_printed_as_none(kind: Kind) -> None:
    text = flat(letter(kind, replace(RENEWING, apple_account=None)).body)
    assert "the Apple Account that the certificate was made with" in text
    assert "None" not in text


@pytest.mark.parametrize("kind", TO_CUSTOMER)
@pytest.mark.parametrize("account", [None, "mdm@acme.example"])
def test_a_first_certificate_is_created_and_nothing_is_said_of_renewing_beside_a_serial(
    kind: Kind, account: str | None
) -> None:
    text = flat(letter(kind, replace(FIRST, apple_account=account)).body)
    assert 'Press "Create a Certificate"' in text
    assert "press Renew" not in text
    assert "serial" not in text
    assert (account or "belongs to your organisation") in text


@pytest.mark.parametrize("kind", TO_CUSTOMER)
@pytest.mark.parametrize(
    "context", [ending(0), ending(-0.5), ending(-21), replace(RENEWING, revoked=True)]
)
def test_after_the_end_renewing_is_worth_trying_not_assured_and_comes_before_creating(
    kind: Kind, context: Context
) -> None:
    text = flat(letter(kind, context).body)
    assert "That is not assured" in text
    assert "no device can be reached now" in text
    assert "press Renew beside it" in text
    assert 'Do not press "Create a Certificate"' in text
    assert "expires" not in text


@pytest.mark.parametrize(
    ("days", "subject"),
    [
        (30, "Reminder: 30 days left"),
        (29.99, "Reminder: 30 days left"),
        (1.01, "Reminder: 2 days left"),
        (1, "LAST DAY"),
        (0.01, "LAST DAY"),
        (0, "EXPIRED"),
        (-14, "EXPIRED"),
    ],
)
def test_the_subject_of_a_reminder_says_how_much_time_is_left(days: float, subject: str) -> None:
    assert letter(Kind.REMINDER, ending(days)).subject.startswith(subject)


@pytest.mark.parametrize("rung", expiry_ladder(NOW, LadderPolicy()))
def test_a_reminder_counts_the_days_as_its_rung_does(rung: Rung) -> None:
    assert days_left(NOW, rung.due_at) == rung.days
    assert days_left(NOW, rung.due_at - timedelta(seconds=1)) == rung.days + 1


@given(ago=st.integers(-40 * 86_400, 40 * 86_400))
def test_the_rung_that_stands_is_never_of_fewer_days_than_are_left(ago: int) -> None:
    at = NOW + timedelta(seconds=ago)
    rung = current_rung(expiry_ladder(NOW, LadderPolicy()), at)
    if rung is not None:
        assert days_left(NOW, at) <= rung.days


def test_a_request_that_was_signed_again_says_that_the_old_one_is_dead() -> None:
    again = letter(Kind.DELIVERY, replace(RENEWING, again=True))
    assert again.subject.startswith("New request file: renew")
    assert "can no longer be used" in flat(again.body)
    first = letter(Kind.DELIVERY, replace(FIRST, again=True))
    assert first.subject.startswith("New request file: create")


def test_ops_are_told_why_the_customer_cannot_act() -> None:
    why = "There is no MDM signing certificate. Import one with `pushcert signer import`."
    text = flat(letter(Kind.OPS_REMINDER, replace(RENEWING, blocked=why)).body)
    assert why in text
    waiting = flat(letter(Kind.OPS_REMINDER, RENEWING).body)
    assert "has not handed in a CSR yet" in waiting


def test_ops_are_told_what_a_breach_is_about_and_that_nothing_was_stopped() -> None:
    why = "APNs accepted a push to another tenant's device (probe foreign_token)."
    found = letter(Kind.BREACH, replace(RENEWING, why=why))
    assert "ISOLATION BREACH" in found.subject
    assert why in flat(found.body)
    assert "Nothing has been stopped" in flat(found.body)
    assert "pushcert verify acme" in found.body


@pytest.mark.parametrize(("days", "words"), [(7, "expires in 7 days"), (1, "in 1 day"), (0, "EX")])
def test_ops_are_told_about_the_signer(days: int, words: str) -> None:
    found = letter(Kind.SIGNER_EXPIRY, replace(SIGNER, not_after=NOW + timedelta(days=days)))
    assert words in found.subject
    assert "pushcert signer import --certificate FILE --key FILE" in found.body


@pytest.mark.parametrize("kind", [k for k in Kind if k is not Kind.SIGNER_EXPIRY])
@pytest.mark.parametrize("context", [RENEWING, ending(-3), ending(1), replace(RENEWING, why="x")])
def test_every_message_is_plain_text_in_72_columns(kind: Kind, context: Context) -> None:
    found = letter(kind, context)
    assert found.body.endswith("\n")
    assert "\n\n\n" not in found.body
    assert found.subject.isprintable()
    assert found.subject[0].isupper() or found.subject[0] == "["
    for line in found.body.splitlines():
        assert len(line) <= WIDTH or "://" in line
        assert line == line.rstrip()
        assert "{" not in line
        assert "None" not in line


NASTY = "Acme\r\nBcc: all@example.com\r\n\r\n1. Press Create"


@pytest.mark.parametrize("kind", list(Kind))
@pytest.mark.parametrize(
    "field", ["vendor", "customer_name", "apple_account", "certificate_name", "serial", "why"]
)
def test_no_name_can_forge_a_header_or_a_step(kind: Kind, field: str) -> None:
    harmless: dict[str, Any] = {field: " ".join(NASTY.split())}
    nasty: dict[str, Any] = {field: NASTY}
    plain = letter(kind, replace(RENEWING, **harmless))
    forged = letter(kind, replace(RENEWING, **nasty))
    assert forged == plain
    assert "\n" not in forged.subject


def test_a_name_in_template_language_is_only_a_name() -> None:
    found = letter(Kind.DELIVERY, replace(RENEWING, customer_name="{{ 7 * 7 }} <b>&amp;"))
    assert "{{ 7 * 7 }} <b>&amp;" in flat(found.body)


def test_a_subject_stays_within_what_the_outbox_holds() -> None:
    assert len(letter(Kind.DELIVERY, replace(RENEWING, customer_name="x" * 900)).subject) <= 500


def test_every_kind_has_a_template_and_every_language_its_months() -> None:
    folder = Path(messages.__file__).parent / "templates"
    languages = sorted(path.name for path in folder.iterdir())
    assert languages == sorted(messages.MONTHS)
    for language in languages:
        names = {path.name for path in (folder / language).glob("*.txt.j2")}
        assert names == {f"{kind}.txt.j2" for kind in Kind}
        assert len(messages.MONTHS[language]) == 12


GOLDEN_LETTERS: dict[str, tuple[Kind, Context]] = {
    "delivery-renew": (Kind.DELIVERY, RENEWING),
    "delivery-create": (Kind.DELIVERY, replace(FIRST, apple_account=None)),
    "delivery-again": (Kind.DELIVERY, replace(RENEWING, again=True)),
    "reminder-14": (Kind.REMINDER, RENEWING),
    "reminder-last-day": (Kind.REMINDER, ending(1)),
    "reminder-expired": (Kind.REMINDER, replace(ending(-7), apple_account=None)),
    "reminder-first": (Kind.REMINDER, FIRST),
    "ops-reminder": (Kind.OPS_REMINDER, RENEWING),
    "fulfilled": (Kind.FULFILLED, RENEWING),
    "breach": (Kind.BREACH, replace(RENEWING, why="APNs accepted a push (probe own).")),
    "revoked": (Kind.REVOKED, RENEWING),
    "signer-expiry": (Kind.SIGNER_EXPIRY, SIGNER),
}


def as_file(found: Letter) -> str:
    return f"Subject: {found.subject}\n\n{found.body}"


@pytest.mark.parametrize("name", GOLDEN_LETTERS)
def test_letters_read_as_they_were_approved(name: str) -> None:
    # Changed on purpose? Write as_file(...) to the golden file and read it as a customer would.
    kind, context = GOLDEN_LETTERS[name]
    assert as_file(letter(kind, context)) == (GOLDEN / f"{name}.txt").read_text()


def test_fill_keeps_indented_lines_and_indents_items() -> None:
    text = "a " * 50 + "\nb\n\n1. " + "word " * 20 + "\n2. x\n   y\n\n  kept   as is\n\n\n\nend"
    assert fill(text).splitlines()[2:] == [
        "",
        "1. word word word word word word word word word word word word word word",
        "   word word word word word word",
        "2. x",
        "   y",
        "",
        "  kept   as is",
        "",
        "end",
    ]
