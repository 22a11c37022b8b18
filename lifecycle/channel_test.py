"""A test message through one channel, so that a mistake in the configuration shows today."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from lifecycle.config import Config
from lifecycle.correspondence import configured_chats, configured_letterhead, configured_mail
from lifecycle.errors import Refused, refuse
from lifecycle.vendor.kinds import MAIL, Kind
from lifecycle.vendor.mail import AddressesRefused, compose
from lifecycle.vendor.messages import Context, letter
from lifecycle.vendor.models import OutboxMessage


@dataclass(frozen=True, slots=True)
class SentTest:
    """Where the test went, and the ``Message-ID`` it had if it was mail."""

    to: tuple[str, ...]
    message_id: str | None = None


def send_test(config: Config, channel: str, to: str | None, now: datetime) -> SentTest:
    """Sends a test message; writes nothing into the outbox.

    Args:
        config: the vendor's.
        channel: ``mail``, or the name of one of ``config.notify``.
        to: for mail, an address instead of vendor ops.
        now: aware UTC.

    Raises:
        Refused: there is no such channel, nobody to send to, or it was refused for good.
        Unavailable: it could not be delivered just now.
    """
    head = configured_letterhead(config)
    text = letter(
        Kind.TEST, Context(head.vendor, now, channel=channel), head.language, head.templates
    )
    if channel != MAIL:
        chat = configured_chats(config).get(channel)
        if chat is None:
            raise _unknown(config, channel)
        chat.send(text.subject, text.body)
        return SentTest((channel,))
    transport = configured_mail(config)
    if transport is None:
        raise refuse(
            "mail_not_configured", "No mail server is configured.", "Set smtp.host in config.toml."
        )
    recipients = head.ops if to is None else (to,)
    if not recipients:
        raise refuse(
            "test_without_recipient",
            "There is nobody to send the test to.",
            "Set vendor.ops in config.toml, or give --to ADDRESS.",
        )
    row = OutboxMessage(
        dedupe_key=f"test:{now.isoformat()}",
        kind=Kind.TEST,
        recipients=list(recipients),
        copies=[],
        subject=text.subject,
        body=text.body,
        html=text.html,
        created_at=now,
    )
    smtp = config.smtp
    message = compose(row, None, sender=smtp.sender, vendor=head.vendor, reply_to=smtp.reply_to)
    refused = transport.send(message)
    if refused:
        raise AddressesRefused(refused)
    return SentTest(recipients, str(message["Message-ID"]))


def _unknown(config: Config, channel: str) -> Refused:
    known = ", ".join([MAIL, *config.notify])
    return refuse(
        "channel_unknown",
        f"There is no channel '{channel[:40]}'; there are: {known}.",
        "Name one of these, or configure it as notify.NAME in config.toml.",
    )
