"""Somebody who follows a page of the documentation: types what it shows, has at hand what it takes
for granted, and goes to Apple's portal where it sends them."""

from __future__ import annotations

import csv
import os
import re
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pyrage
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from lifecycle.pki.upload import read_upload
from tests import elsewhere
from tests.deployment import CANARY, Deployment, account
from tests.documents import ROOT, blocks
from tests.machine import PASSPHRASE, Machine, on_the_path
from tests.mdm_servers.stand_ins import API_KEY, NanoMdmServer

CUSTOMER = "acme"
"""Whom the pages speak of."""
MDM_SERVER = "https://mdm.example.com"
"""Theirs, on the pages."""
SERVES = re.compile(r"^pushcert (?:\S+ )*?(?:lab up|run|serve)(?: |$)")
"""What runs until it is told to stop."""
FINDS_SOMETHING = re.compile(r"^(?:sudo .*)?pushcert (?:--config \S+ )?(?:doctor|restore)")
"""May end with 4 on a deployment that has just been made, or has no signing key yet."""


class Reader:
    """Types into one terminal, beginning in the deployment's folder.

    Args:
        vendor: theirs.
        home: their home directory; made.
        wheel: what ``pip install`` installs there.
    """

    def __init__(self, vendor: Deployment, home: Path, wheel: Callable[[], Path]) -> None:
        self._vendor = vendor
        self._home = home
        self._wheel = wheel
        self._where = vendor.directory
        self._prompt = home / "prompt"
        self._served: list[subprocess.Popen[str]] = []
        (home / "node_exporter").mkdir(parents=True)
        self._machine = Machine(home / "root", vendor.directory, ROOT)
        self._server = NanoMdmServer().__enter__()
        self._elsewhere: elsewhere.Pair | None = None
        self._key: pyrage.x25519.Identity | None = None
        about = vendor.lab.describe()
        self._signing_key = Path(about["signing_key"])
        self._signing_certificate = Path(about["signing_certificate"])
        self._instead = {
            MDM_SERVER: self._server.url,
            "/var/lib/nanomdm": str(home / "nanomdm"),
            "/mnt/backup": str(home / "mnt"),
            "/srv/pushcert": str(home / "srv"),
            "requirements/pushcert.txt": str(ROOT / "requirements" / "pushcert.txt"),
            "/var/lib/node_exporter": str(home / "node_exporter"),
            "--apns-port 2197": "--apns-port 0",
            "--url URL": f"--url {about['portal_url']}",
        }
        kept = {name: value for name, value in os.environ.items() if "PUSHCERT" not in name}
        self._environment = {
            **kept,
            **self._machine.environment,
            "HOME": str(home),
            "PATH": on_the_path(self._machine.programs, home / "programs", self._machine.local),
            "NO_COLOR": "1",
            "PASS": PASSPHRASE,
            "NANOMDM_API_KEY": API_KEY,
        }
        self._brings: dict[str, Callable[[], bytes | None]] = {
            "push.key": self._key_from_elsewhere,
            "push.p12": lambda: elsewhere.as_p12(self._pair(), PASSPHRASE),
            "mdm-certificates": self._folder_of_mdmctl,
            "pass.txt": PASSPHRASE.encode,
            "share/certificates": self._share,
            "mysqldump": self._dumps,
            "nanomdm/db": self._stored,
            "registry.age": self._back_from_where_it_is_kept,
            "key.txt": self._identity,
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
                self._put(name, bring())
        self._prepare(command)
        if self._machine.play(command, self._environment):
            return
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
        self._machine.stop()
        self._server.__exit__(None, None, None)
        for process in self._served:
            process.send_signal(signal.SIGINT)
        for process in self._served:
            process.communicate(timeout=60)
            assert process.returncode == 0, process.args

    def _put(self, name: str, brought: bytes | None) -> None:
        if brought is not None:
            (self._where / name).touch(mode=0o600)
            (self._where / name).write_bytes(brought)

    def _prepare(self, command: str) -> None:
        """What a reader sees to by themselves before they type this."""
        if command.startswith("pushcert verify"):
            self._have_a_canary()
        if command.endswith("customer import customers.csv"):
            self._fill_in(self._where / "customers.csv")
        if " pip install " in command.replace("/", " "):
            self._machine.dependencies()
        if "customer import --nanomdm" in command:
            self._serve_the_registry()
        if command.startswith("pushcert instance deploy"):
            self._have_a_target()
        if " backup " in command:
            self._have_a_recipient()

    def _meant(self, command: str) -> str:
        command = self._machine.here(command)
        if "'pushcert[server]'" in command:
            command = command.replace("'pushcert[server]'", f"--quiet --no-deps {self._wheel()}")
        if command.startswith("pip install "):
            pip = self._machine.empty_environment() / "bin" / "pip"
            command = command.replace("pip install", f"{pip} install --quiet", 1)
            command = re.sub(r" pushcert$", f" {self._wheel()}", command)
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

    def _pair(self) -> elsewhere.Pair:
        if self._elsewhere is None:
            folder = self._home / "elsewhere"
            self._elsewhere = elsewhere.made_elsewhere(self._vendor, account(CUSTOMER), folder)
        return self._elsewhere

    def _key_from_elsewhere(self) -> bytes:
        self._put("MDM_ Example_Certificate.pem", self._pair().certificate)
        return self._pair().key

    def _folder_of_mdmctl(self) -> None:
        elsewhere.mdmctl_folder(self._where / "mdm-certificates", self._pair(), PASSPHRASE)

    def _share(self) -> None:
        elsewhere.share(self._where / "share" / "certificates", self._vendor, self._home / "others")

    def _dumps(self) -> None:
        elsewhere.dumps(self._home / "programs", self._topic())

    def _stored(self) -> None:
        elsewhere.stored(self._home / "nanomdm" / "db", self._topic())

    def _topic(self) -> str:
        return str(self._vendor.json("customer", "show", CUSTOMER)["certificate"]["topic"])

    def _fill_in(self, draft: Path) -> None:
        with draft.open() as file:
            rows = list(csv.DictReader(file))
        with draft.open("w") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows({**row, "email": f"it@{row['slug']}.example"} for row in rows)

    def _serve_the_registry(self) -> None:
        folder = self._home / "certificates"
        books = "--out", str(self._home / "books.csv"), "--certificates", str(folder)
        self._vendor.run("customer", "export", *books)
        for file in folder.iterdir():
            certificate = read_upload(file.read_bytes()).certificate
            self._server.stored[str(certificate.topic)] = (certificate.pem.encode(), b"")

    def _have_a_target(self) -> None:
        (target, *_) = blocks("docs/deploying.md", "toml")
        config = self._vendor.config
        before = config.read_text()
        if "[deploy." not in before:
            config.write_text(before + target.text.replace(MDM_SERVER, self._server.url))

    def _identity(self) -> bytes:
        if self._key is None:
            self._key = pyrage.x25519.Identity.generate()
        return f"{self._key}\n".encode()

    def _have_a_recipient(self) -> None:
        self._identity()
        config = self._vendor.config
        before = config.read_text()
        if "[backup]" not in before:
            assert self._key is not None
            config.write_text(f'{before}[backup]\nrecipients = ["{self._key.to_public()}"]\n')
        (self._home / "mnt").mkdir(exist_ok=True)

    def _back_from_where_it_is_kept(self) -> bytes | None:
        kept = self._home / "mnt" / "registry.age"
        return kept.read_bytes() if kept.exists() else None
