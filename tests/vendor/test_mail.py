"""Mail against a real SMTP server: what arrives, and what each refusal means to us."""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from lifecycle.errors import Refused, Unavailable, refuse
from lifecycle.vendor.mail import (
    AddressesRefused,
    Attachment,
    MailTransport,
    ServerDown,
    SmtpTransport,
    compose,
    message_id,
)
from lifecycle.vendor.models import OutboxMessage

WRITTEN = datetime(2027, 3, 1, 9, 30, tzinfo=UTC)
REQUEST = Attachment("acme-push-certificate-request.txt", "TG9yZW0gaXBzdW0K" * 600)
PASSWORD = "not-a-real-one"


def row(**changes: Any) -> OutboxMessage:
    values: dict[str, Any] = {
        "id": 1,
        "dedupe_key": "delivery:1:0123456789abcdef",
        "kind": "delivery",
        "recipients": ["it@acme.example"],
        "copies": ["ops@vendor.example"],
        "subject": "Renew the push certificate of Ácme & Söhne by 15 March 2027",
        "body": "Hello,\n\n.a line that begins with a dot\nÁcme\n" + "long " * 400 + "\n",
        "attach_request": True,
        "created_at": WRITTEN,
    }
    return OutboxMessage(**{**values, **changes})


def mail(attachment: Attachment | None = REQUEST, **changes: Any) -> EmailMessage:
    return compose(row(**changes), attachment, sender="push@vendor.example", vendor="Exämple, Inc.")


@dataclass
class Mailbox:
    """An SMTP server's behaviour: what it refuses, and what it took."""

    refuses: dict[str, str] = field(default_factory=dict)
    """Reply by address (for RCPT and MAIL), or by ``DATA``."""
    hangs_up_after_data: bool = False
    taken: list[Envelope] = field(default_factory=list)
    starttls: list[bool] = field(default_factory=list)

    async def handle_MAIL(  # noqa: N802
        self,
        _server: SMTP,
        _session: Session,
        envelope: Envelope,
        address: str,
        _options: list[str],
    ) -> str:
        if address in self.refuses:
            return self.refuses[address]
        envelope.mail_from = address
        return "250 OK"

    async def handle_RCPT(  # noqa: N802
        self,
        _server: SMTP,
        _session: Session,
        envelope: Envelope,
        address: str,
        _options: list[str],
    ) -> str:
        if address in self.refuses:
            return self.refuses[address]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(  # noqa: N802
        self, _server: SMTP, session: Session, envelope: Envelope
    ) -> str:
        if "DATA" in self.refuses:
            return self.refuses["DATA"]
        self.taken.append(envelope)
        self.starttls.append(session.ssl is not None)
        return "250 taken"

    async def handle_QUIT(  # noqa: N802
        self, _server: SMTP, _session: Session, _envelope: Envelope
    ) -> str:
        return "421 no goodbye from me" if self.hangs_up_after_data else "221 bye"

    def message(self) -> EmailMessage:
        """The one message that was taken."""
        (envelope,) = self.taken
        content = envelope.content
        assert isinstance(content, bytes)
        parsed = message_from_bytes(content, policy=default)
        assert isinstance(parsed, EmailMessage)
        return parsed


@contextmanager
def serving(mailbox: Mailbox, tls: ssl.SSLContext | None = None, **options: Any) -> Iterator[int]:
    """Serves the mailbox on loopback; gives the port. ``tls``: speak TLS from the start."""
    loop = asyncio.new_event_loop()
    server = loop.run_until_complete(
        loop.create_server(
            lambda: SMTP(mailbox, hostname="mail.vendor.example", loop=loop, **options),
            "127.0.0.1",
            0,
            ssl=tls,
        )
    )
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        asyncio.run_coroutine_threadsafe(_stop(server), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


async def _stop(server: asyncio.AbstractServer) -> None:
    server.close()
    here = asyncio.current_task()
    tasks = [task for task in asyncio.all_tasks() if task is not here]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def plain(port: int, **changes: Any) -> SmtpTransport:
    return SmtpTransport("127.0.0.1", port, security="none", timeout=10, **changes)


@pytest.fixture
def mailbox() -> Mailbox:
    return Mailbox()


@dataclass(frozen=True)
class Tls:
    """A server certificate for loopback that is its own CA."""

    context: ssl.SSLContext
    ca_file: Path


@pytest.fixture(scope="session")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Tls:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "mail.vendor.example")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime(2000, 1, 1, tzinfo=UTC))
        .not_valid_after(datetime(2099, 1, 1, tzinfo=UTC))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    folder = tmp_path_factory.mktemp("tls")
    pem = certificate.public_bytes(serialization.Encoding.PEM)
    (folder / "ca.pem").write_bytes(pem)
    (folder / "both.pem").write_bytes(
        pem
        + key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "both.pem")
    return Tls(context, folder / "ca.pem")


def test_the_message_arrives_whole_with_the_request_byte_for_byte(mailbox: Mailbox) -> None:
    with serving(mailbox) as port:
        transport: MailTransport = plain(port)
        transport.send(mail())
    got = mailbox.message()
    (envelope,) = mailbox.taken
    assert envelope.mail_from == "push@vendor.example"
    assert envelope.rcpt_tos == ["it@acme.example", "ops@vendor.example"]
    assert got["From"].addresses[0].display_name == "Exämple, Inc."
    assert got["To"] == "it@acme.example"
    assert got["Cc"] == "ops@vendor.example"
    assert got["Subject"] == row().subject
    assert got["Date"].datetime == WRITTEN
    assert got["Auto-Submitted"] == "auto-generated"
    text = got.get_body(("plain",))
    assert text is not None
    assert text.get_content().replace("\r\n", "\n") == row().body
    (attached,) = got.iter_attachments()
    assert attached.get_filename() == "acme-push-certificate-request.txt"
    assert attached.get_content() == REQUEST.text.encode()


def test_no_line_is_longer_than_smtp_allows_and_everything_is_ascii() -> None:
    lines = mail().as_bytes().split(b"\r\n")
    assert max(len(line) for line in lines) <= 998
    assert all(line.isascii() for line in lines)


def test_the_same_row_always_gives_the_same_bytes() -> None:
    assert mail().as_bytes() == mail().as_bytes()
    assert mail()["Message-ID"] == message_id(row(), "push@vendor.example")


def test_the_message_id_tells_occasions_apart_also_in_a_database_that_was_started_anew() -> None:
    ids = {
        message_id(row(), "push@vendor.example"),
        message_id(row(dedupe_key="delivery:2:0123456789abcdef"), "push@vendor.example"),
        message_id(row(created_at=WRITTEN + timedelta(days=365)), "push@vendor.example"),
    }
    assert len(ids) == 3
    assert all(i.endswith("@vendor.example>") for i in ids)


def test_without_a_request_nothing_is_attached(mailbox: Mailbox) -> None:
    with serving(mailbox) as port:
        plain(port).send(mail(None, copies=[]))
    assert list(mailbox.message().iter_attachments()) == []
    assert mailbox.message()["Cc"] is None


@pytest.mark.parametrize(
    "address",
    [
        "",
        "acme",
        "it@acme.example\r\nBcc: x@y.example",
        "a@b, c@d",
        "Acme <it@acme.example>",
        "ü@acme.example",
        "it@äcme.example",
    ],
)
def test_what_is_no_plain_address_is_refused_before_anything_is_sent(address: str) -> None:
    for where in ("recipients", "copies"):
        with pytest.raises(Refused) as refused:
            mail(None, **{where: [address]})
        assert refused.value.codes == ("mail_address_malformed",)
    with pytest.raises(Refused):
        compose(row(), None, sender=address, vendor="V")


def test_starttls_with_a_trusted_certificate(mailbox: Mailbox, tls: Tls) -> None:
    with serving(mailbox, tls_context=tls.context) as port:
        SmtpTransport("127.0.0.1", port, "starttls", ca_file=tls.ca_file, timeout=10).send(mail())
    assert mailbox.starttls == [True]


def test_tls_from_the_start_with_a_trusted_certificate(mailbox: Mailbox, tls: Tls) -> None:
    with serving(mailbox, tls.context) as port:
        SmtpTransport("127.0.0.1", port, "tls", ca_file=tls.ca_file, timeout=10).send(mail())
    assert len(mailbox.taken) == 1  # by a server that speaks nothing but TLS


def test_an_untrusted_certificate_is_never_spoken_to(mailbox: Mailbox, tls: Tls) -> None:
    with serving(mailbox, tls_context=tls.context) as port, pytest.raises(ServerDown):
        SmtpTransport("127.0.0.1", port, "starttls", timeout=10).send(mail())
    with serving(mailbox, tls.context) as port, pytest.raises(ServerDown):
        SmtpTransport("127.0.0.1", port, "tls", timeout=10).send(mail())
    assert mailbox.taken == []


def test_a_server_without_starttls_does_not_get_the_message_in_the_clear(mailbox: Mailbox) -> None:
    with serving(mailbox) as port, pytest.raises(ServerDown):
        SmtpTransport("127.0.0.1", port, "starttls", timeout=10).send(mail())
    assert mailbox.taken == []


def authenticator(*args: Any) -> AuthResult:
    found = args[-1]
    assert isinstance(found, LoginPassword)
    good = (found.login, found.password) == (b"push", PASSWORD.encode())
    return AuthResult(success=good, handled=good)


def forgotten() -> str:
    raise refuse("passphrase_missing", "The variable SMTP_PASSWORD is not set.", "Set it.")


@pytest.mark.parametrize(
    ("password", "arrives"),
    [
        (lambda: PASSWORD, True),
        (lambda: "wrong", False),
        (lambda: "pässword", False),
        (None, False),
        (forgotten, False),
    ],
)
def test_login(
    mailbox: Mailbox, tls: Tls, password: Callable[[], str] | None, arrives: bool
) -> None:
    with serving(
        mailbox, tls_context=tls.context, authenticator=authenticator, auth_required=True
    ) as port:
        transport = SmtpTransport(
            "127.0.0.1",
            port,
            "starttls",
            username="push",
            password=password,
            ca_file=tls.ca_file,
            timeout=10,
        )
        if arrives:
            transport.send(mail())
        else:
            # Temporary: a wrong password must not make every reminder be given up.
            with pytest.raises(ServerDown) as down:
                transport.send(mail())
            assert PASSWORD not in str(down.value)
            assert "ä" not in str(down.value)
    assert len(mailbox.taken) == (1 if arrives else 0)
    assert PASSWORD not in repr(transport)


def test_a_server_that_cannot_be_reached_is_down() -> None:
    with serving(Mailbox()) as port:
        pass
    with pytest.raises(ServerDown, match=f"127.0.0.1:{port}"):
        plain(port).send(mail())


@pytest.mark.parametrize(
    ("at", "reply", "expected", "words"),
    [
        (
            "it@acme.example",
            "550 no such user",
            AddressesRefused,
            "it@acme.example: no such user (550)",
        ),
        ("it@acme.example", "450 greylisted", Unavailable, "greylisted (450)"),
        ("push@vendor.example", "550 not you", ServerDown, "not you"),
        ("push@vendor.example", "530 log in first", ServerDown, "log in first"),
        ("push@vendor.example", "451 later", ServerDown, "later"),
        ("push@vendor.example", "552 too big", Refused, "too big"),
        ("DATA", "554 looks like spam", Refused, "looks like spam"),
        ("DATA", "452 disk full", Unavailable, "disk full"),
    ],
)
def test_what_a_refusal_means(
    mailbox: Mailbox, at: str, reply: str, expected: type[Exception], words: str
) -> None:
    mailbox.refuses[at] = reply
    with serving(mailbox) as port, pytest.raises(expected) as raised:
        plain(port).send(mail())
    assert type(raised.value) is expected
    assert words in str(raised.value)
    assert mailbox.taken == []


def test_a_refused_copy_does_not_keep_the_message_from_the_customer(mailbox: Mailbox) -> None:
    mailbox.refuses["ops@vendor.example"] = "550 no such user"
    with serving(mailbox) as port:
        refused = plain(port).send(mail())
    (envelope,) = mailbox.taken
    assert envelope.rcpt_tos == ["it@acme.example"]
    assert [one.address for one in refused] == ["ops@vendor.example"]


def test_a_copy_alone_is_not_sent_when_the_customer_is_refused(mailbox: Mailbox) -> None:
    mailbox.refuses["it@acme.example"] = "550 no such user"
    with serving(mailbox) as port, pytest.raises(Refused):
        plain(port).send(mail())
    assert mailbox.taken == []


def test_a_bad_goodbye_after_delivery_is_no_failure(mailbox: Mailbox) -> None:
    mailbox.hangs_up_after_data = True
    with serving(mailbox) as port:
        plain(port).send(mail())
    assert len(mailbox.taken) == 1


def test_what_the_server_says_cannot_break_a_line(mailbox: Mailbox) -> None:
    mailbox.refuses["it@acme.example"] = "550 \x1b[2Jgone\twest"
    with serving(mailbox) as port, pytest.raises(Refused) as refused:
        plain(port).send(mail())
    assert str(refused.value).isprintable()


def test_of_two_addresses_the_good_one_gets_the_message(mailbox: Mailbox) -> None:
    both = mail(recipients=["old@acme.example", "it@acme.example"])
    mailbox.refuses["old@acme.example"] = "550 no such user"
    with serving(mailbox) as port:
        (refused,) = plain(port).send(both)
    assert refused.address == "old@acme.example"
    assert "no such user (550)" in refused.why
    (envelope,) = mailbox.taken
    assert envelope.rcpt_tos == ["it@acme.example", "ops@vendor.example"]


def test_greylisting_of_one_address_puts_the_message_off_for_both(mailbox: Mailbox) -> None:
    both = mail(recipients=["it@acme.example", "new@acme.example"])
    mailbox.refuses["new@acme.example"] = "450 come back later"
    with serving(mailbox) as port, pytest.raises(Unavailable, match="come back later"):
        plain(port).send(both)
    assert mailbox.taken == []


def test_the_html_form_is_the_alternative_and_the_request_is_beside_both(mailbox: Mailbox) -> None:
    with serving(mailbox) as port:
        plain(port).send(mail(html="<p>Hällo <b>Ácme</b></p>\n"))
    message = mailbox.message()
    assert message.get_content_type() == "multipart/mixed"
    alternative, attached = message.iter_parts()
    assert alternative.get_content_type() == "multipart/alternative"
    text, html = alternative.iter_parts()
    assert (text.get_content_type(), html.get_content_type()) == ("text/plain", "text/html")
    assert html.get_content().splitlines() == ["<p>Hällo <b>Ácme</b></p>"]
    assert attached.get_filename() == REQUEST.name


def test_the_same_row_gives_the_same_bytes_with_html_too() -> None:
    html = "<p>Hello</p>\n"
    assert mail(html=html).as_bytes() == mail(html=html).as_bytes()


def test_a_check_logs_in_and_sends_nothing(mailbox: Mailbox, tls: Tls) -> None:
    with serving(
        mailbox, tls_context=tls.context, authenticator=authenticator, auth_required=True
    ) as port:
        right = SmtpTransport(
            "127.0.0.1", port, "starttls", "push", lambda: PASSWORD, tls.ca_file, timeout=10
        )
        right.check()
        with pytest.raises(ServerDown, match="refuses the login"):
            replace(right, password=lambda: "wrong").check()
        with pytest.raises(ServerDown, match="cannot be used"):
            replace(right, ca_file=None).check()
    assert mailbox.taken == []


def test_answers_go_where_the_vendor_wants_them() -> None:
    message = compose(row(), None, sender="a@v.example", vendor="V", reply_to="help@v.example")
    assert message["Reply-To"] == "help@v.example"
    assert compose(row(), None, sender="a@v.example", vendor="V")["Reply-To"] is None
    with pytest.raises(Refused, match="reply_to"):
        compose(row(), None, sender="a@v.example", vendor="V", reply_to="help@v.example\r\nBcc: x")
