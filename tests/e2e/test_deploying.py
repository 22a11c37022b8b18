"""From a renewal to the MDM server, and from another tool into pushcert, by the command line."""

from __future__ import annotations

import json
import os
import stat
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from typer.testing import CliRunner, Result

from cli.main import app
from lifecycle.lab.serve import Lab
from lifecycle.pki.keys import load_pkcs12, load_private_key
from lifecycle.pki.upload import read_upload
from lifecycle.vendor.audit_chain import entry_hash
from tests.mdm_servers.stand_ins import API_KEY, MicroMdmServer, NanoMdmServer, ZentralServer

ROOT = Path(__file__).resolve().parents[2]
PASSPHRASE = "mdmctl's own passphrase"


@dataclass
class Vendor:
    """A deployment with a customer, and a lab in Apple's place."""

    directory: Path
    lab: Lab

    def run(self, *arguments: str) -> Result:
        config = str(self.directory / "config.toml")
        return CliRunner().invoke(app, ["--config", config, *arguments])

    def done(self, *arguments: str) -> str:
        result = self.run(*arguments)
        assert result.exit_code == 0, result.output
        return result.stdout

    def json(self, *arguments: str) -> Any:
        return json.loads(self.done(*arguments, "--json"))

    def configure(self, text: str) -> None:
        file = self.directory / "config.toml"
        file.write_text(file.read_text() + text)

    def certify(self, slug: str = "acme") -> bytes:
        """From *Renew* or *Create* at the portal to an active certificate."""
        self.done("renew", slug)
        request = self.done("request", slug).encode()
        account, portal = f"push@{slug}.example", self.lab.portal
        active = self.json("customer", "show", slug)["certificate"]
        pem = (
            portal.create(account, request)
            if active is None
            else portal.renew(account, request, active["serial"])
        )
        file = self.directory / "from-the-portal.pem"
        file.write_bytes(pem)
        self.done("upload", slug, str(file))
        return pem


@pytest.fixture
def vendor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Vendor]:
    monkeypatch.setenv("MDM_API_KEY", API_KEY)
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
"""
        )
        made = Vendor(directory, lab)
        made.done(
            "signer", "import",
            "--certificate", about["signing_certificate"], "--key", about["signing_key"],
        )  # fmt: skip
        made.done(
            "customer", "add", "acme", "--name", "Acme", "--email", "it@acme.example",
            "--apple-account", "push@acme.example",
        )  # fmt: skip
        yield made


def nanomdm_target(server: NanoMdmServer) -> str:
    return f"""
[deploy.nanomdm]
kind = "nanomdm"
url = "{server.url}"
api_key = "env:MDM_API_KEY"
timeout_seconds = 5.0
"""


class TestNanoMdm:
    def test_a_renewal_ends_in_the_mdm_server(self, vendor: Vendor) -> None:
        with NanoMdmServer() as server:
            vendor.configure(nanomdm_target(server))
            first = vendor.certify()
            second = vendor.certify()
            topic = str(read_upload(second).certificate.topic)
            assert (
                read_upload(server.stored[topic][0]).certificate == read_upload(second).certificate
            )
            assert first != second
        shown = vendor.json("customer", "show", "acme")
        assert [(d["target"], d["code"]) for d in shown["deployments"]] == [("nanomdm", None)]
        told = " ".join(vendor.done("customer", "show", "acme").split())
        assert "target nanomdm nanomdm, deployed" in told

    def test_a_wrong_api_key_is_in_the_report_until_it_is_right(
        self, vendor: Vendor, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with NanoMdmServer() as server:
            vendor.configure(nanomdm_target(server))
            monkeypatch.setenv("MDM_API_KEY", "not-the-key")
            vendor.certify()
            assert vendor.json("customer", "show", "acme")["renewal"] is None, "activated"
            (row,) = vendor.json("report")["customers"]
            assert row["deployments"][0]["code"] == "mdm_server_denied"
            assert (row["status"], row["acts"]) == ("ok", "instance")
            table = vendor.done("report")
            assert "not deployed to nanomdm since" in " ".join(table.split())
            assert all(len(line) <= 80 for line in table.splitlines()), table
            assert "not deployed" in vendor.done("customer", "show", "acme")
            result = vendor.run("instance", "deploy", "--customer", "acme")
            assert result.exit_code == 4
            assert "mdm_server_denied" in result.stderr
            everything = table + result.output + json.dumps(row)
            assert "not-the-key" not in everything
            monkeypatch.setenv("MDM_API_KEY", API_KEY)
            (done,) = vendor.json("instance", "deploy", "--customer", "acme")
            assert (done["outcome"], done["code"]) == ("deployed", None)
            (row,) = vendor.json("report")["customers"]
            assert (row["deployments"][0]["code"], row["acts"]) == (None, "nobody")
        actions = [e["action"] for e in vendor.json("audit", "list", "--customer", "acme")]
        deploying = [action for action in actions if "deploy" in action]
        assert deploying == ["deployment_failed", "certificate_deployed"]

    def test_a_server_that_was_down_gets_it_from_a_later_tick(self, vendor: Vendor) -> None:
        server = NanoMdmServer()
        with server:
            pass  # its port is known now
        vendor.configure(nanomdm_target(server))
        vendor.certify()
        result = vendor.run("instance", "deploy", "--customer", "acme")
        assert result.exit_code == 5, "try again"
        assert "mdm_server_down" in result.stderr
        (row,) = vendor.json("report")["customers"]
        assert row["deployments"][0]["code"] == "mdm_server_down"
        with server:
            vendor.done("tick")
            assert server.stored == {}, "its time has not come"
            _let_waits_pass(vendor)
            vendor.done("tick")
            assert len(server.stored) == 1
        (row,) = vendor.json("report")["customers"]
        assert row["deployments"][0]["code"] is None

    def test_a_wrong_answer_is_reported(self, vendor: Vendor) -> None:
        with NanoMdmServer() as server:
            server.instead = lambda _: (200, b"<html>It works!</html>")
            vendor.configure(nanomdm_target(server))
            vendor.certify()
            (row,) = vendor.json("report")["customers"]
            assert row["deployments"][0]["code"] == "mdm_server_answer_wrong"

    def test_a_tick_serves_a_target_that_was_configured_later(self, vendor: Vendor) -> None:
        vendor.certify()
        with NanoMdmServer() as server:
            vendor.configure(nanomdm_target(server))
            vendor.done("tick")
            assert len(server.stored) == 1
            before = len(server.requests)
            vendor.done("tick")
            assert len(server.requests) == before, "nothing is owed"


def _let_waits_pass(vendor: Vendor) -> None:
    """As if an hour had gone by: the clock of the command line is the host's."""
    import sqlite3

    for file in (
        vendor.directory / "vendor.sqlite",
        *vendor.directory.glob("instances/*/*.sqlite"),
    ):
        with sqlite3.connect(file) as database:
            database.execute("UPDATE deployment SET next_at = '2020-01-01 00:00:00.000000'")
        database.close()


class TestEveryKind:
    def test_files_command_and_servers_one_after_the_other(
        self, vendor: Vendor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("P12", "correct horse")
        place = tmp_path / "mdm"
        place.mkdir()
        hook = tmp_path / "hook"
        hook.write_text(
            '#!/bin/sh -e\ncat "$PUSHCERT_KEY" > "$1/copied.key"\n'
            'echo "$PUSHCERT_CUSTOMER" > "$1/who"\n'
        )
        hook.chmod(0o755)
        with MicroMdmServer() as micromdm, ZentralServer() as zentral:
            vendor.configure(
                f"""
[deploy.files]
kind = "files"
certificate = "{place}/{{customer}}.pem"
key = "{place}/{{customer}}.key"
key_format = "pkcs1"
p12 = "{place}/{{customer}}.p12"
p12_passphrase = "env:P12"
p12_encryption = "legacy"
[deploy.reload]
kind = "command"
needs = ["files"]
command = ["{hook}", "{place}"]
check = ["cat", "{place}/acme.pem"]
[deploy.micromdm]
kind = "micromdm"
customer = "acme"
url = "{micromdm.url}"
api_key = "env:MDM_API_KEY"
[deploy.zentral]
kind = "zentral"
url = "{zentral.url}"
api_key = "env:MDM_API_KEY"
"""
            )
            pem = vendor.certify()
            assert (place / "acme.pem").read_text() == read_upload(pem).certificate.pem
            assert stat.S_IMODE((place / "acme.key").stat().st_mode) == 0o600
            key = load_private_key((place / "acme.key").read_bytes(), None)
            _, leaf, _ = load_pkcs12((place / "acme.p12").read_bytes(), b"correct horse")
            assert leaf.public_key() == key.public_key()
            assert (place / "who").read_text() == "acme\n"
            copied = load_private_key((place / "copied.key").read_bytes(), None)
            assert copied.public_key() == key.public_key()
            assert micromdm.stored is not None
            plan = vendor.json("instance", "deploy", "--customer", "acme", "--dry-run")
            assert [(p["target"], p["step"]) for p in plan] == [
                ("files", "nothing"),
                ("reload", "nothing"),
                ("micromdm", "nothing"),
                ("zentral", "wait"),
            ]
            assert plan[0]["place"].startswith(str(place))
            (row,) = vendor.json("report")["customers"]
            assert {d["target"]: d["code"] for d in row["deployments"]} == {
                "files": None,
                "reload": None,
                "micromdm": None,
                "zentral": "zentral_by_hand",
            }
            zentral.certificates["Acme"] = pem
            done = vendor.json("instance", "deploy", "zentral", "--customer", "acme")
            assert [d["outcome"] for d in done] == ["deployed"]

    def test_a_mistyped_target_and_none_at_all_are_refused(self, vendor: Vendor) -> None:
        vendor.certify()
        result = vendor.run("instance", "deploy", "--customer", "acme")
        assert result.exit_code == 3
        assert "deploy_no_target" in result.stderr
        vendor.configure('\n[deploy.hook]\nkind = "command"\ncommand = ["true"]\n')
        result = vendor.run("instance", "deploy", "hok", "--customer", "acme")
        assert result.exit_code == 3
        assert "hook" in result.stderr


def openssl(*words: str) -> None:
    environment = {**os.environ, "PASS": PASSPHRASE}
    subprocess.run(["openssl", *words], check=True, capture_output=True, env=environment)


@pytest.fixture
def mdmctl_folder(vendor: Vendor, tmp_path: Path) -> Path:
    """``mdm-certificates/`` as mdmctl leaves it, with the certificate from the portal in it."""
    folder = tmp_path / "mdm-certificates"
    folder.mkdir()
    for name, request in (
        ("PushCertificatePrivateKey.key", "PushCertificateRequest.csr"),
        ("VendorPrivateKey.key", "VendorCertificateRequest.csr"),
    ):
        openssl(
            *("genrsa", "-traditional", "-des3", "-passout", "env:PASS"),
            *("-out", str(folder / name), "2048"),
        )
        openssl(
            *("req", "-new", "-key", str(folder / name), "-passin", "env:PASS", "-sha256"),
            *("-subj", "/C=US/CN=micromdm-user/emailAddress=admin@acme.example"),
            *("-out", str(folder / request)),
        )
    assert b"DEK-Info: DES-EDE3-CBC" in (folder / "PushCertificatePrivateKey.key").read_bytes()
    request_file = folder / "PushCertificateRequest.plist"
    vendor.done("sign", str(folder / "PushCertificateRequest.csr"), "--out", str(request_file))
    (folder / "mdm.cer").write_bytes(_der_of_the_signer(vendor))
    pem = vendor.lab.portal.create("push@acme.example", request_file.read_bytes())
    (folder / "MDM_ Example_Certificate.pem").write_bytes(pem)
    return folder


def _der_of_the_signer(vendor: Vendor) -> bytes:
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding

    pem = Path(vendor.lab.describe()["signing_certificate"]).read_bytes()
    return x509.load_pem_x509_certificates(pem)[0].public_bytes(Encoding.DER)


class TestComingFromMdmctl:
    def test_the_folder_is_adopted_renewed_and_keeps_its_topic(
        self, vendor: Vendor, mdmctl_folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("MDMCTL", PASSPHRASE)
        before = read_upload(
            (mdmctl_folder / "MDM_ Example_Certificate.pem").read_bytes()
        ).certificate
        arguments = ("--customer", "acme", "--passphrase-from", "env:MDMCTL")
        adopted = vendor.json("instance", "adopt", str(mdmctl_folder), *arguments)
        assert adopted["topic"] == before.topic
        assert adopted["serial"] == before.serial
        assert adopted["key_file"] == "PushCertificatePrivateKey.key"
        shown = vendor.json("customer", "show", "acme")
        assert shown["certificate"]["serial"] == before.serial, "the vendor knows"
        with NanoMdmServer() as server:
            vendor.configure(nanomdm_target(server))
            after = read_upload(vendor.certify()).certificate
            assert after.topic == before.topic
            assert after.serial != before.serial
            assert list(server.stored) == [str(before.topic)]
        assert vendor.json("customer", "show", "acme")["certificate"]["topic"] == before.topic

    def test_adopting_twice_changes_nothing(
        self, vendor: Vendor, mdmctl_folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("MDMCTL", PASSPHRASE)
        arguments = ("--customer", "acme", "--passphrase-from", "env:MDMCTL")
        first = vendor.json("instance", "adopt", str(mdmctl_folder), *arguments)
        assert vendor.json("instance", "adopt", str(mdmctl_folder), *arguments) == first

    def test_without_the_passphrase_it_says_which_key_is_locked(
        self, vendor: Vendor, mdmctl_folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        result = vendor.run("instance", "adopt", str(mdmctl_folder), "--customer", "acme")
        assert result.exit_code == 3
        assert "PushCertificatePrivateKey.key" in result.stderr
        assert "private_key_encrypted" in result.stderr
        monkeypatch.setenv("MDMCTL", "wrong")
        result = vendor.run(
            *("instance", "adopt", str(mdmctl_folder), "--customer", "acme"),
            *("--passphrase-from", "env:MDMCTL"),
        )
        assert result.exit_code == 3
        assert "passphrase_wrong" in result.stderr
        assert vendor.json("customer", "show", "acme")["certificate"] is None

    def test_another_customers_certificate_is_refused_by_both(
        self, vendor: Vendor, mdmctl_folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("MDMCTL", PASSPHRASE)
        vendor.done("customer", "add", "birch", "--name", "Birch", "--email", "it@birch.example")
        secret = ("--passphrase-from", "env:MDMCTL")
        vendor.done("instance", "adopt", str(mdmctl_folder), "--customer", "acme", *secret)
        result = vendor.run("instance", "adopt", str(mdmctl_folder), "--customer", "birch", *secret)
        assert result.exit_code == 3
        assert "topic_of_another_customer" in result.stderr
        result = vendor.run(
            *("instance", "export", "--customer", "birch", "--pem"),
            *("--out", str(mdmctl_folder / "x.pem")),
        )
        assert "no_active_certificate" in result.stderr, "nothing is in the vault"


class TestGoingElsewhere:
    FORMS = (
        ("--pem",),
        ("--pem", "--pkcs1"),
        ("--certificate",),
        ("--chain",),
        ("--key",),
        ("--key", "--pkcs1"),
        ("--p12",),
        ("--p12", "--legacy"),
    )

    def test_every_form_that_is_exported_can_be_adopted_again(
        self, vendor: Vendor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("P12", "correct horse")
        certificate = read_upload(vendor.certify()).certificate
        for number, form in enumerate(self.FORMS):
            out = tmp_path / f"{number}.out"
            secret = ("--passphrase-from", "env:P12") if "--p12" in form else ()
            vendor.done(
                "instance", "export", "--customer", "acme", *form, *secret, "--out", str(out)
            )
            assert stat.S_IMODE(out.stat().st_mode) == 0o600
        both = ("--certificate", str(tmp_path / "3.out"), "--key", str(tmp_path / "5.out"))
        for words in (both, ("--p12", str(tmp_path / "7.out"), "--passphrase-from", "env:P12")):
            again = vendor.json("instance", "adopt", "--customer", "acme", *words)
            assert again["fingerprint"] == certificate.fingerprint

    def test_the_vendors_books_leave_as_one_document_of_the_documented_form(
        self, vendor: Vendor, tmp_path: Path
    ) -> None:
        vendor.configure(
            '\n[deploy.hook]\nkind = "command"\ncommand = ["true"]\n'
            '[deploy.broken]\nkind = "command"\ncommand = ["false"]\n'
        )
        pems = [vendor.certify(), vendor.certify()]
        vendor.done("verify", "acme")
        vendor.done("renew", "acme")
        out = tmp_path / "books.json"
        vendor.done("vendor", "export", "--out", str(out))
        assert stat.S_IMODE(out.stat().st_mode) == 0o600
        text = out.read_text()
        assert "PRIVATE KEY" not in text
        books = json.loads(text)
        schema = json.loads((ROOT / "docs" / "vendor-export.schema.json").read_text())
        jsonschema_rs.validator_for(schema, validate_formats=True).validate(books)
        (acme,) = books["customers"]
        assert [c["state"] for c in acme["certificates"]] == ["superseded", "active"]
        for entry, pem in zip(acme["certificates"], pems, strict=True):
            assert entry["pem"] == read_upload(pem).certificate.pem
        assert [r["state"] for r in acme["renewals"]] == ["fulfilled", "fulfilled", "delivered"]
        assert acme["renewals"][-1]["request"] == vendor.done("request", "acme").strip()
        assert {d["target"]: d["code"] for d in acme["deployments"]} == {
            "broken": "deploy_command_failed",
            "hook": None,
        }
        assert books["signers"][0]["chain"].count("BEGIN CERTIFICATE") >= 2
        previous = "0" * 64
        for entry in books["audit"]:
            assert entry["previous"] == previous, "whoever takes it along can check the log"
            noted = entry.pop("hash")
            at = datetime.fromisoformat(entry.pop("at"))
            assert entry_hash(**entry, at=at) == noted
            previous = noted
        assert json.loads(vendor.done("vendor", "export"))["customers"] == books["customers"]

    def test_one_form_at_a_time(self, vendor: Vendor) -> None:
        for words in ((), ("--pem", "--p12")):
            result = vendor.run("instance", "export", "--customer", "acme", *words, "--out", "x")
            assert result.exit_code == 2
