"""A real SMTP server on loopback that keeps what it takes, for people and tests to read.

mailbox = Mailbox()
mailbox.start()                     # mailbox.host, mailbox.port
for message in mailbox.take(): ...
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Coroutine
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

OK = "250 OK"
READY_SECONDS = 60
"""How long a busy machine may take to start the server."""


class Mailbox:
    """Takes mail, and can be told not to.

    Attributes:
        host, port: where it listens, once started.
        outage: everything is put off with 451.
        bounce: recipients that are refused with 550.
    """

    def __init__(self, host: str = "127.0.0.1") -> None:
        self.host = host
        # Bound now and kept: a free port that is only looked up can be gone a moment later.
        self._socket: socket.socket | None = _bound(host, 0)
        self.port: int = self._socket.getsockname()[1]
        self.outage = False
        self.bounce: set[str] = set()
        self._lock = threading.Lock()
        self._messages: list[EmailMessage] = []
        self._taken = 0
        self._controller: Controller | None = None

    def start(self) -> None:
        """Begins to serve."""
        listening = self._socket or _bound(self.host, self.port)
        self._socket = None  # the server closes it when it stops
        self._controller = _OnSocket(
            self, listening, hostname=self.host, port=self.port, ready_timeout=READY_SECONDS
        )
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


class _OnSocket(Controller):
    """A controller that serves on a socket that is bound already."""

    def __init__(self, handler: Mailbox, listening: socket.socket, **options: Any) -> None:
        super().__init__(handler, **options)
        self._listening = listening

    def _create_server(self) -> Coroutine[Any, Any, asyncio.AbstractServer]:
        return self.loop.create_server(self._factory_invoker, sock=self._listening)


def _bound(host: str, port: int) -> socket.socket:
    # The protocol is said, because asyncio turns Nagle's delay off for sockets that say it.
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.bind((host, port))
    return listening
