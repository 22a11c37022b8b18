"""What people are told: every fact they need, and nothing that leads them wrong."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lifecycle.language.countdown import days_left
from lifecycle.language.markup import WIDTH
from lifecycle.vendor.kinds import Kind
from lifecycle.vendor.ladder import LadderPolicy, Rung, current_rung, expiry_ladder
from lifecycle.vendor.messages import (
    Context,
    DigestLine,
    DigestSection,
    DigestTopic,
    letter,
)

NOW = datetime(2027, 3, 1, 9, tzinfo=UTC)

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
    """The words, without line breaks and emphasis."""
    return " ".join(text.replace("*", "").split())


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


def test_the_deadline_stands_out_from_the_facts() -> None:
    assert "  Renew by:       *15 March 2027, 09:00 UTC*\n" in letter(Kind.REMINDER, RENEWING).body
    assert "  Expired:        *22 February 2027, 09:00" in letter(Kind.DELIVERY, ending(-7)).body
    revoked = letter(Kind.REMINDER, replace(RENEWING, revoked=True)).body
    assert "  Status:         *revoked*\n" in revoked
    assert "Renew by" not in revoked


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
    found = letter(Kind.DELIVERY, replace(RENEWING, customer_name="{{ 7 + 7 }} <b>&amp;"))
    assert "{{ 7 + 7 }} <b>&amp;" in flat(found.body)


def test_a_subject_stays_within_what_the_outbox_holds() -> None:
    assert len(letter(Kind.DELIVERY, replace(RENEWING, customer_name="x" * 900)).subject) <= 500


SECTIONS = (
    DigestSection(DigestTopic.EXPIRED, (DigestLine("acme", "Acme GmbH", "2027-02-27"),)),
    DigestSection(
        DigestTopic.HELD_UP,
        (
            DigestLine("acme", "Acme GmbH", "No CSR."),
            DigestLine("zoo", "Zoo AG", None),
        ),
    ),
    DigestSection(DigestTopic.BOUNCED, (DigestLine(None, None, "it@zoo.example: 550 unknown"),)),
    DigestSection(
        DigestTopic.RENEWED, tuple(DigestLine(f"c{n}", f"Customer {n}", None) for n in range(33))
    ),
)


def digest(*sections: DigestSection) -> Context:
    return Context("Example MDM", NOW, digest=sections, digest_day=date(2026, 11, 24))


def test_the_subject_of_a_digest_counts_customers_in_trouble_once_each() -> None:
    found = letter(Kind.DIGEST, digest(*SECTIONS))
    assert found.subject == "[pushcert] 3 need you, 33 renewed (24 November 2026)"
    assert letter(Kind.DIGEST, digest(SECTIONS[0])).subject == (
        "[pushcert] 1 needs you (24 November 2026)"
    )
    assert letter(Kind.DIGEST, digest(SECTIONS[3])).subject == (
        "[pushcert] 33 renewed (24 November 2026)"
    )
    opened = DigestSection(DigestTopic.OPENED, (DigestLine("zoo", "Zoo AG", None),))
    assert letter(Kind.DIGEST, digest(opened)).subject == "[pushcert] 1 change (24 November 2026)"


def test_a_digest_shows_thirty_lines_a_section_and_the_number_of_the_others() -> None:
    body = letter(Kind.DIGEST, digest(*SECTIONS)).body
    assert "*Renewed (33)*\n\n- Customer 0 (c0)\n" in body
    assert "- Customer 29 (c29)\n- and 3 more\n" in body
    assert "Customer 30" not in body
    assert "- Acme GmbH (acme): No CSR.\n- Zoo AG (zoo)\n" in body
    assert "- it@zoo.example: 550 unknown\n" in body


def test_a_digest_without_a_day_of_its_own_is_of_the_day_on_which_it_is_written() -> None:
    found = letter(Kind.DIGEST, replace(digest(*SECTIONS), digest_day=None))
    assert found.subject.endswith("(1 March 2027)")


def test_a_test_names_the_channel_and_asks_for_nothing() -> None:
    found = letter(Kind.TEST, Context("Example MDM", NOW, channel="slack"))
    assert found.subject == "[pushcert] Test of the channel slack"
    assert 'test of the channel "slack", sent by Example MDM' in flat(found.body)
    assert "There is nothing to do" in found.body
    assert letter(Kind.TEST, Context("Example MDM", NOW)).subject == "[pushcert] Test"
