"""The mailbox, as Python's own SMTP client sees it."""

from __future__ import annotations

import smtplib
from collections.abc import Iterator
from email.message import EmailMessage

import pytest

from lifecycle.lab.mailbox import Mailbox


@pytest.fixture
def mailbox() -> Iterator[Mailbox]:
    mailbox = Mailbox()
    mailbox.start()
    yield mailbox
    mailbox.stop()


def send(mailbox: Mailbox, subject: str, to: str = "it@acme.example") -> None:
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = "push@vendor.example", to, subject
    message.set_content("Erneuern Sie das Zertifikat – bitte.\n")
    message.add_attachment(b"cmVxdWVzdA==", maintype="text", subtype="plain", filename="r.b64")
    with smtplib.SMTP(mailbox.host, mailbox.port, timeout=10) as client:
        client.send_message(message)


def test_messages_are_kept_whole_and_taken_once(mailbox: Mailbox) -> None:
    send(mailbox, "Erste – bald fällig")
    send(mailbox, "Zweite")
    first, second = mailbox.take()
    assert (first["Subject"], second["Subject"]) == ("Erste – bald fällig", "Zweite")
    body = first.get_body()
    assert body is not None
    assert body.get_content().strip() == "Erneuern Sie das Zertifikat – bitte."
    assert [part.get_filename() for part in first.iter_attachments()] == ["r.b64"]
    assert mailbox.take() == ()
    assert len(mailbox.messages) == 2


def test_an_outage_puts_off_and_a_bounce_refuses_one_recipient(mailbox: Mailbox) -> None:
    mailbox.outage = True
    with pytest.raises(smtplib.SMTPRecipientsRefused) as put_off:
        send(mailbox, "x")
    assert put_off.value.recipients["it@acme.example"][0] == 451
    mailbox.outage = False
    mailbox.bounce.add("gone@acme.example")
    with pytest.raises(smtplib.SMTPRecipientsRefused) as refused:
        send(mailbox, "x", "gone@acme.example")
    assert refused.value.recipients["gone@acme.example"][0] == 550
    send(mailbox, "kept")
    assert [m["Subject"] for m in mailbox.messages] == ["kept"]
