"""Messages as mail: composed from an outbox row, handed to an SMTP server."""

from __future__ import annotations

import hashlib
import re
import smtplib
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from pathlib import Path
from typing import Literal, Protocol

from lifecycle.clock import require_utc
from lifecycle.errors import Finding, Refused, Unavailable, refuse
from lifecycle.vendor.models import OutboxMessage

PERMANENT = range(500, 600)
_ADDRESS = re.compile(r"[^\s@<>()\[\]\\,;:\"]+@[^\s@<>()\[\]\\,;:\"]+")
_MESSAGE_TOO_LARGE = 552


class MailTransport(Protocol):
    """Takes a message off our hands.

    An implementer returns only when the server has taken responsibility for the message, for
    every address in ``To`` at least; it must not keep the message to send it later. A caller
    must not assume that a call which raised had no effect: a connection that broke at the
    very end may have delivered. Hence the deterministic ``Message-ID``.
    """

    def send(self, message: EmailMessage) -> tuple[RefusedAddress, ...]:
        """Sends one message; gives the addresses that were passed over, refused for good.

        Raises:
            Unavailable: it may go through later (``ServerDown``: nor will any other now).
            Refused: it will never go through (``AddressesRefused``: no address in ``To``
                is left).
        """
        ...


@dataclass(frozen=True, slots=True)
class RefusedAddress:
    """An address that the mail server refused for good, and what it said."""

    address: str
    why: str


class AddressesRefused(Refused):
    """The mail server refused every address in ``To`` for good."""

    def __init__(self, refused: tuple[RefusedAddress, ...]) -> None:
        self.refused = refused
        super().__init__(
            Finding(
                "mail_refused",
                " ".join(one.why for one in refused),
                "Correct the address with `pushcert customer edit`, or in config.toml.",
            )
        )


class ServerDown(Unavailable):
    """The mail server cannot be used at all just now; trying the next message is useless."""


@dataclass(frozen=True, slots=True)
class Attachment:
    """The request, as a file of a message."""

    name: str
    text: str


def compose(
    row: OutboxMessage,
    attachment: Attachment | None,
    *,
    sender: str,
    vendor: str,
    reply_to: str | None = None,
) -> EmailMessage:
    """The mail for one outbox row; the same row always gives the same bytes.

    Args:
        row: stored; with its HTML form, if it has one, as the alternative to the text.
        attachment: the request; attached as bytes, so that no mail server adds a footer.
        sender: the vendor's address.
        vendor: the vendor's name, shown beside it.
        reply_to: where answers go; None: to the sender.

    Raises:
        Refused: ``mail_address_malformed``.
    """
    message = EmailMessage(policy=SMTP)
    message["From"] = Address(display_name=" ".join(vendor.split()), addr_spec=_checked(sender))
    message["To"] = tuple(Address(addr_spec=_checked(address)) for address in row.recipients)
    if row.copies:
        message["Cc"] = tuple(Address(addr_spec=_checked(address)) for address in row.copies)
    if reply_to is not None:
        message["Reply-To"] = Address(addr_spec=_checked(reply_to))
    message["Subject"] = row.subject
    message["Date"] = format_datetime(require_utc(row.created_at))
    message["Message-ID"] = message_id(row, sender)
    # RFC 3834: no out-of-office notes, please; the second line is what Exchange understands.
    message["Auto-Submitted"] = "auto-generated"
    message["X-Auto-Response-Suppress"] = "All"
    message.set_content(row.body, cte="quoted-printable")
    if row.html is not None:
        message.add_alternative(row.html, subtype="html", cte="quoted-printable")
    if attachment is not None:
        message.add_attachment(
            attachment.text.encode("ascii"),
            maintype="application",
            subtype="octet-stream",
            filename=attachment.name,
        )
    for depth, part in enumerate(part for part in message.walk() if part.is_multipart()):
        part.set_boundary(f"=_{depth}_{_digest(row)}")
    return message


def message_id(row: OutboxMessage, sender: str) -> str:
    """The ``Message-ID``: the same for every attempt, so that a resend is recognisable.

    The time of writing is part of it: a database that was started anew uses the same keys
    again, and mail servers drop a message whose ID they have seen.
    """
    return f"<{_digest(row)}@{sender.rpartition('@')[2]}>"


def _digest(row: OutboxMessage) -> str:
    occasion = f"{row.dedupe_key}\0{require_utc(row.created_at).isoformat()}"
    return hashlib.sha256(occasion.encode()).hexdigest()[:32]


def _checked(address: str) -> str:
    if not (address.isascii() and _ADDRESS.fullmatch(address)):
        raise refuse(
            "mail_address_malformed",
            f"'{address[:80]}' is not an email address.",
            "Mend it with `pushcert customer edit`, or in config.toml (vendor.ops, smtp.sender,"
            " smtp.reply_to).",
        )
    return address


@dataclass(frozen=True, slots=True)
class SmtpTransport:
    """A ``MailTransport`` to an SMTP server; one connection for each message.

    Attributes:
        host, port: the server.
        security: ``starttls`` and ``tls`` check the server's certificate, and never fall
            back to plain text; ``none`` is for a relay on this machine.
        username, password: None for a server that asks for neither. The password is fetched
            when it is needed and kept nowhere.
        ca_file: the only CAs to trust instead of the system's.
        timeout: for each step, in seconds.
    """

    host: str
    port: int = 587
    security: Literal["none", "starttls", "tls"] = "starttls"
    username: str | None = None
    password: Callable[[], str] | None = field(default=None, repr=False)
    ca_file: Path | None = None
    timeout: float = 30.0

    def send(self, message: EmailMessage) -> tuple[RefusedAddress, ...]:
        """See ``MailTransport.send``.

        An address that is refused for good is passed over as long as another in ``To`` takes
        the message; one in ``Cc`` never keeps it from those it is for. Nothing is sent while
        an address in ``To`` is refused for the time being (greylisting).
        """
        with self._session() as smtp:
            refused = self._open_envelope(smtp, message)
            code, text = smtp.data(message.as_bytes())
            if code != 250:
                raise _by_code(code, f"The mail server did not take the message: {_said(text)}")
        return refused

    def check(self) -> None:
        """Connects and logs in as for a message, and sends none.

        Raises:
            Unavailable: it does not work just now (``ServerDown``).
        """
        with self._session() as smtp:
            smtp.noop()

    def _open_envelope(
        self, smtp: smtplib.SMTP, message: EmailMessage
    ) -> tuple[RefusedAddress, ...]:
        sender = message["From"].addresses[0].addr_spec
        code, text = smtp.mail(sender)
        if code == _MESSAGE_TOO_LARGE:
            raise _by_code(code, f"The mail server finds the message too large: {_said(text)}")
        if code != 250:
            # Whatever it says: this is about us and our account, not about this message.
            raise ServerDown(f"The mail server does not let {sender} send: {_said(text)}")
        refused: list[RefusedAddress] = []
        taken = 0
        for header in ("To", "Cc"):
            for address in message[header].addresses if message[header] else ():
                code, text = smtp.rcpt(address.addr_spec)
                why = f"The mail server refuses {address.addr_spec}: {_said(text)} ({code})."
                if code in (250, 251):
                    taken += header == "To"
                elif code in PERMANENT:
                    refused.append(RefusedAddress(address.addr_spec, why))
                elif header == "To":
                    raise Unavailable(why)
            if header == "To" and not taken:
                raise AddressesRefused(tuple(refused))
        return tuple(refused)

    @contextmanager
    def _session(self) -> Iterator[smtplib.SMTP]:
        try:
            smtp = self._connect()
            try:
                yield smtp
            except BaseException:
                smtp.close()
                raise
        except smtplib.SMTPAuthenticationError as error:
            raise ServerDown(
                f"The mail server refuses the login: {_said(error.smtp_error)}",
                "Check smtp.username and the password's source in config.toml.",
            ) from None
        except smtplib.SMTPDataError as error:
            said = f"The mail server did not take the message: {_said(error.smtp_error)}"
            raise _by_code(error.smtp_code, said) from None
        except (smtplib.SMTPException, OSError, UnicodeError) as error:
            # The text of a UnicodeError quotes from what it was given: perhaps the password.
            words = "" if isinstance(error, UnicodeError) else _said(str(error))
            raise ServerDown(
                f"The mail server {self.host}:{self.port} cannot be used"
                f" ({words or type(error).__name__})."
            ) from None
        # The message is delivered; however badly the goodbye goes, it must not be sent again.
        with suppress(smtplib.SMTPException, OSError):
            smtp.quit()
        smtp.close()

    def _connect(self) -> smtplib.SMTP:
        if self.security == "tls":
            smtp: smtplib.SMTP = smtplib.SMTP_SSL(
                self.host, self.port, timeout=self.timeout, context=self._tls()
            )
        else:
            smtp = smtplib.SMTP(self.host, self.port, timeout=self.timeout)
        try:
            if self.security == "starttls":
                smtp.starttls(context=self._tls())
            smtp.ehlo_or_helo_if_needed()
            if self.username is not None:
                smtp.login(self.username, self._fetch_password())
        except BaseException:
            smtp.close()
            raise
        return smtp

    def _fetch_password(self) -> str:
        try:
            return "" if self.password is None else self.password()
        except Refused as refused:
            raise ServerDown(f"The mail server's password is not to be had: {refused}") from None

    def _tls(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=self.ca_file)


def _by_code(code: int, message: str) -> Unavailable | Refused:
    """A reply of the 5xx kind is for good (RFC 5321, 4.2.1); anything else may pass."""
    if code in PERMANENT:
        return refuse("mail_refused", f"{message} ({code}).", "Correct the address.")
    return Unavailable(f"{message} ({code}).")


def _said(text: bytes | str) -> str:
    """What the server said, made harmless for a line of text."""
    words = text.decode("utf-8", "replace") if isinstance(text, bytes) else text
    return " ".join("".join(c if c.isprintable() else " " for c in words).split())[:300]
