"""The command line where instances run on machines of their own: both sides, a real server."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from cli.main import app
from lifecycle.lab.serve import Lab


@dataclass
class Vendor:
    """A vendor whose server runs as a process of its own, and a lab in Apple's place."""

    directory: Path
    url: str
    lab: dict[str, Any]

    def run(self, *arguments: str, config: Path | None = None, typed: str | None = None) -> Result:
        file = config or self.directory / "config.toml"
        return CliRunner().invoke(app, ["--config", str(file), *arguments], input=typed)

    def done(self, *arguments: str, config: Path | None = None) -> str:
        result = self.run(*arguments, config=config)
        assert result.exit_code == 0, result.output
        return result.stdout

    def json(self, *arguments: str, config: Path | None = None) -> Any:
        return json.loads(self.done(*arguments, "--json", config=config))


@pytest.fixture
def vendor(tmp_path: Path) -> Iterator[Vendor]:
    with Lab(tmp_path / "lab") as lab:
        said = lab.describe()
        directory = tmp_path / "vendor"
        runner = CliRunner()
        assert runner.invoke(app, ["init", str(directory)]).exit_code == 0
        (directory / "config.toml").write_text(
            '[vendor]\nname = "Example MDM"\ninstances = "distributed"\n'
            f'[trust]\nextra = ["{said["trust_file"]}"]\n'
        )
        server = subprocess.Popen(
            [sys.executable, "-m", "cli", "serve", "--port", "0"],
            env={**os.environ, "PUSHCERT_CONFIG": str(directory / "config.toml")},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert server.stdout is not None
        try:
            url = json.loads(server.stdout.readline())["url"]
            yield Vendor(directory, url, said)
        finally:
            server.send_signal(signal.SIGTERM)
            assert server.wait(30) == 0, "SIGTERM ends it in order"


@pytest.fixture
def instance(vendor: Vendor, tmp_path: Path) -> Path:
    """acme's instance, set up by its one-time code; the path of its configuration."""
    vendor.done("customer", "add", "acme", "--name", "Acme", "--email", "it@acme.example")
    code = vendor.json("customer", "invite", "acme")["code"]
    directory = tmp_path / "acme"
    result = CliRunner().invoke(
        app, ["instance", "init", str(directory), "--vendor", vendor.url, "--code", "-"], input=code
    )
    assert result.exit_code == 0, result.output
    assert "knows this as the instance of Acme" in result.stdout
    with (directory / "config.toml").open("a") as file:
        file.write(
            f'[trust]\nextra = ["{vendor.lab["trust_file"]}"]\n'
            f'[apns]\nhost = "{vendor.lab["apns_host"]}"\nport = {vendor.lab["apns_port"]}\n'
            f'ca_file = "{vendor.lab["ca_file"]}"\n'
        )
    return directory / "config.toml"


def import_signer(vendor: Vendor) -> None:
    vendor.done(
        "signer",
        "import",
        "--certificate",
        vendor.lab["signing_certificate"],
        "--key",
        vendor.lab["signing_key"],
    )


def test_a_first_certificate_from_both_sides(
    vendor: Vendor, instance: Path, tmp_path: Path
) -> None:
    import_signer(vendor)
    vendor.done("tick")
    assert "CSR for Acme sent" in vendor.done("instance", "csr", config=instance)
    vendor.done("tick")
    shown = vendor.json("renew", "acme", "--no-input")
    assert (shown["state"], shown["remote"]) == ("delivered", True)
    words = vendor.done("renew", "acme", "--no-input")
    assert "instance upload" in words

    vendor.done("instance", "request", "--out", str(tmp_path / "r.txt"), config=instance)
    vendor.done(
        "lab",
        "portal",
        "create",
        str(tmp_path / "r.txt"),
        "--url",
        vendor.lab["portal_url"],
        "--apple-account",
        "push@acme.example",
        "--out",
        str(tmp_path / "c.pem"),
    )
    assert "is active until" in vendor.done(
        "instance", "upload", str(tmp_path / "c.pem"), config=instance
    )
    shown = vendor.json("customer", "show", "acme")
    assert shown["certificate"]["topic"].startswith("com.apple.mgmt.External.")
    assert shown["instance"]["where"] == "its own machine"
    own = vendor.json("instance", "show", config=instance)
    assert own["serial"] == shown["certificate"]["serial"]
    assert "Ordered" in vendor.done("verify", "acme")


def test_the_vendors_machine_has_no_vault_for_it(vendor: Vendor, instance: Path) -> None:
    for arguments in (("instance", "csr"), ("instance", "device", "list"), ("instance", "verify")):
        result = vendor.run(*arguments, "--customer", "acme")
        assert result.exit_code == 3
        assert "runs on a machine of its own" in result.stderr
    assert not (vendor.directory / "instances" / "acme").exists()


def test_an_instance_that_is_shut_out_is_told_what_to_do(vendor: Vendor, instance: Path) -> None:
    assert vendor.run("customer", "revoke", "acme").exit_code == 3, "must be confirmed"
    vendor.done("customer", "revoke", "acme", "--yes")
    result = vendor.run("instance", "show", config=instance)
    assert result.exit_code == 3
    assert "new invitation" in result.stderr
    assert vendor.json("customer", "show", "acme")["instance"]["credential"] is None


def test_setting_up_again_changes_nothing_and_another_vendor_is_refused(
    vendor: Vendor, instance: Path
) -> None:
    before = instance.read_text()
    again = vendor.run(
        "instance", "init", "--vendor", vendor.url, "--code", "used", config=instance
    )
    assert again.exit_code == 0, again.output
    other = vendor.run(
        "instance", "init", "--vendor", "https://other.example", "--code", "x", config=instance
    )
    assert other.exit_code == 3
    assert instance.read_text() == before


def test_a_wrong_code_leaves_no_half_instance(vendor: Vendor, tmp_path: Path) -> None:
    arguments = ["instance", "init", str(tmp_path / "i"), "--vendor", vendor.url, "--code", "WRONG"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 3
    assert "invitation_unknown" in result.stderr
    vendor.done("customer", "add", "acme", "--name", "Acme", "--email", "it@acme.example")
    arguments[-1] = vendor.json("customer", "invite", "acme")["code"]
    assert CliRunner().invoke(app, arguments).exit_code == 0, "the same place works with a good one"


def test_plain_http_to_another_machine_is_refused(tmp_path: Path) -> None:
    arguments = [
        "instance",
        "init",
        str(tmp_path),
        "--vendor",
        "http://push.example",
        "--code",
        "A",
    ]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 3
    assert "vendor_url_insecure" in result.stderr


def test_the_agent_runs_until_sigterm(vendor: Vendor, instance: Path) -> None:
    vendor.done("tick")
    agent = subprocess.Popen(
        [sys.executable, "-m", "cli", "--config", str(instance), "instance", "run"],
        stderr=subprocess.PIPE,
        text=True,
    )
    assert agent.stderr is not None
    for line in agent.stderr:
        if "csr_sent" in line:
            break
    agent.send_signal(signal.SIGTERM)
    assert agent.wait(30) == 0
    assert vendor.json("customer", "show", "acme")["renewal"]["state"] == "csr_received"


def test_a_feed_is_made_listed_and_revoked(vendor: Vendor) -> None:
    made = vendor.json("feed", "add", "Ops calendar")
    assert "/calendar/" in made["url"]
    assert [row["label"] for row in vendor.json("feed", "list")] == ["Ops calendar"]
    assert vendor.json("feed", "revoke", "1")["revoked"] is True
    assert vendor.run("feed", "revoke", "7").exit_code == 3
