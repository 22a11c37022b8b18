"""The registry by the command line: bulk edit, pauses, import and export, and what doctor says."""

from __future__ import annotations

import json
import os
import sqlite3
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from typer.testing import CliRunner, Result

from bench.keys import keys
from cli.main import app
from lifecycle.lab.authority import Authority
from lifecycle.lab.clock import LabClock


class Vendor:
    """A deployment in a folder."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        assert CliRunner().invoke(app, ["init", str(directory)]).exit_code == 0

    def run(self, *arguments: str) -> Result:
        config = str(self.directory / "config.toml")
        return CliRunner().invoke(app, ["--config", config, *arguments])

    def done(self, *arguments: str) -> str:
        result = self.run(*arguments)
        assert result.exit_code == 0, result.output
        return result.stdout

    def json(self, *arguments: str) -> Any:
        return json.loads(self.done(*arguments, "--json"))

    def sql(self, statement: str, *values: object) -> None:
        with sqlite3.connect(self.directory / "vendor.sqlite") as connection:
            connection.execute(statement, values)
        connection.close()


@pytest.fixture
def vendor(tmp_path: Path) -> Vendor:
    made = Vendor(tmp_path / "deployment")
    for slug in ("acme", "birch", "cedar"):
        made.done("customer", "add", slug, "--name", slug.title(), "--email", f"it@{slug}.example")
    return made


@pytest.fixture(scope="module")
def certificate() -> bytes:
    authority = Authority(LabClock(datetime.now(UTC) - timedelta(days=30)), 1)
    (key,) = keys(1)
    topic = "com.apple.mgmt.External.1b9c3fd1-1f4c-4c5c-9c8f-0d7d5b3f6a01"
    return authority.issue_push_certificate(key.public_key(), topic).public_bytes(Encoding.PEM)


def test_many_are_changed_at_once_and_the_audit_log_says_what_from_and_to(vendor: Vendor) -> None:
    changed = vendor.json("customer", "edit", "acme", "birch", "--add-tag", "region:emea")
    assert changed == {"changed": ["acme", "birch"], "unchanged": []}
    again = vendor.json("customer", "edit", "--all", "--add-tag", "region:emea")
    assert again == {"changed": ["cedar"], "unchanged": ["acme", "birch"]}
    vendor.done("customer", "edit", "cedar", "--remove-tag", "region:emea", "--language", "ja")
    listed = vendor.json("customer", "list", "--tag", "region:emea")
    assert [row["slug"] for row in listed] == ["acme", "birch"]
    (entry,) = [
        e
        for e in vendor.json("audit", "list", "--customer", "cedar")
        if e["action"] == "customer_edited" and "language" in e["detail"]
    ]
    assert entry["detail"] == {"language": [None, "ja"], "tags": [["region:emea"], []]}


def test_the_list_has_tags_and_contacts_for_scripts_and_takes_no_name_for_markup(
    vendor: Vendor,
) -> None:
    vendor.done("customer", "edit", "acme", "--add-contact", "ann@acme.example", "--add-tag", "x")
    vendor.done("customer", "edit", "birch", "--name", "Birch [bold]& [/nothing] Co")
    listed = {row["slug"]: row for row in vendor.json("customer", "list")}
    assert (listed["acme"]["tags"], listed["acme"]["contacts"]) == (["x"], ["ann@acme.example"])
    assert (listed["birch"]["tags"], listed["birch"]["contacts"]) == ([], [])
    assert "Birch [bold]& [/nothing] Co" in vendor.done("customer", "list")
    shown = vendor.done("customer", "show", "birch")
    assert "Birch [bold]& [/nothing] Co" in shown


def test_a_dry_run_of_an_edit_changes_nothing(vendor: Vendor) -> None:
    assert "Would change 3" in vendor.done(
        "customer", "edit", "--all", "--note", "migrated", "--dry-run"
    )
    assert vendor.json("customer", "show", "acme")["notes"] is None


@pytest.mark.parametrize(
    ("options", "code", "status"),
    [
        (("acme", "--language", "tlh"), "language_unknown", 3),
        (("acme", "--add-tag", "Not A Tag"), "tag_malformed", 3),
        (("acme", "nobody", "--note", "x"), "customer_unknown", 3),
        (("acme", "--email", "nowhere"), "email_malformed", 3),
        (("acme", "birch", "--email", "a@b.example"), "one customer", 2),
        (("acme",), "say what to change", 2),
        (("--note", "x"), "--with-tag", 2),
    ],
)
def test_a_wrong_edit_changes_nobody(
    vendor: Vendor, options: tuple[str, ...], code: str, status: int
) -> None:
    before = vendor.json("customer", "list")
    refused = vendor.run("customer", "edit", *options)
    assert refused.exit_code == status
    assert code in refused.output
    assert vendor.json("customer", "list") == before


def test_contacts_are_shown_with_those_that_bounce(vendor: Vendor) -> None:
    vendor.done("customer", "edit", "acme", "--add-contact", "ann@acme.example")
    vendor.sql("INSERT INTO bounce VALUES ('ann@acme.example', '2027-01-01', 'no such user')")
    shown = vendor.json("customer", "show", "acme")
    assert shown["contacts"] == ["ann@acme.example"]
    assert shown["bounced"] == ["ann@acme.example since 2027-01-01: no such user"]
    assert "ann@acme.example" in vendor.done("customer", "show", "acme")
    vendor.done("customer", "edit", "acme", "--remove-contact", "ann@acme.example")
    assert vendor.json("customer", "show", "acme")["contacts"] == []


def test_a_pause_ends_by_itself(vendor: Vendor) -> None:
    soon = (datetime.now(UTC) + timedelta(days=3)).date().isoformat()
    vendor.done("customer", "pause", "acme", "birch", "--reason", "on hold", "--until", soon)
    shown = vendor.json("customer", "show", "acme")
    assert (shown["status"], shown["next_step"]) == ("paused", f"paused until {soon} (on hold)")
    vendor.done("tick")
    assert vendor.json("customer", "show", "acme")["status"] == "paused"
    vendor.sql("UPDATE customer SET paused_until = '2020-01-01', next_action_at = '2020-01-01'")
    vendor.done("tick")
    shown = vendor.json("customer", "show", "acme")
    assert (shown["status"], shown["paused_reason"]) == ("no_certificate", None)
    actions = [e["action"] for e in vendor.json("audit", "list", "--customer", "acme")]
    assert "customer_resumed" in actions


def test_a_pause_with_an_end_in_the_past_is_refused(vendor: Vendor) -> None:
    refused = vendor.run("customer", "pause", "acme", "--until", "2020-01-01")
    assert refused.exit_code == 3
    assert "pause_end_past" in refused.output


def test_pausing_resuming_and_offboarding_twice_change_nothing(vendor: Vendor) -> None:
    for command, twice in (("pause", ()), ("resume", ()), ("offboard", ("--yes",))):
        first = vendor.json("customer", command, "acme", *twice)
        assert first == {"changed": ["acme"], "unchanged": []}
        again = vendor.json("customer", command, "acme", *twice)
        assert again == {"changed": [], "unchanged": ["acme"]}


def test_a_certificate_is_adopted_without_its_apple_account(
    vendor: Vendor, certificate: bytes, tmp_path: Path
) -> None:
    file = tmp_path / "MDM_ Example_Certificate.pem"
    file.write_bytes(certificate)
    adopted = vendor.run("customer", "adopt", "acme", str(file))
    assert adopted.exit_code == 0, adopted.output
    assert "Apple Account is not known" in adopted.output
    shown = vendor.json("customer", "show", "acme")
    assert shown["certificate"]["topic"].startswith("com.apple.mgmt.External.")
    other = vendor.run("customer", "adopt", "birch", str(file))
    assert other.exit_code == 3
    assert "topic_of_another_customer" in other.output
    assert vendor.json("customer", "show", "birch")["certificate"] is None


def test_an_export_with_certificates_can_be_imported_elsewhere(
    vendor: Vendor, certificate: bytes, tmp_path: Path
) -> None:
    file = tmp_path / "certificate.pem"
    file.write_bytes(certificate)
    vendor.done("customer", "adopt", "acme", str(file), "--apple-account", "push@acme.example")
    out, folder = tmp_path / "out" / "customers.csv", tmp_path / "out" / "certificates"
    out.parent.mkdir()
    vendor.done("customer", "export", "--out", str(out), "--certificates", str(folder))
    other = Vendor(tmp_path / "other")
    assert "Added 3" in other.done("customer", "import", str(out))
    for slug in ("acme", "birch"):
        here, there = (v.json("customer", "show", slug) for v in (vendor, other))
        assert here == there
    assert "unchanged 3" in other.done("customer", "import", str(out))


def test_bad_rows_are_limited_on_the_terminal_and_complete_in_a_file(
    vendor: Vendor, tmp_path: Path
) -> None:
    file, bad = tmp_path / "many.csv", tmp_path / "bad.csv"
    rows = "".join(f"BAD {n},N,it@n.example\n" for n in range(250))
    file.write_text("slug,name,email\n" + rows)
    refused = vendor.run("customer", "import", str(file), "--bad-rows", str(bad))
    assert refused.exit_code == 3
    assert refused.output.count("cannot be a slug") == 200
    assert "and 50 more rows" in refused.output
    assert "250 rows are bad, and nothing was imported" in refused.output
    assert bad.read_text().count("\n") == 251
    documented = vendor.run("customer", "import", str(file), "--json")
    assert len(json.loads(documented.stdout)["bad"]) == 250


def test_the_document_of_an_import_is_laid_out_as_every_other(
    vendor: Vendor, tmp_path: Path
) -> None:
    file = tmp_path / "some.csv"
    for rows, added, bad in (("", 0, 0), ("é \u2028,,no\na,A,it@a.example\n", 1, 3)):
        file.write_text("slug,name,email\n" + rows)
        said = vendor.run("customer", "import", str(file), "--json", "--keep-going").stdout
        found = json.loads(said)
        assert (found["added"], len(found["bad"])) == (added, bad)
        assert said == json.dumps(found, indent=2, ensure_ascii=False) + "\n"


def test_a_list_may_come_from_standard_input_or_a_pipe(vendor: Vendor, tmp_path: Path) -> None:
    def listed(slug: str) -> bytes:
        return f"slug,name,email\n{slug},N,it@{slug}.example\nBAD,N,it@b.example\n".encode()

    config = str(vendor.directory / "config.toml")
    words = ["--config", config, "customer", "import", "--keep-going"]
    done = CliRunner().invoke(app, [*words, "-"], input=listed("dahlia"))
    assert (done.exit_code, done.stdout) == (4, "Added 1, changed 0, unchanged 0.\n")
    assert "Line 3: 'BAD' cannot be a slug" in done.stderr

    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=[listed("elder")])
    writer.start()
    done = CliRunner().invoke(app, [*words, str(pipe)])
    writer.join()
    assert (done.exit_code, done.stdout) == (4, "Added 1, changed 0, unchanged 0.\n")
    assert {"dahlia", "elder"} <= {row["slug"] for row in vendor.json("customer", "list")}


def test_a_list_that_cannot_be_one_is_refused_before_it_is_read(
    vendor: Vendor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cli.customer_files.MAX_LIST", 2**20)
    file = tmp_path / "customers.csv"
    with file.open("wb") as opened:
        opened.truncate(2**20 + 1)
    config = str(vendor.directory / "config.toml")
    for given in (str(file), "-"):
        words = ["--config", config, "customer", "import", given]
        refused = CliRunner().invoke(app, words, input=file.read_bytes())
        assert refused.exit_code == 3
        assert "is larger than 1 MiB" in refused.stderr
    refused = vendor.run("customer", "import", str(tmp_path / "nothing.csv"))
    assert refused.exit_code == 3
    assert "nothing.csv cannot be read (No such file or directory)" in refused.stderr


def test_every_one_of_a_hundred_bad_rows_is_named_by_line_and_reason(
    vendor: Vendor, tmp_path: Path
) -> None:
    file = tmp_path / "some.csv"
    rows = "".join(f"c-{n},N,{'nowhere' if n % 5 else 'it@n.example'}\n" for n in range(125))
    file.write_text("slug,name,email\n" + rows)
    bad = [n + 2 for n in range(125) if n % 5]
    for options, status in (((), 3), (("--keep-going",), 4)):
        refused = vendor.run("customer", "import", str(file), *options)
        assert refused.exit_code == status
        said = [line for line in refused.stderr.splitlines() if "email_malformed" in line]
        assert [line.split(":")[1].strip() for line in said] == [f"Line {line}" for line in bad]
    assert "100 rows were left out" in refused.stderr
    assert "Added 25" in refused.stdout


def test_the_doctor_sees_what_the_registry_knows(vendor: Vendor) -> None:
    vendor.sql("INSERT INTO bounce VALUES ('it@acme.example', '2027-01-01', 'no such user')")
    vendor.sql("UPDATE customer SET next_action_at = '2020-01-01'")
    (vendor.directory / "evidence" / "signing.pem").chmod(0o644)
    found = vendor.run("doctor", "--offline", "--json")
    assert found.exit_code == 4
    lines = {line["what"]: line for line in json.loads(found.stdout)}
    for what, words in {
        "contacts": "it@acme.example (acme) has been refused since 2027-01-01",
        "scheduler": "2020-01-01",
        "evidence key": "open to others",
    }.items():
        assert not lines[what]["well"]
        assert words in lines[what]["message"]
        assert "`" in lines[what]["remedy"]
    assert "`pushcert customer edit acme --email ADDRESS`" in lines["contacts"]["remedy"]
    assert lines["Apple Accounts"]["notice"]
    assert lines["Apple Accounts"]["well"]
    assert lines["disk"]["well"]


def test_the_doctor_tries_the_vendors_own_templates(vendor: Vendor) -> None:
    templates = vendor.directory / "templates" / "en"
    templates.mkdir(parents=True)
    (templates / "delivery.txt.j2").write_text("Subject\n\n{{ nonsense }}\n")
    config = vendor.directory / "config.toml"
    config.write_text(config.read_text().replace("# templates =", "templates ="))
    lines = json.loads(vendor.run("doctor", "--offline", "--json").stdout)
    (broken,) = [line for line in lines if line["what"] == "templates" and not line["well"]]
    assert "nonsense" in broken["message"]
