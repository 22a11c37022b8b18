"""The lab around a deployment: Apple's portal and gateway, a mail server, the clock.

All of it is visited as a customer's admin, a device or an instance visits the real ones.
"""

from __future__ import annotations

import plistlib
import random
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from lifecycle.lab.authority import Authority
from lifecycle.lab.clock import MovableClock
from lifecycle.lab.gateway import ApnsGateway
from lifecycle.lab.mailbox import Mailbox
from lifecycle.lab.portal import Portal

START = datetime(2027, 1, 4, 6, 0, tzinfo=UTC)
"""When the year begins, whenever it is played."""
OPS = "ops@vendor.example"
VENDOR = "Example MDM"


class Surroundings:
    """The lab of one rehearsal.

    Args:
        directory: an empty folder; everything of the rehearsal is kept in it.
        seed: fixes topics, serials and everybody's habits.
        clock: told the time by all of it.

    Attributes:
        rng: of everybody's habits.
        authority, portal, gateway, mailbox: its parts.
        tokens: every device token that APNs has given out; to search for, not to show.
        signing_keys: every MDM signing key that the vendor has had; likewise.
    """

    def __init__(self, directory: Path, seed: int, clock: MovableClock) -> None:
        self.directory = directory
        self.clock = clock
        self.rng = random.Random(seed)  # noqa: S311  (a repeatable play, no secret)
        self.authority = Authority(clock, seed)
        self.portal = Portal(self.authority, clock, random.Random(seed + 1))  # noqa: S311
        self.gateway = ApnsGateway(self.authority, clock)
        self.mailbox = Mailbox()
        self.tokens: list[bytes] = []
        self.signing_keys: list[RSAPrivateKey] = []

    @contextmanager
    def running(self) -> Iterator[None]:
        """Starts gateway and mail server, and takes them down again."""
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.gateway.start()
        self.mailbox.start()
        try:
            self.gateway.write_ca(self.directory / "gateway-ca.pem")
            (self.directory / "apple-ca.pem").write_text(self.authority.trust_pem())
            yield
        finally:
            self.mailbox.stop()
            self.gateway.stop()

    @property
    def of_apple(self) -> str:
        """The sections of a configuration that put the lab in Apple's place."""
        where = self.directory.absolute()
        return f"""\
[trust]
extra = ["{where}/apple-ca.pem"]

[apns]
host = "{self.gateway.host}"
port = {self.gateway.port}
ca_file = "{where}/gateway-ca.pem"
backoff_seconds = 0.02
"""

    @property
    def of_mail(self) -> str:
        """The section of a configuration that sends mail to the lab's mail server."""
        return f"""\
[smtp]
host = "{self.mailbox.host}"
port = {self.mailbox.port}
security = "none"
sender = "pushcert@vendor.example"
"""

    def new_device(self, topic: str) -> bytes:
        """A device enrols: APNs gives it a token; this is its TokenUpdate message."""
        token = self.gateway.register_device(topic)
        self.tokens.append(token)
        return plistlib.dumps(
            {
                "MessageType": "TokenUpdate",
                "Token": token,
                "PushMagic": secrets.token_hex(16).upper(),
                "Topic": topic,
                "UDID": f"{self.rng.getrandbits(128):032X}",
            }
        )

    def advance_to(self, day: int, hour: int) -> None:
        """Moves the clock to an hour (UTC) of a day of the year, counted from 0."""
        midnight = START.replace(hour=0)
        self.clock.set(midnight + timedelta(days=day, hours=hour))
