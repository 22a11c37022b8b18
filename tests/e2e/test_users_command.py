"""``user`` and ``remind --now`` as vendor ops use them."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pexpect
import pytest
from typer.testing import CliRunner

from cli.main import app
from lifecycle.lab.mailbox import Mailbox
from lifecycle.lab.serve import Lab
from tests.e2e.test_command_line import Vendor

PASSWORD = "correct horse battery staple"


@pytest.fixture
def vendor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Vendor:
    monkeypatch.setenv("PUSHCERT_NEW", PASSWORD)
    directory = tmp_path / "vendor"
    assert CliRunner().invoke(app, ["init", str(directory)]).exit_code == 0
    return Vendor(directory, None, None)  # type: ignore[arg-type]  # neither lab nor mail


def test_users_are_added_listed_changed_and_shut_out(vendor: Vendor) -> None:
    vendor.done("user", "add", "anna", "--role", "operator", "--password-from", "env:PUSHCERT_NEW")
    vendor.done("user", "add", "vera", "--password-from", f"command:echo {PASSWORD}")
    listed = vendor.json("user", "list")
    assert [(u["name"], u["role"], u["disabled_at"]) for u in listed] == [
        ("anna", "operator", None),
        ("vera", "viewer", None),
    ]
    assert "argon2" not in vendor.done("user", "list", "--json")
    assert "anna is now viewer" in vendor.done("user", "role", "anna", "viewer")
    assert "already viewer" in vendor.done("user", "role", "anna", "viewer")
    assert "can no longer sign in" in vendor.done("user", "disable", "anna")
    assert "was disabled already" in vendor.done("user", "disable", "anna")
    assert vendor.json("user", "list")[0]["disabled_at"] is not None
    assert "can again sign in" in vendor.done("user", "enable", "anna")
    vendor.done("user", "password", "vera", "--password-from", "env:PUSHCERT_NEW")
    entries = [e for e in vendor.json("audit", "list") if e["subject"].startswith("user:")]
    assert [e["action"] for e in entries] == [
        *("user_added", "user_added", "user_role_set", "user_disabled", "user_enabled"),
        "user_password_set",
    ]
    assert all(e["actor"].startswith("operator:") for e in entries)
    kept = b"".join(p.read_bytes() for p in vendor.directory.glob("vendor.sqlite*"))
    assert PASSWORD.encode() not in kept


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        (("add", "anna", "--role", "admin"), 2, "viewer, operator"),
        (("add", "Anna", "--password-from", "env:PUSHCERT_NEW"), 3, "user_name_malformed"),
        (("add", "anna", "--password-from", "env:NOT_SET"), 3, "passphrase_missing"),
        (("add", "anna", "--password-from", "command:echo short"), 3, "password_too_short"),
        (("add", "anna", "--password-from", "hunter2hunter2"), 3, "passphrase_source_unknown"),
        (("add", "anna"), 3, "password_not_given"),
        (("password", "nobody"), 3, "user_unknown"),
        (("disable", "nobody"), 3, "user_unknown"),
        (("role", "nobody", "viewer"), 3, "user_unknown"),
    ],
)
def test_what_cannot_be_is_refused_and_no_user_made(
    vendor: Vendor, arguments: tuple[str, ...], status: int, says: str
) -> None:
    result = vendor.run("user", *arguments)
    assert result.exit_code == status
    assert says in result.output
    assert "hunter2" not in result.output
    assert vendor.json("user", "list") == []


def test_on_a_terminal_the_password_is_asked_for_twice_and_not_shown(vendor: Vendor) -> None:
    arguments = ["-m", "cli", "--config", vendor.config, "user", "add", "anna"]
    environment: dict[str, str] = {**os.environ, "COLUMNS": "200"}
    child = pexpect.spawn(
        sys.executable, arguments, encoding="utf-8", timeout=60, env=environment, echo=True
    )
    child.expect("Password: ")
    child.sendline(PASSWORD)
    child.expect("Repeat for confirmation: ")
    shown = child.before or ""
    child.sendline(PASSWORD)
    child.expect("anna can sign in, as viewer")
    shown += child.before or ""
    child.expect(pexpect.EOF)
    assert PASSWORD not in shown


@pytest.fixture
def with_mail(tmp_path: Path) -> Iterator[Vendor]:
    """A vendor whose customer has a request to take to the portal."""
    mailbox = Mailbox()
    mailbox.start()
    with Lab(tmp_path / "lab") as lab:
        about = lab.describe()
        made = Vendor(tmp_path / "vendor", lab, mailbox)
        assert CliRunner().invoke(app, ["init", str(made.directory)]).exit_code == 0
        (made.directory / "config.toml").write_text(
            f'[trust]\nextra = ["{about["trust_file"]}"]\n'
            f'[smtp]\nhost = "{mailbox.host}"\nport = {mailbox.port}\nsecurity = "none"\n'
        )
        made.done(
            "signer", "import",
            "--certificate", about["signing_certificate"], "--key", about["signing_key"],
        )  # fmt: skip
        made.add("acme")
        made.done("tick")
        yield made
    mailbox.stop()


def test_a_reminder_now_is_sent_at_once_and_not_again_at_once(with_mail: Vendor) -> None:
    assert len(with_mail.mailbox.messages) == 1, "the request itself"
    said = with_mail.json("remind", "--now", "acme")
    assert (said["reminded"], said["sent"], said["to"]) == (True, True, ["it@acme.example"])
    assert len(with_mail.mailbox.messages) == 2
    assert str(with_mail.mailbox.messages[1]["Subject"]).startswith("Reminder:")
    again = with_mail.json("remind", "--now", "acme")
    assert (again["reminded"], again["at"]) == (False, said["at"])
    assert "not again yet" in with_mail.done("remind", "--now", "acme")
    assert len(with_mail.mailbox.messages) == 2
    entries = with_mail.json("audit", "list", "--customer", "acme")
    assert [e["action"] for e in entries].count("reminded_by_hand") == 1


def test_who_cannot_be_reminded_is_said(with_mail: Vendor) -> None:
    refused = with_mail.run("remind", "--now", "nobody")
    assert refused.exit_code == 3
    assert "customer_unknown" in refused.output
    with_mail.done("customer", "pause", "acme", "--reason", "moving")
    refused = with_mail.run("remind", "--now", "acme")
    assert refused.exit_code == 3
    assert "customer_not_in_care" in refused.output
    assert with_mail.run("remind", "--now", "acme", "--dry-run").exit_code == 2
