"""The stage: a real deployment in a directory, with the lab in Apple's place.

Everything a vendor has is here and is used as a vendor uses it: config.toml, the registry (in
SQLite, unless another is given), the signer's directory, vaults, SMTP. The lab's portal is visited
as a customer's admin visits Apple's, with the request from the mail.
"""

from __future__ import annotations

import plistlib
import random
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from lifecycle.boundary import WriteObserver
from lifecycle.config import CONFIG_NAME, load_config
from lifecycle.embedded import Embedded
from lifecycle.lab.authority import Authority
from lifecycle.lab.clock import LabClock
from lifecycle.lab.gateway import ApnsGateway
from lifecycle.lab.mailbox import Mailbox
from lifecycle.lab.portal import Portal
from lifecycle.pki.keys import generate_key
from lifecycle.registry_database import configured_password
from lifecycle.vendor import registry, store
from lifecycle.vendor.facts import CustomerKind
from lifecycle.vendor.migrations import upgrade
from lifecycle.vendor.store import CustomerRecord

START = datetime(2027, 1, 4, 6, 0, tzinfo=UTC)
"""When the year begins, whenever it is played."""

CANARY = "vendor-canary"
CANARY_ACCOUNT = "push@vendor.example"
OPS = "ops@vendor.example"
VENDOR = "Example MDM"


class Stage:
    """A deployment and the lab around it.

    Args:
        directory: an empty folder; everything is kept in it.
        seed: fixes topics, serials and everybody's habits.
        observer: handed to the deployment.
        database: the registry's URL; None: SQLite, in the folder.
    """

    def __init__(
        self,
        directory: Path,
        seed: int,
        *,
        observer: WriteObserver | None = None,
        database: str | None = None,
    ) -> None:
        self.directory = directory
        self._database = database or "sqlite:///vendor.sqlite"
        self.clock = LabClock(START)
        self.rng = random.Random(seed)  # noqa: S311  (a repeatable play, no secret)
        self.authority = Authority(self.clock, seed)
        self.portal = Portal(self.authority, self.clock, random.Random(seed + 1))  # noqa: S311
        self.gateway = ApnsGateway(self.authority, self.clock)
        self.mailbox = Mailbox()
        self._crossed: list[bytes] = []
        self._observer = observer
        self._tokens: list[bytes] = []
        self.embedded: Embedded

    @contextmanager
    def open(self) -> Iterator[Stage]:
        """Starts gateway and mail server, makes the deployment, and takes all down again."""
        self.gateway.start()
        self.mailbox.start()
        try:
            self._write_config()
            self.reopen()
            try:
                yield self
            finally:
                self.embedded.close()
        finally:
            self.mailbox.stop()
            self.gateway.stop()

    def reopen(self) -> None:
        """Opens the deployment as a new process would."""
        config = load_config(self.directory / CONFIG_NAME)
        upgrade(config.database_url, password=configured_password(config))
        self.embedded = Embedded(
            config,
            self.clock,
            observer=self._observer,
            tap=self._crossed.append,
        )

    def _write_config(self) -> None:
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.gateway.write_ca(self.directory / "gateway-ca.pem")
        (self.directory / "apple-ca.pem").write_text(self.authority.trust_pem())
        (self.directory / CONFIG_NAME).write_text(
            f"""\
[vendor]
name = "{VENDOR}"
database = "{self._database}"
ops = ["{OPS}"]

[trust]
extra = ["apple-ca.pem"]

[apns]
host = "{self.gateway.host}"
port = {self.gateway.port}
ca_file = "gateway-ca.pem"
backoff_seconds = 0.02

[smtp]
host = "{self.mailbox.host}"
port = {self.mailbox.port}
security = "none"
sender = "pushcert@vendor.example"
"""
        )

    def import_signer(self, days: int) -> None:
        """The vendor gets an MDM signing certificate for ``days`` days and imports it."""
        key = generate_key()
        certificate = self.authority.issue_signing_certificate(key.public_key(), VENDOR, days=days)
        self.embedded.signer.install(certificate, key, (), self.embedded.trust, at=self.clock.now())
        self.embedded.worker.register_signer()

    def add_customer(
        self, slug: str, name: str, email: str, apple_account: str, *, canary: bool = False
    ) -> None:
        """Ops adds a customer to the registry."""
        kind = CustomerKind.CANARY if canary else CustomerKind.CUSTOMER
        new = registry.NewCustomer(slug, name, email, apple_account, kind)
        with self.embedded.database.transaction() as session:
            registry.add(session, new, at=self.clock.now(), actor="operator:rehearsal")

    def record(self, slug: str) -> CustomerRecord:
        """The customer's rows and facts now."""
        with self.embedded.database.reading() as session:
            return store.load(session, store.customer_by_slug(session, slug))

    def enrol_device(self, slug: str) -> bytes:
        """A device enrols: APNs gives it a token, and its TokenUpdate reaches the instance."""
        active = self.record(slug).active
        if active is None:
            raise ValueError(f"{slug} has no certificate to enrol devices under")
        token = self.gateway.register_device(active.topic)
        self._tokens.append(token)
        message = plistlib.dumps(
            {
                "MessageType": "TokenUpdate",
                "Token": token,
                "PushMagic": secrets.token_hex(16).upper(),
                "Topic": active.topic,
                "UDID": f"{self.rng.getrandbits(128):032X}",
            }
        )
        with self.embedded.vault(slug) as vault:
            vault.import_devices(message, self.clock.now())
        return token

    @property
    def wire(self) -> bytes:
        """Every message that has crossed between the planes, one a line."""
        return b"\n".join(self._crossed)

    @property
    def tokens(self) -> tuple[bytes, ...]:
        """Every device token that APNs has given out; to search for, not to show."""
        return tuple(self._tokens)

    def advance_to(self, day: int, hour: int) -> None:
        """Moves the clock to an hour (UTC) of a day of the year, counted from 0."""
        midnight = START.replace(hour=0)
        self.clock.set(midnight + timedelta(days=day, hours=hour))
