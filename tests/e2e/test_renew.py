"""``renew`` on a real terminal: a whole renewal, stopped at every question and taken up again."""

from __future__ import annotations

import json
import os
import plistlib
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pexpect
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from typer.testing import CliRunner

from cli.main import app
from cli.renewal_dialogue import ASK_AGAIN, ASK_CANCEL, ASK_CERTIFICATE, ASK_TOPIC, PROMPTS
from lifecycle.lab.serve import Lab
from lifecycle.pki.keys import generate_key

SECONDS = 240
"""A bound for a busy machine, and nothing that is measured."""
ACCOUNT = "push@acme.example"
NEW_ACCOUNT = "mdm@acme.example"
FILE = "acme-push-certificate-request.txt"


@dataclass
class Desk:
    """A deployment with one customer, a lab, and somebody at a terminal."""

    directory: Path
    downloads: Path
    lab: Lab

    @property
    def command(self) -> list[str]:
        return ["-m", "cli", "--config", str(self.directory / "config.toml")]

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *self.command, *arguments],
            cwd=self.downloads,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
        )

    def quickly(self, *arguments: str) -> str:
        """A command that the test is not about, in this process; gives what it prints."""
        done = CliRunner().invoke(app, [*self.command[2:], *arguments], env=self.environment)
        assert done.exit_code == 0, done.output
        return done.stdout

    @property
    def shown(self) -> Any:
        return json.loads(self.quickly("customer", "show", "acme", "--json"))

    def json(self, *arguments: str) -> Any:
        done = self.run(*arguments, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    @property
    def environment(self) -> dict[str, str]:
        root = str(Path(__file__).resolve().parents[2])
        return {
            **os.environ,
            "HOME": str(self.downloads),
            "USER": "anna",
            "PYTHONPATH": root,
            "COLUMNS": "100",
            "NO_COLOR": "1",
            "TERM": "dumb",
        }

    def talk(self, *arguments: str) -> pexpect.spawn[str]:
        return pexpect.spawn(
            sys.executable,
            [*self.command, "renew", "acme", *arguments],
            cwd=str(self.downloads),
            env=self.environment,
            encoding="utf-8",
            timeout=SECONDS,
            dimensions=(50, 100),
        )

    def request(self) -> bytes:
        return (self.downloads / FILE).read_bytes()

    @property
    def serial(self) -> str:
        return str(self.shown["certificate"]["serial"])

    def renew_at_portal(self) -> bytes:
        return self.lab.portal.renew(ACCOUNT, self.request(), self.serial)

    def create_at_portal(self, account: str = ACCOUNT) -> bytes:
        return self.lab.portal.create(account, self.request())

    def download(self, data: bytes, name: str = "MDM_ Example_Certificate.pem") -> Path:
        path = self.downloads / name
        path.write_bytes(data)
        return path

    def open_renewals(self) -> int:
        return sum(1 for past in self.shown["history"] if past["ended_at"] is None)


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    with Lab(tmp_path / "lab") as lab:
        about = lab.describe()
        directory, downloads = tmp_path / "vendor", tmp_path / "here"
        downloads.mkdir()
        assert CliRunner().invoke(app, ["init", str(directory)]).exit_code == 0
        (directory / "config.toml").write_text(
            f"""
[trust]
extra = ["{about["trust_file"]}"]
[apns]
host = "127.0.0.1"
port = {about["apns_port"]}
ca_file = "{about["ca_file"]}"
backoff_seconds = 0.01
"""
        )
        made = Desk(directory, downloads, lab)
        signing = about["signing_certificate"], about["signing_key"]
        made.quickly("signer", "import", "--certificate", signing[0], "--key", signing[1])
        made.quickly(
            *("customer", "add", "acme", "--name", "Acme", "--email", "it@acme.example"),
            *("--apple-account", ACCOUNT),
        )
        yield made


@pytest.fixture
def customer(desk: Desk) -> Desk:
    """Acme, with a certificate and two enrolled devices."""
    file = desk.downloads / FILE
    desk.quickly("renew", "acme", "--no-input", "--request-out", str(file))
    first = desk.download(desk.create_at_portal(), "first.pem")
    desk.quickly("upload", "acme", str(first))
    first.unlink()
    file.unlink()
    topic = desk.shown["certificate"]["topic"]
    for number in range(2):
        message = {
            "MessageType": "TokenUpdate",
            "Token": desk.lab.gateway.register_device(topic),
            "PushMagic": "73D2F9A4",
            "Topic": topic,
            "UDID": f"UDID-{number}",
        }
        update = desk.downloads / "device.plist"
        update.write_bytes(plistlib.dumps(message))
        desk.quickly("instance", "device", "import", str(update), "--customer", "acme")
    return desk


def ended(talk: pexpect.spawn[str]) -> int:
    talk.expect(pexpect.EOF)
    talk.close()
    assert talk.exitstatus is not None, "it was ended by a signal"
    return talk.exitstatus


def test_a_full_renewal(customer: Desk) -> None:
    before = customer.serial
    talk = customer.talk()
    talk.expect("done .* opened \\(manual\\)")
    talk.expect("CSR made by the instance")
    talk.expect("signed with the MDM signing key")
    talk.expect(f"1. The request is in  {FILE}")
    talk.expect(f"sign in as {ACCOUNT}")
    talk.expect("press Renew beside")
    talk.expect(before)  # a narrow terminal may break the line before it
    talk.expect("Do not press Create a Certificate")
    talk.expect_exact(ASK_CERTIFICATE)
    customer.download(customer.renew_at_portal())  # nobody presses Enter
    talk.expect("Found MDM_ Example_Certificate.pem")
    talk.expect("No renewal of acme is open. Serial (\\w+) is active until")
    assert ended(talk) == 0
    assert customer.serial != before
    assert "\x1b[" not in (talk.before or "")


def test_a_path_can_be_typed_also_quoted_and_the_wrong_file_changes_nothing(
    customer: Desk, tmp_path: Path
) -> None:
    talk = customer.talk()
    talk.expect_exact(ASK_CERTIFICATE)
    created = tmp_path / "created instead.pem"
    created.write_bytes(customer.create_at_portal())
    talk.sendline(f"'{created}'")
    talk.expect("\\[topic_changed\\]")
    talk.expect("Nothing was changed")
    talk.expect_exact(ASK_CERTIFICATE)
    talk.sendline(str(tmp_path / "nowhere.pem"))
    talk.expect("\\[file_unreadable\\]")
    talk.expect_exact(ASK_CERTIFICATE)
    talk.sendline("")
    talk.expect("\\[certificate_not_found\\]")
    talk.expect_exact(ASK_CERTIFICATE)
    right = tmp_path / "right.pem"
    right.write_bytes(customer.renew_at_portal())
    talk.sendline(str(right))
    talk.expect("No renewal of acme is open")
    assert ended(talk) == 0


def test_a_file_that_is_named_as_the_portal_names_them_is_shown_with_what_is_wrong(
    customer: Desk,
) -> None:
    talk = customer.talk("--watch", str(customer.downloads))
    talk.expect_exact(ASK_CERTIFICATE)
    (customer.downloads / "MDM_ Old_Certificate.pem").write_bytes(b"nothing of the kind")
    (customer.downloads / "other.pem").write_bytes(b"nothing of the kind")
    talk.sendline("")
    talk.expect("which is not for this renewal")
    talk.expect("\\[certificate_missing|file_unknown")
    talk.expect_exact(ASK_CERTIFICATE)
    customer.download(customer.renew_at_portal(), "whatever it is called.cer")
    talk.expect("No renewal of acme is open")
    assert ended(talk) == 0


def test_a_file_that_was_refused_is_offered_again_only_when_it_changes(customer: Desk) -> None:
    talk = customer.talk()
    talk.expect_exact(ASK_CERTIFICATE)
    customer.download(customer.create_at_portal())  # created instead of renewed: the right key
    talk.expect("Found MDM_ Example_Certificate.pem")
    talk.expect("\\[topic_changed\\]")
    talk.expect_exact(ASK_CERTIFICATE)
    talk.sendline("")
    talk.expect("\\[topic_changed\\]")
    talk.expect_exact(ASK_CERTIFICATE)
    customer.download(customer.renew_at_portal())  # under the same name
    talk.expect("No renewal of acme is open")
    assert ended(talk) == 0
    assert (talk.before or "").count("topic_changed") == 0


def test_a_new_topic_that_was_typed_is_still_refused_in_a_renewal_that_is_not_for_it(
    customer: Desk,
) -> None:
    assert customer.run("renew", "acme", "--request-out", FILE).returncode == 0
    path = customer.download(customer.create_at_portal())
    said = customer.run("upload", "acme", str(path)).stderr
    assert "[topic_changed]" in said
    assert "topic_change_not_wanted" not in said
    topic = re.findall(r"new topic (com\.apple\.mgmt\.\S+):", said)[0]
    before = customer.serial
    refused = customer.run("upload", "acme", str(path), "--accept-new-topic", topic)
    assert refused.returncode == 3
    assert "[topic_change_not_wanted]" in refused.stderr
    assert "--reason apple_account_changed" in refused.stderr
    assert customer.serial == before


def test_an_accepted_topic_that_is_the_old_one_is_no_change_in_the_log(customer: Desk) -> None:
    topic = customer.shown["certificate"]["topic"]
    assert customer.run("renew", "acme", "--request-out", FILE).returncode == 0
    path = customer.download(customer.renew_at_portal())
    assert customer.run("upload", "acme", str(path), "--accept-new-topic", topic).returncode == 0
    log = customer.json("audit", "list", "--customer", "acme")
    assert "new_topic_accepted" not in {entry["action"] for entry in log}


def at_certificate(desk: Desk) -> pexpect.spawn[str]:
    talk = desk.talk()
    talk.expect_exact(ASK_CERTIFICATE)
    return talk


def at_topic(desk: Desk) -> pexpect.spawn[str]:
    talk = desk.talk("--reason", "apple_account_changed", "--apple-account", NEW_ACCOUNT)
    talk.expect_exact(ASK_CERTIFICATE)
    desk.download(desk.create_at_portal(NEW_ACCOUNT))
    talk.expect_exact(ASK_TOPIC)
    return talk


def at_again(desk: Desk) -> pexpect.spawn[str]:
    talk = desk.talk()
    talk.expect_exact(ASK_CERTIFICATE)
    desk.lab.gateway.stop()
    desk.download(desk.renew_at_portal())
    talk.expect_exact(ASK_AGAIN)
    return talk


def at_cancel(desk: Desk) -> pexpect.spawn[str]:
    assert desk.run("renew", "acme", "--no-input").returncode == 0
    talk = desk.talk("--cancel")
    talk.expect_exact(ASK_CANCEL.format(slug="acme"))
    return talk


QUESTIONS: dict[str, Callable[[Desk], pexpect.spawn[str]]] = {
    ASK_CERTIFICATE: at_certificate,
    ASK_TOPIC: at_topic,
    ASK_AGAIN: at_again,
    ASK_CANCEL: at_cancel,
}


def test_every_question_is_stopped_at_below() -> None:
    source = Path(sys.modules["cli.renewal_dialogue"].__file__ or "").read_text()
    assert set(QUESTIONS) == set(PROMPTS)
    assert "input(" not in source
    assert len(re.findall(r"\b(?:ask|line_or_arrival)\(", source)) == len(PROMPTS)


@pytest.mark.parametrize("way", ["ctrl-c", "end of input"])
@pytest.mark.parametrize("question", PROMPTS, ids=["certificate", "topic", "again", "cancel"])
def test_stopped_at_a_question_it_goes_on_where_it_stood(
    customer: Desk, question: str, way: str
) -> None:
    before = customer.serial
    talk = QUESTIONS[question](customer)
    if way == "ctrl-c":
        talk.sendintr()
    else:
        talk.sendeof()
    talk.expect("Nothing is lost|Nothing was cancelled")
    assert ended(talk) == 130
    assert customer.serial == before
    assert customer.open_renewals() == 1

    if question == ASK_AGAIN:
        customer.lab.gateway.start()
    again = customer.talk()
    if question == ASK_AGAIN:  # what was accepted is activated without another question
        again.expect("No renewal of acme is open")
    else:
        again.expect("done .* opened")
        if question == ASK_TOPIC:  # the certificate is there already
            again.expect("has the new topic (\\S+)\\.")
            topic = again.match.group(1)  # type: ignore[union-attr]
            again.expect("all 2 devices")
            again.expect_exact(ASK_TOPIC)
            again.sendline(topic)
        else:
            again.expect_exact(ASK_CERTIFICATE)
            customer.download(customer.renew_at_portal())
        again.expect("No renewal of acme is open")
    assert ended(again) == 0
    assert customer.serial != before
    assert customer.open_renewals() == 0


def test_another_apple_account_is_the_one_way_to_another_topic(customer: Desk) -> None:
    old = customer.shown["certificate"]["topic"]
    talk = customer.talk("--reason", "apple_account_changed", "--apple-account", NEW_ACCOUNT)
    talk.expect(f"sign in as {NEW_ACCOUNT}")
    talk.expect("and press Create a Certificate")
    talk.expect("all 2 devices that are enrolled must enrol again")
    talk.expect_exact(ASK_CERTIFICATE)
    customer.download(customer.create_at_portal(NEW_ACCOUNT))
    talk.expect("has the new topic (\\S+)\\.")
    topic = talk.match.group(1)  # type: ignore[union-attr]
    talk.expect_exact(ASK_TOPIC)
    talk.sendline("com.apple.mgmt.External.mistyped")
    talk.expect("\\[topic_changed\\]")
    talk.expect_exact(ASK_CERTIFICATE)
    talk.sendline("")
    talk.expect_exact(ASK_TOPIC)
    talk.sendline(topic)
    talk.expect("No renewal of acme is open")
    assert ended(talk) == 0
    shown = customer.shown
    assert shown["certificate"]["topic"] == topic != old
    assert shown["apple_account"] == NEW_ACCOUNT
    (entry,) = [
        e
        for e in customer.json("audit", "list", "--customer", "acme")
        if e["action"] == "new_topic_accepted"
    ]
    assert entry["detail"] == {"old_topic": old, "new_topic": topic, "devices_to_enrol_again": 2}
    assert entry["actor"] == "operator:anna"


def test_a_whole_renewal_by_script(customer: Desk) -> None:
    before = customer.serial
    first = customer.json("renew", "acme", "--no-input", "--request-out", FILE)
    assert first["state"] == "delivered"
    assert first["renew_serial"] == before
    assert first["request_file"] == FILE
    assert first["acts"] == "customer"
    assert [step["what"] for step in first["steps"]] == [
        "opened (manual)",
        "CSR made by the instance",
        "signed with the MDM signing key",
        "request handed over",
    ]
    assert customer.json("renew", "acme")["renewal"] == first["renewal"]
    path = customer.download(customer.create_at_portal())
    wrong = customer.run("renew", "acme", "--no-input", "--json", "--certificate", str(path))
    assert wrong.returncode == 3
    assert "topic_changed" in wrong.stderr
    assert wrong.stdout == ""
    path = customer.download(customer.renew_at_portal())
    last = customer.json("renew", "acme", "--no-input", "--certificate", str(path))
    assert last["activated"]
    assert (last["state"], last["renewal"]) == (None, None)
    assert last["active_serial"] != before


def test_a_compromised_key_makes_the_open_request_useless(customer: Desk) -> None:
    first = customer.json("renew", "acme", "--request-out", FILE)
    old = customer.download(customer.renew_at_portal(), "old-key.pem")
    second = customer.run("renew", "acme", "--reason", "key_compromise", "--no-input")
    assert second.returncode == 0, second.stderr
    assert "is cancelled and one with a new key begins" in second.stderr
    refused = customer.run("upload", "acme", str(old))
    assert refused.returncode == 3
    assert "key_mismatch" in refused.stderr
    assert customer.json("renew", "acme")["renewal"] != first["renewal"]


@pytest.mark.parametrize(
    ("options", "code", "status"),
    [
        (("--reason", "initial"), "reason_initial_but_active", 3),
        (("--reason", "apple_account_changed"), "apple_account_with_reason", 3),
        (("--apple-account", NEW_ACCOUNT), "apple_account_with_reason", 3),
        (("--reason", "boredom"), "--reason is one of", 2),
    ],
)
def test_what_does_not_fit_is_refused_and_opens_nothing(
    customer: Desk, options: tuple[str, ...], code: str, status: int
) -> None:
    refused = customer.run("renew", "acme", *options)
    assert refused.returncode == status
    assert code in refused.stderr
    assert customer.open_renewals() == 0


def test_cancelling_asks_and_twice_is_once(customer: Desk) -> None:
    talk = at_cancel(customer)
    talk.sendline("n")
    talk.expect("Nothing was cancelled")
    assert ended(talk) == 0
    assert customer.open_renewals() == 1
    talk = at_cancel(customer)
    talk.sendline("yes")
    talk.expect("is cancelled")
    assert ended(talk) == 0
    assert "keeps it from that" not in (talk.before or ""), "acme is not due"
    assert customer.open_renewals() == 0
    assert customer.json("renew", "acme", "--cancel") == {"slug": "acme", "cancelled": None}
    cancelled = customer.json("audit", "list", "--customer", "acme")
    assert [e["actor"] for e in cancelled if e["action"] == "renewal_cancelled"] == [
        "operator:anna"
    ]


def test_what_the_vendor_must_mend_is_said_and_nothing_is_asked(desk: Desk) -> None:
    for file in (desk.directory / "signer").rglob("*"):
        if file.is_file():
            file.unlink()
    desk.run("customer", "add", "birch", "--name", "B", "--email", "it@b.example")
    talk = pexpect.spawn(
        sys.executable,
        [*desk.command, "renew", "birch"],
        cwd=str(desk.downloads),
        env=desk.environment,
        encoding="utf-8",
        timeout=SECONDS,
        dimensions=(50, 100),
    )
    talk.expect("Held up, vendor must act|Next: ")
    talk.expect("Then go on with: pushcert renew birch")
    assert ended(talk) == 0


def test_a_new_signer_signs_an_open_request_again_when_told(customer: Desk, tmp_path: Path) -> None:
    first = customer.json("renew", "acme", "--request-out", FILE)
    before = customer.request()
    same = customer.json("renew", "acme", "--reason", "signer_changed", "--request-out", FILE)
    assert customer.request() == before, "the signer is the same; there is nothing to sign again"
    key, authority = generate_key(), customer.lab.authority
    certificate = authority.issue_signing_certificate(key.public_key(), "Next", days=400)
    (tmp_path / "next.pem").write_bytes(certificate.public_bytes(Encoding.PEM))
    (tmp_path / "next.key").write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    )
    done = customer.run(
        *("signer", "import", "--certificate", str(tmp_path / "next.pem")),
        *("--key", str(tmp_path / "next.key")),
    )
    assert done.returncode == 0, done.stderr
    third = customer.json("renew", "acme", "--reason", "signer_changed", "--request-out", FILE)
    assert customer.request() != before
    assert first["renewal"] == same["renewal"] == third["renewal"]
    path = customer.download(customer.renew_at_portal())
    assert customer.json("renew", "acme", "--certificate", str(path))["activated"]
