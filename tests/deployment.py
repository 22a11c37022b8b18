"""A vendor's deployment on a disk with a lab in Apple's place: for tests that start processes."""

from __future__ import annotations

import json
import plistlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from cli.main import app
from lifecycle.lab.mailbox import Mailbox
from lifecycle.lab.serve import Lab

CANARY = "vendor-canary"


@dataclass
class Deployment:
    """Where it is, and who plays Apple and the mail server.

    Attributes:
        directory: has config.toml; made, and not yet initialised.
    """

    directory: Path
    lab: Lab
    mailbox: Mailbox

    @property
    def config(self) -> Path:
        return self.directory / "config.toml"

    def run(self, *arguments: str) -> str:
        """Runs a command in this process; gives what it prints."""
        result = CliRunner().invoke(app, ["--config", str(self.config), *arguments])
        assert result.exit_code == 0, result.output
        return result.stdout

    def json(self, *arguments: str) -> Any:
        return json.loads(self.run(*arguments, "--json"))

    def settle(self, *slugs: str) -> None:
        """``init``, a signer, the canary tenant and these customers, all with certificates."""
        self.run("init", str(self.directory))
        self.import_signer()
        for slug in (CANARY, *slugs):
            self.add(slug)
            self.certify(slug)
            self.enrol(slug)

    def import_signer(self) -> None:
        about = self.lab.describe()
        pair = "--certificate", about["signing_certificate"], "--key", about["signing_key"]
        self.run("signer", "import", *pair)

    def add(self, slug: str) -> None:
        who = "--name", slug.title(), "--email", f"it@{slug}.example"
        canary = ("--canary",) if slug == CANARY else ()
        self.run("customer", "add", slug, *who, "--apple-account", account(slug), *canary)

    def certify(self, slug: str) -> None:
        """One renewal, with a person at the lab's portal."""
        self.run("renew", slug)
        file = self.at_the_portal(slug)
        self.run("upload", slug, str(file))

    def at_the_portal(self, slug: str) -> Path:
        """Takes the open request to the lab's portal; gives the certificate that it offers."""
        request = self.run("request", slug).encode()
        active = self.json("customer", "show", slug)["certificate"]
        portal = self.lab.portal
        pem = (
            portal.create(account(slug), request)
            if active is None
            else portal.renew(account(slug), request, active["serial"])
        )
        file = self.directory / f"{slug}-from-the-portal.pem"
        file.write_bytes(pem)
        return file

    def enrol(self, slug: str) -> None:
        self.run("instance", "device", "import", str(self.token_update(slug)), "--customer", slug)

    def token_update(self, slug: str) -> Path:
        """A device enrols; gives the TokenUpdate message that its MDM server got."""
        topic = self.json("customer", "show", slug)["certificate"]["topic"]
        message = {
            "MessageType": "TokenUpdate",
            "Token": self.lab.gateway.register_device(topic),
            "PushMagic": "73D2F9A4-1C0E",
            "Topic": topic,
            "UDID": f"UDID-{slug.upper()}",
        }
        file = self.directory / f"{slug}-TokenUpdate.plist"
        file.write_bytes(plistlib.dumps(message))
        return file


def account(slug: str) -> str:
    """The customer's Apple Account."""
    return f"push@{slug}.example"


@contextmanager
def deployment(folder: Path, more: str = "") -> Iterator[Deployment]:
    """A deployment in ``folder/vendor``; ``more`` goes into its configuration."""
    mailbox = Mailbox()
    mailbox.start()
    try:
        with Lab(folder / "lab") as lab:
            made = Deployment(folder / "vendor", lab, mailbox)
            made.directory.mkdir(mode=0o700)
            made.config.write_text(_config(lab, mailbox) + more)
            made.config.chmod(0o600)
            yield made
    finally:
        mailbox.stop()


def _config(lab: Lab, mailbox: Mailbox) -> str:
    about = lab.describe()
    return f"""\
[trust]
extra = ["{about["trust_file"]}"]
[apns]
host = "{about["apns_host"]}"
port = {about["apns_port"]}
ca_file = "{about["ca_file"]}"
backoff_seconds = 0.01
[smtp]
host = "{mailbox.host}"
port = {mailbox.port}
security = "none"
sender = "pushcert@vendor.example"
[run]
every_seconds = 1
"""
