"""Somebody who follows a page of the documentation: types what it shows, has at hand what it takes
for granted, and goes to Apple's portal where it sends them."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from tests.deployment import CANARY, Deployment

CUSTOMER = "acme"
"""Whom the pages speak of."""
SERVES = re.compile(r"^pushcert (?:\S+ )*?(?:lab up|run|serve)(?: |$)")
"""What runs until it is told to stop."""
FINDS_SOMETHING = re.compile(r"^pushcert doctor")
"""May end with 4 on a deployment that has just been made."""


class Reader:
    """Types into one terminal, beginning in the deployment's folder.

    Args:
        vendor: theirs.
        home: their home directory; made.
    """

    def __init__(self, vendor: Deployment, home: Path) -> None:
        self._vendor = vendor
        self._where = vendor.directory
        self._prompt = home / "prompt"
        self._served: list[subprocess.Popen[str]] = []
        (home / "node_exporter").mkdir(parents=True)
        about = vendor.lab.describe()
        self._signing_key = Path(about["signing_key"])
        self._signing_certificate = Path(about["signing_certificate"])
        self._instead = {
            "/var/lib/pushcert": str(vendor.directory),
            "/var/lib/node_exporter": str(home / "node_exporter"),
            "--apns-port 2197": "--apns-port 0",
            "--url URL": f"--url {about['portal_url']}",
        }
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        kept = {name: value for name, value in os.environ.items() if "PUSHCERT" not in name}
        self._environment = {
            **kept,
            "HOME": str(home),
            "PATH": path,
            "NO_COLOR": "1",
            "PASS": "a word",
        }
        self._brings: dict[str, Callable[[], bytes]] = {
            "mdm.cer": self._as_apple_gave_it,
            "mdm.key": self._signing_key.read_bytes,
            "MDM_ Example_Certificate.pem": self._from_the_portal,
            "TokenUpdate.plist": self._of_an_enrolled_device,
            "request.b64": self._open_request,
        }

    def type(self, command: str) -> None:
        """Runs a command. Fails where it does not end as the page lets one expect."""
        command = self._meant(command)
        for name, bring in self._brings.items():
            if name in command and not (self._where / name).exists():
                (self._where / name).write_bytes(bring())
        if command.startswith("pushcert verify"):
            self._have_a_canary()
        if SERVES.match(command):
            self._serve(command)
            return
        done = subprocess.run(
            ["bash", "-ec", f"trap 'pwd > {self._prompt}' EXIT\n{command}"],
            cwd=self._where,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        self._where = Path(self._prompt.read_text().strip())
        well = {0, 4} if FINDS_SOMETHING.match(command) else {0}
        assert done.returncode in well, f"$ {command}\n{done.stdout}{done.stderr}"

    def leave(self) -> None:
        """Stops what still runs, as Ctrl-C would."""
        for process in self._served:
            process.send_signal(signal.SIGINT)
        for process in self._served:
            process.communicate(timeout=60)
            assert process.returncode == 0, process.args

    def _meant(self, command: str) -> str:
        for shown, real in self._instead.items():
            command = command.replace(shown, real)
        if "5F39…" in command:
            account = command.split("--apple-account ")[1].split()[0]
            row = self._vendor.lab.portal.certificates(account)[-1]
            command = command.replace("5F39…", row.serial)
        return command

    def _serve(self, command: str) -> None:
        process = subprocess.Popen(
            ["bash", "-c", f"exec {command}"],
            cwd=self._where,
            env=self._environment,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._served.append(process)
        assert process.stdout is not None
        assert process.stdout.readline(), f"$ {command}\nended before it served"

    def _as_apple_gave_it(self) -> bytes:
        certificate = x509.load_pem_x509_certificate(self._signing_certificate.read_bytes())
        return certificate.public_bytes(Encoding.DER)

    def _open_request(self) -> bytes:
        self._vendor.run("renew", CUSTOMER)
        return self._vendor.run("request", CUSTOMER).encode()

    def _from_the_portal(self) -> bytes:
        return self._vendor.at_the_portal(CUSTOMER).read_bytes()

    def _of_an_enrolled_device(self) -> bytes:
        if self._vendor.json("customer", "show", CUSTOMER)["certificate"] is None:
            self._vendor.run("upload", CUSTOMER, str(self._vendor.at_the_portal(CUSTOMER)))
        return self._vendor.token_update(CUSTOMER).read_bytes()

    def _have_a_canary(self) -> None:
        if CANARY not in {row["slug"] for row in self._vendor.json("customer", "list")}:
            self._vendor.add(CANARY)
            self._vendor.certify(CANARY)
            self._vendor.enrol(CANARY)
