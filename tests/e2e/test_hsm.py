"""The MDM signing key in a token, by the command line: SoftHSM 2 is pulled out and put back."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli.main import app
from lifecycle.pki.keys import load_private_key
from lifecycle.rehearsal.disclosure import Search, Secret
from lifecycle.rehearsal.processes import can_be_seen, open_files, search_process
from tests.deployment import Deployment, deployment
from tests.softhsm import PIN, Token, soft_token

VECTORS = Path(__file__).resolve().parent.parent / "vectors"
PATIENCE = 60.0


@dataclass
class Vendor:
    """A deployment whose signing key is in a token."""

    made: Deployment
    token: Token
    secrets: tuple[Secret, ...]

    def fails(self, *arguments: str) -> tuple[int, str]:
        result = CliRunner().invoke(app, ["--config", str(self.made.config), *arguments])
        return result.exit_code, result.stderr

    def import_by(self, uri: str) -> tuple[int, str]:
        certificate = self.made.lab.describe()["signing_certificate"]
        return self.fails("signer", "import", "--certificate", certificate, "--pkcs11-uri", uri)

    def state_of(self, slug: str) -> str | None:
        renewal = self.made.json("customer", "show", slug)["renewal"]
        return None if renewal is None else str(renewal["state"])

    def blocked(self, slug: str) -> str | None:
        rows = self.made.json("report")["customers"]
        return next((r["blocked_by"] for r in rows if r["slug"] == slug), None)

    def search(self, *more: Path) -> Search:
        assert self.made.directory.exists()
        search = Search((*self.secrets, Secret("PIN", f"PIN is {PIN}".encode())))
        assert search.in_files([self.made.directory, *more]) == []
        return search


@pytest.fixture
def vendor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Vendor]:
    monkeypatch.setenv("THE_PIN", PIN)
    more = '[signer]\npin = "env:THE_PIN"\n'
    with soft_token(tmp_path) as token, deployment(tmp_path, more) as made:
        key = load_private_key(Path(made.lab.describe()["signing_key"]).read_bytes(), None)
        token.put(key)
        made.run("init", str(made.directory))
        yield Vendor(made, token, Secret.of_key("the MDM signing key", key))


@contextmanager
def process(vendor: Vendor, log: Path, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as file:
        running = subprocess.Popen(
            [sys.executable, "-m", "cli", "--config", str(vendor.made.config), *arguments],
            stdout=file,
            stderr=file,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
        try:
            yield running
        finally:
            running.send_signal(signal.SIGTERM)
            running.wait(PATIENCE)


def until(what: Callable[[], bool], log: Path) -> None:
    ends = time.monotonic() + PATIENCE
    while not what():
        assert time.monotonic() < ends, log.read_text()
        time.sleep(0.2)


def test_sign_gives_the_same_request_by_the_token_as_by_the_file(vendor: Vendor) -> None:
    about = vendor.made.lab.describe()
    by_file = vendor.made.run(
        "sign", str(VECTORS / "customer-csr.pem"),
        "--certificate", about["signing_certificate"], "--key", about["signing_key"],
    )  # fmt: skip
    assert vendor.import_by(vendor.token.uri()) == (0, "")
    assert vendor.made.run("sign", str(VECTORS / "customer-csr.pem")) == by_file
    shown = vendor.made.json("signer", "show")
    assert shown["pkcs11_uri"] == vendor.token.uri()
    vendor.search()


def test_the_token_is_pulled_out_mid_run_and_what_waits_goes_on_when_it_is_back(
    vendor: Vendor, tmp_path: Path
) -> None:
    assert vendor.import_by(vendor.token.uri()) == (0, "")
    made, log, served = vendor.made, tmp_path / "run.log", tmp_path / "serve.log"
    made.add("acme")
    with (
        process(vendor, log, "run") as running,
        process(vendor, served, "serve", "--port", "0") as serving,
    ):
        until(lambda: vendor.state_of("acme") == "delivered", log)

        vendor.token.pull_out()
        for slug in ("birch", "cedar"):
            made.add(slug)
        until(lambda: vendor.blocked("cedar") == "signer_unavailable", log)
        assert vendor.state_of("birch") == vendor.state_of("cedar") == "csr_received"
        (signer, *_) = made.json("report")["signers"]
        assert signer["unavailable_since"]
        assert "token" in signer["unavailable_why"]
        assert "pushcert_signer_unavailable_timestamp_seconds{" in made.run(
            "report", "--format", "prometheus"
        )
        looked = CliRunner().invoke(app, ["--config", str(made.config), "doctor", "--json"])
        wrong = {d["what"]: d["message"] for d in json.loads(looked.stdout) if not d["well"]}
        assert "token" in wrong["signing key"]
        assert vendor.fails("sign", str(VECTORS / "customer-csr.pem"))[0] == 5

        vendor.token.put_back()
        until(lambda: vendor.state_of("birch") == vendor.state_of("cedar") == "delivered", log)
        assert made.json("report")["signers"][0]["unavailable_since"] is None
        assert vendor.blocked("cedar") is None
        _holds_no_key(vendor, running.pid, serving.pid, log, served)
    said = [e["action"] for e in made.json("audit", "list")]
    assert said.count("signer_unavailable") == said.count("signer_available") == 1
    assert said.count("request_signed") == 3
    made.run("audit", "verify")


def _holds_no_key(vendor: Vendor, worker: int, serve: int, *logs: Path) -> None:
    """Searched: the deployment, the logs, what both processes have open, environment, arguments.

    The memory of the worker is left out: SoftHSM is a token in software, inside that process. That
    of ``serve`` is not: it never loads the module.
    """
    search = vendor.search(*logs)
    if not can_be_seen(serve):  # pragma: no cover - a system without /proc
        return
    for pid in (worker, serve):
        ours = [f for f in open_files(pid) if not f.is_relative_to(vendor.token.files.parent)]
        assert search.in_files(ours) == []
        for name in ("environ", "cmdline"):
            assert search.in_bytes(name, Path(f"/proc/{pid}/{name}").read_bytes()) == []
    assert search_process("serve", serve, search) == []
    assert "libsofthsm2" not in Path(f"/proc/{serve}/maps").read_text()
    assert "libsofthsm2" in Path(f"/proc/{worker}/maps").read_text()


def test_the_search_would_have_found_the_key(vendor: Vendor) -> None:
    key = Path(vendor.made.lab.describe()["signing_key"]).read_bytes()
    (vendor.made.directory / "left-behind.pem").write_bytes(key)
    with pytest.raises(AssertionError):
        vendor.search()


def test_what_cannot_be_imported_is_said_before_anything_is_written(vendor: Vendor) -> None:
    for uri, status, code in (
        (vendor.token.uri() + f"&pin-value={PIN}", 3, "pkcs11_uri_pin"),
        (vendor.token.uri(object="another"), 3, "token_key_missing"),
        ("pkcs11:token=another?module-path=" + str(vendor.token.module), 5, "unavailable"),
        ("pkcs11:object=a", 3, "token_module_missing"),
    ):
        found, said = vendor.import_by(uri)
        assert (found, PIN in said) == (status, False), said
        assert code in said
    certificate = vendor.made.lab.describe()["signing_certificate"]
    both = "--certificate", certificate, "--key", certificate, "--pkcs11-uri", "pkcs11:"
    assert vendor.fails("signer", "import", *both)[0] == 2
    assert vendor.fails("signer", "show")[0] == 3


def test_a_wrong_pin_is_not_tried_again_until_a_person_checks_it(
    vendor: Vendor, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = vendor.made
    assert vendor.import_by(vendor.token.uri()) == (0, "")
    made.add("acme")
    asked = vendor.made.directory / "asked"
    pin = vendor.made.directory / "pin"
    pin.write_text("000000")
    pin.chmod(0o600)
    text = made.config.read_text()
    made.config.write_text(
        text.replace('"env:THE_PIN"', f"\"command:sh -c 'echo x >> {asked}; cat {pin}'\"")
    )
    for _ in range(3):
        assert vendor.fails("tick")[0] == 0
    assert asked.read_text().count("x") == 1, "one login, however many ticks and customers"
    assert vendor.blocked("acme") == "signer_unavailable"
    assert vendor.fails("signer", "check")[0] == 3
    pin.write_text(PIN)
    assert made.json("signer", "check") == {"usable": True, "was_usable": False}
    assert made.json("signer", "check") == {"usable": True, "was_usable": True}
    assert vendor.fails("tick")[0] == 0
    assert vendor.state_of("acme") == "delivered"
