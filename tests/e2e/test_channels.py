"""``notify`` and ``remind --explain``, against a real mail server and a real webhook."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from cli.main import app
from lifecycle.lab.mailbox import Mailbox

SECRET = "hunter2-hunter2"


@dataclass
class Webhook:
    """An HTTP server that keeps what it is posted."""

    answers: int = 200
    posted: list[dict[str, Any]] = field(default_factory=list)
    port: int = 0


@pytest.fixture
def webhook() -> Iterator[Webhook]:
    hook = Webhook()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = int(self.headers["Content-Length"])
            hook.posted.append(json.loads(self.rfile.read(length)))
            self.send_response(hook.answers)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hook.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield hook
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def mailbox() -> Iterator[Mailbox]:
    box = Mailbox()
    box.start()
    yield box
    box.stop()


@dataclass
class Vendor:
    """A deployment with a mail server and a webhook."""

    directory: Path

    def run(self, *arguments: str) -> Result:
        config = str(self.directory / "config.toml")
        return CliRunner().invoke(app, ["--config", config, *arguments])


@pytest.fixture
def vendor(
    tmp_path: Path, mailbox: Mailbox, webhook: Webhook, monkeypatch: pytest.MonkeyPatch
) -> Vendor:
    monkeypatch.setenv("HOOK", f"json://user:{SECRET}@127.0.0.1:{webhook.port}/{SECRET}")
    assert CliRunner().invoke(app, ["init", str(tmp_path)]).exit_code == 0
    (tmp_path / "config.toml").write_text(
        f"""\
[vendor]
name = "Example MDM"
ops = ["ops@vendor.example"]

[reminders]
quiet_days = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday"]

[smtp]
host = "{mailbox.host}"
port = {mailbox.port}
security = "none"
sender = "push@vendor.example"

[notify.hook]
url = "env:HOOK"
kinds = ["digest"]

[notify.broken]
url = "env:BROKEN"
"""
    )
    return Vendor(tmp_path)


def test_a_test_mail_arrives_and_its_message_id_is_named(vendor: Vendor, mailbox: Mailbox) -> None:
    done = vendor.run("notify", "test", "mail")
    assert done.exit_code == 0, done.output
    (message,) = mailbox.messages
    assert message["To"] == "ops@vendor.example"
    assert message["Message-ID"] in done.stdout
    other = vendor.run("notify", "test", "mail", "--to", "me@vendor.example", "--json")
    assert json.loads(other.stdout)["to"] == ["me@vendor.example"]
    assert mailbox.messages[-1]["To"] == "me@vendor.example"


def test_a_test_reaches_the_webhook(vendor: Vendor, webhook: Webhook) -> None:
    done = vendor.run("notify", "test", "hook")
    assert done.exit_code == 0, done.output
    (posted,) = webhook.posted
    assert "hook" in posted["message"]


def test_a_webhook_that_fails_is_temporary_and_its_secret_stays_secret(
    vendor: Vendor, webhook: Webhook
) -> None:
    webhook.answers = 500
    done = vendor.run("notify", "test", "hook")
    assert done.exit_code == 5
    assert "did not take the message" in done.output
    assert SECRET not in done.output


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("nowhere",), "there are: mail, hook, broken"),
        (("broken",), "BROKEN is not set"),
        (("mail", "--to", "nobody"), "is not an email address"),
    ],
)
def test_what_cannot_be_sent_is_refused_with_the_reason(
    vendor: Vendor, arguments: tuple[str, ...], words: str
) -> None:
    done = vendor.run("notify", "test", *arguments)
    assert done.exit_code == 3, done.output
    assert words in done.output


def test_a_url_that_is_none_is_refused_and_not_shown(
    vendor: Vendor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BROKEN", f"nothing://{SECRET}")
    done = vendor.run("notify", "test", "broken")
    assert done.exit_code == 3
    assert "channel_url_unusable" in done.output
    assert SECRET not in done.output


def test_a_refused_address_is_refused(vendor: Vendor, mailbox: Mailbox) -> None:
    mailbox.bounce.add("ops@vendor.example")
    done = vendor.run("notify", "test", "mail")
    assert done.exit_code == 3
    assert "no such mailbox" in done.output


def test_the_list_says_what_goes_where(vendor: Vendor) -> None:
    channels = {
        row["channel"]: row for row in json.loads(vendor.run("notify", "list", "--json").stdout)
    }
    assert channels["hook"]["gets"] == ["digest"]
    assert "messages to customers" in channels["mail"]["gets"]


def test_explain_says_what_is_owed_who_gets_it_and_what_is_in_the_way(vendor: Vendor) -> None:
    add = ("customer", "add", "acme", "--name", "Acme", "--email", "it@acme.example")
    assert vendor.run(*add).exit_code == 0
    done = vendor.run("remind", "--explain", "acme")
    assert done.exit_code == 0, done.output
    assert "acme: nothing is owed now (the first renewal opens at the next tick)." in done.stdout
    assert "Messages go to it@acme.example." in done.stdout
    assert vendor.run("customer", "pause", "acme").exit_code == 0
    story = json.loads(vendor.run("remind", "--explain", "acme", "--json").stdout)
    assert (story["owed"], story["why"]) == (None, "paused")
    assert vendor.run("remind", "--explain", "nobody").exit_code == 3


def test_the_doctor_tries_the_mail_server_and_the_channels_and_sends_nothing(
    vendor: Vendor, mailbox: Mailbox, webhook: Webhook
) -> None:
    config = vendor.directory / "config.toml"
    config.write_text(config.read_text() + '\n[apns]\nhost = "127.0.0.1"\nport = 9\n')
    found = vendor.run("doctor", "--json")
    assert found.exit_code == 4
    lines = {line["what"]: line for line in json.loads(found.stdout)}
    assert lines["mail server"]["message"] == f"127.0.0.1:{mailbox.port} lets us in (none)"
    assert lines["channel hook"]["well"]
    assert not lines["channel broken"]["well"]
    assert lines["channel broken"]["remedy"] == "Set BROKEN where pushcert is started."
    assert "firewall" in lines["APNs"]["remedy"]
    assert SECRET not in found.output
    mailbox.stop()
    lines = {line["what"]: line for line in json.loads(vendor.run("doctor", "--json").stdout)}
    assert not lines["mail server"]["well"]
    assert lines["mail server"]["remedy"]
    assert mailbox.messages == ()
    assert webhook.posted == []


def test_the_doctor_counts_in_english(vendor: Vendor) -> None:
    said = vendor.run("doctor", "--offline").output
    assert "audit log: 0 entries, whole" in said
    assert re.search(r"1 of \d+ checks needs attention", said)
