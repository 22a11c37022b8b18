"""A real SMTP server on loopback that keeps what it takes, for people and tests to read.

mailbox = Mailbox()
mailbox.start()                     # mailbox.host, mailbox.port
for message in mailbox.take(): ...
"""

from __future__ import annotations

import socket
import threading
from email import message_from_bytes, policy
from email.message import EmailMessage

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

OK = "250 OK"


class Mailbox:
    """Takes mail, and can be told not to.

    Attributes:
        host, port: where it listens, once started.
        outage: everything is put off with 451.
        bounce: recipients that are refused with 550.
    """

    def __init__(self, host: str = "127.0.0.1") -> None:
        self.host = host
        self.port = _free_port(host)
        self.outage = False
        self.bounce: set[str] = set()
        self._lock = threading.Lock()
        self._messages: list[EmailMessage] = []
        self._taken = 0
        self._controller: Controller | None = None

    def start(self) -> None:
        """Begins to serve."""
        self._controller = Controller(self, hostname=self.host, port=self.port)
        self._controller.start()

    def stop(self) -> None:
        """Stops serving; what was taken stays readable."""
        if self._controller is not None:
            self._controller.stop()
            self._controller = None

    @property
    def messages(self) -> tuple[EmailMessage, ...]:
        """Everything that was ever taken, in order."""
        with self._lock:
            return tuple(self._messages)

    def take(self) -> tuple[EmailMessage, ...]:
        """What has come since the last call."""
        with self._lock:
            new = tuple(self._messages[self._taken :])
            self._taken = len(self._messages)
            return new

    async def handle_RCPT(  # noqa: N802  (aiosmtpd's name)
        self,
        server: SMTP,  # noqa: ARG002
        session: Session,  # noqa: ARG002
        envelope: Envelope,
        address: str,
        options: list[str],  # noqa: ARG002
    ) -> str:
        """Takes or refuses a recipient."""
        if self.outage:
            return "451 try again later"
        if address in self.bounce:
            return "550 no such mailbox"
        envelope.rcpt_tos.append(address)
        return OK

    async def handle_DATA(  # noqa: N802  (aiosmtpd's name)
        self,
        server: SMTP,  # noqa: ARG002
        session: Session,  # noqa: ARG002
        envelope: Envelope,
    ) -> str:
        """Takes a message."""
        content = envelope.content or b""
        data = content if isinstance(content, bytes) else content.encode()
        message = message_from_bytes(data, policy=policy.default)
        with self._lock:
            self._messages.append(message)
        return OK


def _free_port(host: str) -> int:
    # aiosmtpd's controller connects to the very port it was given, so it cannot be 0.
    with socket.socket() as probe:
        probe.bind((host, 0))
        port: int = probe.getsockname()[1]
        return port
