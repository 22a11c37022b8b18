"""The command line as vendor ops use it, against a lab on the host's clock."""

from __future__ import annotations

import csv
import io
import json
import os
import plistlib
import signal
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from cli.main import LazyCommands, app
from lifecycle.lab.mailbox import Mailbox
from lifecycle.lab.serve import Lab

VECTORS = Path(__file__).resolve().parents[1] / "vectors"


@dataclass
class Vendor:
    """A deployment, a lab in Apple's place, and a mail server."""

    directory: Path
    lab: Lab
    mailbox: Mailbox

    @property
    def config(self) -> str:
        return str(self.directory / "config.toml")

    def run(self, *arguments: str) -> Result:
        return CliRunner().invoke(app, ["--config", self.config, *arguments])

    def done(self, *arguments: str) -> str:
        result = self.run(*arguments)
        assert result.exit_code == 0, result.output
        return result.stdout

    def json(self, *arguments: str) -> Any:
        return json.loads(self.done(*arguments, "--json"))

    def add(self, slug: str, *options: str) -> None:
        account = ("--apple-account", f"push@{slug}.example")
        self.done(
            "customer",
            "add",
            slug,
            "--name",
            slug,
            "--email",
            f"it@{slug}.example",
            *account,
            *options,
        )

    def certify(self, slug: str, file: Path) -> str:
        """From *Renew* or *Create* at the portal to an active certificate; gives its topic."""
        self.done("renew", slug)
        request = self.done("request", slug).encode()
        account, portal = f"push@{slug}.example", self.lab.portal
        serial = self.json("customer", "show", slug)["certificate"]
        pem = (
            portal.create(account, request)
            if serial is None
            else portal.renew(account, request, serial["serial"])
        )
        file.write_bytes(pem)
        self.done("upload", slug, str(file))
        return str(self.json("customer", "show", slug)["certificate"]["topic"])

    def enrol(self, slug: str, topic: str, file: Path) -> bytes:
        token = self.lab.gateway.register_device(topic)
        message = {
            "MessageType": "TokenUpdate",
            "Token": token,
            "PushMagic": "73D2F9A4",
            "Topic": topic,
            "UDID": f"UDID-{slug.upper()}",
        }
        file.write_bytes(plistlib.dumps(message))
        self.done("instance", "device", "import", str(file), "--customer", slug)
        return token


@pytest.fixture
def vendor(tmp_path: Path) -> Iterator[Vendor]:
    mailbox = Mailbox()
    mailbox.start()
    with Lab(tmp_path / "lab") as lab:
        about = lab.describe()
        directory = tmp_path / "vendor"
        assert CliRunner().invoke(app, ["init", str(directory)]).exit_code == 0
        (directory / "config.toml").write_text(
            f"""
[vendor]
ops = ["ops@vendor.example"]
[trust]
extra = ["{about["trust_file"]}"]
[apns]
host = "127.0.0.1"
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
        )
        (directory / "config.toml").chmod(0o600)
        vendor = Vendor(directory, lab, mailbox)
        vendor.done(
            "signer", "import",
            "--certificate", about["signing_certificate"], "--key", about["signing_key"],
        )  # fmt: skip
        yield vendor
    mailbox.stop()


def test_a_first_renewal_a_second_one_and_the_proof_of_isolation(
    vendor: Vendor, tmp_path: Path
) -> None:
    vendor.add("canary", "--canary")
    vendor.enrol("canary", vendor.certify("canary", tmp_path / "c.pem"), tmp_path / "c.plist")
    vendor.add("acme")
    topic = vendor.certify("acme", tmp_path / "a.pem")
    token = vendor.enrol("acme", topic, tmp_path / "a.plist")
    assert vendor.json("verify", "acme") == [
        {"slug": "acme", "verdict": "isolated", "why": vendor.json("verify", "acme")[0]["why"]}
    ]
    (pushed,) = vendor.json("instance", "push", "UDID-ACME", "--customer", "acme")
    assert pushed["status"] == 200
    assert vendor.certify("acme", tmp_path / "a2.pem") == topic
    shown = vendor.done("instance", "device", "list", "--customer", "acme")
    assert token.hex() not in shown
    entries = vendor.json("audit", "list", "--customer", "acme")
    assert [e["action"] for e in entries].count("certificate_activated") == 2
    assert entries[0]["actor"].startswith("operator:")
    assert vendor.json("audit", "verify")["problem"] is None
    subjects = [str(m["Subject"]) for m in vendor.mailbox.messages]
    assert any(s.startswith("Create the push certificate of acme") for s in subjects)
    assert any("Done" in s for s in subjects)


def test_a_breach_ends_with_exit_code_4_and_one_alarm(vendor: Vendor, tmp_path: Path) -> None:
    vendor.add("canary", "--canary")
    canary = vendor.enrol(
        "canary", vendor.certify("canary", tmp_path / "c.pem"), tmp_path / "c.plist"
    )
    vendor.add("acme")
    topic = vendor.certify("acme", tmp_path / "a.pem")
    vendor.enrol("acme", topic, tmp_path / "a.plist")
    vendor.lab.gateway.register(canary, topic)
    for _ in range(2):
        result = vendor.run("verify", "--all")
        assert result.exit_code == 4
        assert "acme" in result.stderr
    alarms = [m for m in vendor.mailbox.messages if "BREACH" in str(m["Subject"])]
    assert len(alarms) == 1
    assert alarms[0]["To"] == "ops@vendor.example"
    assert vendor.json("customer", "show", "acme")["isolation"]["verdict"] == "breached"
    assert vendor.json("report")["customers"][0]["verdict"] == "breached"


def test_the_report_in_all_its_forms(vendor: Vendor, tmp_path: Path) -> None:
    vendor.add("acme")
    vendor.certify("acme", tmp_path / "a.pem")
    vendor.add("birch")
    found = vendor.json("report")
    assert {c["slug"]: c["status"] for c in found["customers"]} == {
        "acme": "ok",
        "birch": "no_certificate",
    }
    assert found["signers"]
    rows = list(csv.DictReader(io.StringIO(vendor.done("report", "--format", "csv"))))
    assert {"acme", "birch"} <= {row["slug"] for row in rows}
    table = vendor.done("report")
    assert "acme" in table
    assert all(len(line) <= 80 for line in table.splitlines()), table
    in_a_year = vendor.json("report", "--at", "2100-01-01", "--status", "expired")
    assert [c["slug"] for c in in_a_year["customers"]] == ["acme"]
    assert vendor.json("report", "--within", "30d")["customers"] == []
    failing = vendor.run("report", "--fail-on", "no_certificate")
    assert failing.exit_code == 4
    assert "birch" in failing.stderr
    assert vendor.run("report", "--status", "nonsense").exit_code == 2
    out = tmp_path / "report.csv"
    vendor.done("report", "--format", "csv", "--out", str(out))
    assert out.read_text().count("\n") >= 3


def test_pausing_and_off_boarding_stop_everything(vendor: Vendor) -> None:
    vendor.add("acme")
    vendor.done("customer", "pause", "acme", "--reason", "contract on hold")
    vendor.done("tick")
    assert vendor.json("customer", "show", "acme")["status"] == "paused"
    assert vendor.run("renew", "acme").exit_code == 3
    assert vendor.mailbox.messages == ()
    vendor.done("customer", "resume", "acme")
    vendor.done("tick")
    assert len(vendor.mailbox.messages) == 1
    vendor.done("customer", "offboard", "acme")
    vendor.done("tick")
    assert vendor.json("customer", "show", "acme")["renewal"] is None
    assert vendor.json("customer", "list") == []
    assert len(vendor.json("customer", "list", "--all")) == 1


def test_a_renewal_can_be_cancelled_and_started_again(vendor: Vendor) -> None:
    vendor.add("acme")
    first = vendor.json("renew", "acme")
    assert first["state"] == "delivered"
    assert vendor.json("renew", "acme")["renewal"] == first["renewal"]
    vendor.done("renew", "acme", "--cancel")
    second = vendor.json("renew", "acme", "--reason", "key_compromise")
    assert second["renewal"] != first["renewal"]
    assert vendor.run("renew", "acme", "--reason", "whim").exit_code == 2
    assert vendor.run("renew", "nobody").exit_code == 3


def test_bulk_import_is_all_or_nothing_unless_told_otherwise(
    vendor: Vendor, tmp_path: Path
) -> None:
    (tmp_path / "MDM.pem").write_bytes((VECTORS / "MDM_ Example MDM_Certificate.pem").read_bytes())
    file = tmp_path / "customers.csv"
    file.write_text(
        "slug,name,email,apple_account,certificate\n"
        "acme,Acme,it@acme.example,push@acme.example,MDM.pem\n"
        "Bad Slug,Bad,it@bad.example,,\n"
        "cedar,Cedar,not-an-address,,\n"
        "delta,Delta,it@delta.example,,missing.pem\n"
        "ember,Ember,it@ember.example,,\n"
        "fjord,Fjord,it@fjord.example,,MDM.pem\n",
        encoding="utf-8-sig",
    )
    refused = vendor.run("customer", "import", str(file))
    assert refused.exit_code == 3
    for line in ("Line 3", "Line 4", "Line 5", "Line 7"):
        assert line in refused.stderr
    assert "'acme'" in refused.stderr
    assert "'fjord'" in refused.stderr
    assert vendor.json("customer", "list") == []
    going = vendor.run("customer", "import", str(file), "--keep-going", "--json")
    assert going.exit_code == 4
    assert json.loads(going.stdout)["added"] == 2
    assert {c["slug"] for c in vendor.json("customer", "list")} == {"acme", "ember"}
    again = vendor.run("customer", "import", str(file), "--keep-going", "--json")
    assert json.loads(again.stdout)["added"] == 0
    assert json.loads(again.stdout)["unchanged"] == 2


def test_a_changed_audit_log_ends_with_exit_code_4_and_names_the_entry(vendor: Vendor) -> None:
    vendor.add("acme")
    vendor.done("tick")
    with sqlite3.connect(vendor.directory / "vendor.sqlite") as connection:
        connection.execute("UPDATE audit SET actor = 'nobody' WHERE seq = 2")
    result = vendor.run("audit", "verify")
    assert result.exit_code == 4
    assert "2" in result.stderr
    assert vendor.run("doctor", "--offline").exit_code == 4


def test_doctor_finds_what_is_wrong_and_says_what_to_do(vendor: Vendor) -> None:
    assert vendor.run("doctor").exit_code == 0, vendor.run("doctor").output
    assert "chain: 3 certificates, up to pushcert lab Root CA" in vendor.run("doctor").output
    config = vendor.directory / "config.toml"
    text = config.read_text()
    config.write_text(text.replace("extra =", "# extra =", 1))
    lines = json.loads(vendor.run("doctor", "--offline", "--json").stdout)
    (chain,) = [line for line in lines if line["what"] == "chain"]
    assert not chain["well"]
    assert chain["remedy"]
    config.write_text(text)
    (vendor.directory / "signer").chmod(0o755)
    (vendor.directory / "signer" / "current").unlink()
    result = vendor.run("doctor", "--json")
    assert result.exit_code == 4
    bad = {d["what"]: d["remedy"] for d in json.loads(result.stdout) if not d["well"]}
    assert set(bad) == {"permissions", "signer"}
    assert "chmod 700" in bad["permissions"]
    assert "signer import" in bad["signer"]


def test_files_that_hold_secrets_are_private(vendor: Vendor) -> None:
    vendor.add("acme")
    vendor.done("renew", "acme")
    for path in vendor.directory.rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path


def test_an_encrypted_signing_key_is_opened_from_the_environment(
    vendor: Vendor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lifecycle.pki.keys import key_to_pem, load_private_key

    about = vendor.lab.describe()
    key = load_private_key(Path(about["signing_key"]).read_bytes(), None)
    locked = tmp_path / "locked.key"
    locked.write_bytes(key_to_pem(key, b"open sesame"))
    sign = (
        "sign",
        str(VECTORS / "customer-csr.pem"),
        "--certificate",
        about["signing_certificate"],
    )
    assert vendor.run(*sign, "--key", str(locked)).exit_code == 3
    monkeypatch.setenv("PASS", "wrong")
    wrong = vendor.run(*sign, "--key", str(locked), "--passphrase-env", "PASS")
    assert wrong.exit_code == 3
    assert "wrong" not in wrong.stderr.replace("passphrase_wrong", "")
    monkeypatch.setenv("PASS", "open sesame")
    assert vendor.run(*sign, "--key", str(locked), "--passphrase-env", "PASS").exit_code == 0


@pytest.mark.parametrize("name", ["customer-csr.pem", "customer-csr.der", "customer-csr-crlf.pem"])
def test_sign_gives_the_vectors_request_byte_for_byte(name: str, tmp_path: Path) -> None:
    """Needs neither configuration nor database."""
    out = tmp_path / "request.b64"
    result = CliRunner().invoke(
        app,
        [
            "--config", str(_config_with_vectors_ca(tmp_path)), "sign", str(VECTORS / name),
            "--certificate", str(VECTORS / "vendor.pem"), "--key", str(VECTORS / "vendor.key"),
            "--out", str(out),
        ],
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert out.read_bytes().strip() == (VECTORS / "request.b64").read_bytes().strip()


def _config_with_vectors_ca(folder: Path) -> Path:
    file = folder / "config.toml"
    file.write_text(f'[trust]\nextra = ["{VECTORS / "wwdr.pem"}", "{VECTORS / "root.pem"}"]\n')
    return file


def test_exit_codes_for_usage_and_for_a_missing_configuration(tmp_path: Path) -> None:
    runner = CliRunner()
    assert runner.invoke(app, ["renew"]).exit_code == 2
    missing = runner.invoke(app, ["--config", str(tmp_path / "none.toml"), "report"])
    assert missing.exit_code == 3
    assert "pushcert init" in missing.stderr


def test_the_commands_are_put_together_once_in_a_process_however_many_are_called() -> None:
    assert LazyCommands()["customer"] is LazyCommands()["customer"]


def test_a_database_that_was_not_migrated_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text("")
    result = CliRunner().invoke(app, ["--config", str(tmp_path / "config.toml"), "report"])
    assert result.exit_code == 3
    assert "database_not_migrated" in result.stderr


def pushcert(vendor: Vendor, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "cli", "--config", vendor.config, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )


def test_run_works_until_sigterm_and_a_second_one_refuses(vendor: Vendor) -> None:
    vendor.add("acme")
    running = pushcert(vendor, "run")
    try:
        assert running.stderr is not None
        for line in running.stderr:
            if "event='tick'" in line and "SignRequest" in line:
                break
        assert "looked at" in vendor.done("tick"), "a tick by hand beside it is welcome"
        second = pushcert(vendor, "run")
        _, said = second.communicate(timeout=60)
        assert second.returncode == 3
        assert "already_running" in said
    finally:
        running.send_signal(signal.SIGTERM)
        rest = running.communicate(timeout=60)[1]
    assert running.returncode == 0, rest
    assert "event='stopped'" in rest
    assert vendor.json("customer", "show", "acme")["renewal"]["state"] == "delivered"
    assert len(vendor.mailbox.messages) == 1


def test_the_pair_can_be_taken_out_for_other_software(vendor: Vendor, tmp_path: Path) -> None:
    vendor.add("acme")
    vendor.certify("acme", tmp_path / "a.pem")
    pem, p12, secret = tmp_path / "pair.pem", tmp_path / "pair.p12", tmp_path / "secret"
    secret.write_text("open sesame\n")
    secret.chmod(0o600)
    vendor.done("instance", "export", "--customer", "acme", "--pem", "--out", str(pem))
    vendor.done(
        "instance", "export", "--customer", "acme", "--p12", "--out", str(p12),
        "--passphrase-from", f"file:{secret}",
    )  # fmt: skip
    assert stat.S_IMODE(pem.stat().st_mode) == 0o600
    subprocess.run(["openssl", "rsa", "-in", str(pem), "-check", "-noout"], check=True)
    read = subprocess.run(
        ["openssl", "pkcs12", "-in", str(p12), "-passin", f"file:{secret}", "-noenc"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "APSP:" in read.stdout
    refused = vendor.run("instance", "export", "--customer", "acme", "--p12", "--out", str(p12))
    assert refused.exit_code == 3


def test_a_ring_of_consenting_customers_proves_isolation_without_a_canary(
    vendor: Vendor, tmp_path: Path
) -> None:
    config = vendor.directory / "config.toml"
    config.write_text(config.read_text() + '[isolation]\nother_tenant = "ring"\n')
    for slug in ("acme", "birch", "cedar"):
        vendor.add(slug)
        vendor.enrol(slug, vendor.certify(slug, tmp_path / "a.pem"), tmp_path / "a.plist")
    for slug in ("acme", "birch"):
        vendor.done("instance", "ring", "--customer", slug)
    swept = vendor.json("verify", "--all")
    assert swept["complete"]
    assert swept["verdicts"] == {"isolated": 2, "breached": 0, "inconclusive": 1}
    assert [row["slug"] for row in swept["inconclusive"]] == ["cedar"]
    vendor.done("instance", "ring", "--customer", "birch", "--leave")
    assert vendor.json("verify", "acme")[0]["verdict"] == "inconclusive"


def test_two_instances_that_know_the_same_device_are_a_breach(
    vendor: Vendor, tmp_path: Path
) -> None:
    """The static check beside the probes: a token that was imported on both sides."""
    vendor.add("canary", "--canary")
    vendor.enrol("canary", vendor.certify("canary", tmp_path / "c.pem"), tmp_path / "c.plist")
    topics = {}
    for slug in ("acme", "birch"):
        vendor.add(slug)
        topics[slug] = vendor.certify(slug, tmp_path / f"{slug}.pem")
        vendor.enrol(slug, topics[slug], tmp_path / f"{slug}.plist")
    assert {row["verdict"] for row in vendor.json("verify", "acme", "birch")} == {"isolated"}
    message = plistlib.loads((tmp_path / "acme.plist").read_bytes())
    file = tmp_path / "copied.plist"
    file.write_bytes(plistlib.dumps({**message, "Topic": topics["birch"], "UDID": "COPY"}))
    vendor.done("instance", "device", "import", str(file), "--customer", "birch")
    vendor.done("instance", "device", "canary", "UDID-BIRCH", "--customer", "birch")
    result = vendor.run("verify", "birch")
    assert result.exit_code == 4
    assert "acme" in result.stdout


def test_one_instance_that_cannot_work_does_not_keep_the_others_from_being_checked(
    vendor: Vendor, tmp_path: Path
) -> None:
    vendor.add("canary", "--canary")
    vendor.enrol("canary", vendor.certify("canary", tmp_path / "c.pem"), tmp_path / "c.plist")
    for slug in ("acme", "birch"):
        vendor.add(slug)
        vendor.enrol(slug, vendor.certify(slug, tmp_path / "a.pem"), tmp_path / "a.plist")
    (vendor.directory / "instances" / "acme").chmod(0o755)
    result = vendor.run("verify", "acme", "birch", "--json")
    assert result.exit_code == 5
    verdicts = {row["slug"]: row for row in json.loads(result.stdout)}
    assert verdicts["birch"]["verdict"] == "isolated"
    assert verdicts["acme"]["verdict"] is None
    assert "chmod" in verdicts["acme"]["why"]
    ticked = vendor.run("tick", "--json")
    assert ticked.exit_code == 0


def test_a_customer_known_by_certificate_alone_renews_and_keeps_the_topic(
    vendor: Vendor, tmp_path: Path
) -> None:
    """Imported with last year's certificate; its key is elsewhere, and need not come along."""
    from lifecycle.pki.csr import build_csr
    from lifecycle.pki.keys import generate_key

    old_key = generate_key()
    csr = tmp_path / "old.csr"
    csr.write_bytes(build_csr(old_key, email="it@acme.example", common_name="Acme").der)
    old = vendor.lab.portal.create("push@acme.example", vendor.done("sign", str(csr)).encode())
    (tmp_path / "old.pem").write_bytes(old)
    (tmp_path / "customers.csv").write_text(
        "slug,name,email,apple_account,certificate\n"
        "acme,Acme,it@acme.example,push@acme.example,old.pem\n"
    )
    vendor.done("customer", "import", str(tmp_path / "customers.csv"))
    before = vendor.json("customer", "show", "acme")["certificate"]
    vendor.done("tick")
    assert vendor.certify("acme", tmp_path / "new.pem") == before["topic"]
    after = vendor.json("customer", "show", "acme")["certificate"]
    assert after["serial"] != before["serial"]


def test_a_missing_ca_file_for_apns_is_named(vendor: Vendor, tmp_path: Path) -> None:
    vendor.add("acme")
    vendor.enrol("acme", vendor.certify("acme", tmp_path / "a.pem"), tmp_path / "a.plist")
    Path(vendor.lab.describe()["ca_file"]).unlink()
    result = vendor.run("instance", "push", "UDID-ACME", "--customer", "acme")
    assert result.exit_code == 3
    assert "apns.ca_file" in result.stderr
