"""How the vendor writes to people, from the configuration: letterhead, mail server, channels."""

from __future__ import annotations

from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from lifecycle.config import Config
from lifecycle.passphrase import resolve
from lifecycle.secret import secret_source
from lifecycle.vendor.notices import Letterhead, OpsChannel

if TYPE_CHECKING:
    from lifecycle.vendor.chat import AppriseChat
    from lifecycle.vendor.mail import SmtpTransport
    from lifecycle.vendor.quiet_hours import QuietHours


def configured_letterhead(config: Config) -> Letterhead:
    """Who writes, to which ops, and how."""
    vendor = config.vendor
    return Letterhead(
        vendor=vendor.name,
        ops=vendor.ops,
        upload_at=vendor.upload_at,
        language=vendor.language,
        templates=None if vendor.templates is None else config.path(vendor.templates),
        channels=tuple(
            OpsChannel(name, frozenset(channel.kinds)) for name, channel in config.notify.items()
        ),
        digest=config.digest.enabled,
    )


def configured_mail(config: Config) -> SmtpTransport | None:
    """The mail server; None when none is configured. Its password is fetched when needed."""
    smtp = config.smtp
    if smtp.host is None:
        return None
    from lifecycle.vendor.mail import SmtpTransport

    password = secret_source(config, smtp.password)
    return SmtpTransport(
        host=smtp.host,
        port=smtp.port,
        security=smtp.security,
        username=smtp.username,
        password=lambda: (resolve(password) or b"").decode(),
        ca_file=None if smtp.ca_file is None else config.path(smtp.ca_file),
        timeout=smtp.timeout_seconds,
    )


def configured_chats(config: Config) -> dict[str, AppriseChat]:
    """Vendor ops' chat channels by name. Their URLs are fetched when needed."""
    return {name: _chat(config, name) for name in config.notify}


def _chat(config: Config, name: str) -> AppriseChat:
    from lifecycle.vendor.chat import AppriseChat

    source = secret_source(config, config.notify[name].url)
    return AppriseChat(name, lambda: (resolve(source) or b"").decode())


def configured_quiet_hours(config: Config) -> QuietHours | None:
    """When customers are to be left alone; None: never."""
    span, days = config.reminders.quiet_span, config.reminders.quiet_days
    if span is None and not days:
        return None
    from lifecycle.vendor.quiet_hours import QuietHours

    begin, end = (None, None) if span is None else span
    return QuietHours(ZoneInfo(config.vendor.time_zone), begin, end, frozenset(days))
