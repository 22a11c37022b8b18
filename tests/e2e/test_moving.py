"""Customers that come from elsewhere, and a vendor's books that can leave."""

from __future__ import annotations

import csv
import json
import plistlib
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from cli.main import app
from lifecycle.pki.keys import generate_key, key_to_pem
from lifecycle.pki.topic import Topic
from lifecycle.pki.upload import read_upload
from tests.instance.conftest import PushAuthority
from tests.mdm_servers.stand_ins import API_KEY, NanoMdmServer, ZentralServer

DUMPS = Path(__file__).parents[1] / "mdm_servers" / "dumps"
VECTOR = Path(__file__).parents[1] / "vectors" / "MDM_ Example MDM_Certificate.pem"
NOW = datetime.now(UTC).replace(microsecond=0)


@dataclass
class Vendor:
    """A vendor that begins."""

    directory: Path
    authority: PushAuthority

    def run(self, *arguments: str) -> Result:
        config = str(self.directory / "config.toml")
        return CliRunner().invoke(app, ["--config", config, *arguments])

    def done(self, *arguments: str) -> str:
        result = self.run(*arguments)
        assert result.exit_code == 0, result.output
        return result.stdout

    def json(self, *arguments: str) -> Any:
        return json.loads(self.done(*arguments, "--json"))

    def issue(self, number: int, *, start: datetime = NOW) -> bytes:
        """A push certificate of the topic with this number."""
        topic = Topic(f"com.apple.mgmt.External.{number:08x}-1111-4c22-9a33-5d6e7f809101")
        return self.authority.issue(generate_key().public_key(), topic, start=start)

    def topics(self) -> dict[str, str | None]:
        return {
            c["slug"]: None if c["certificate"] is None else c["certificate"]["topic"]
            for c in self.json("customer", "list")
        }


@pytest.fixture(scope="module")
def authority() -> PushAuthority:
    return PushAuthority(generate_key(), generate_key())


@pytest.fixture
def vendor(tmp_path: Path, authority: PushAuthority, monkeypatch: pytest.MonkeyPatch) -> Vendor:
    monkeypatch.setenv("MDM_API_KEY", API_KEY)
    directory = tmp_path / "vendor"
    assert CliRunner().invoke(app, ["init", str(directory)]).exit_code == 0
    return Vendor(directory, authority)


class TestFolder:
    @pytest.fixture
    def folder(self, vendor: Vendor, tmp_path: Path) -> Path:
        """As a vendor's share looks: a folder for each customer, and an export of ours."""
        folder = tmp_path / "share"
        for slug, number in (("Acme Corp", 1), ("Birch & Co.", 2)):
            (folder / slug).mkdir(parents=True)
            (folder / slug / "MDM_ Example MDM_Certificate.pem").write_bytes(vendor.issue(number))
        old = vendor.issue(1, start=NOW - timedelta(days=300))
        (folder / "Acme Corp" / "MDM_ Example MDM_Certificate (1).pem").write_bytes(old)
        (folder / "MDM_cedar_Certificate.pem").write_bytes(vendor.issue(3))
        (folder / "readme.pem").write_text("nothing")
        return folder

    def test_every_topic_becomes_a_customer_with_its_newest_certificate(
        self, vendor: Vendor, folder: Path
    ) -> None:
        result = vendor.run("customer", "import", str(folder), "--email", "ops@vendor.example")
        assert result.exit_code == 0, result.output
        assert "is older than another certificate" in result.stderr
        found = vendor.topics()
        assert sorted(found) == ["acme-corp", "birch-co", "cedar"]
        assert found["acme-corp"] == "com.apple.mgmt.External.00000001-1111-4c22-9a33-5d6e7f809101"
        newest = folder / "Acme Corp" / "MDM_ Example MDM_Certificate.pem"
        shown = vendor.json("customer", "show", "acme-corp")
        assert shown["certificate"]["serial"] == read_upload(newest.read_bytes()).certificate.serial
        again = vendor.json("customer", "import", str(folder))
        assert (again["added"], again["unchanged"]) == (0, 3), "known again by their topics"

    def test_without_an_address_it_offers_to_write_a_list(
        self, vendor: Vendor, folder: Path, tmp_path: Path
    ) -> None:
        result = vendor.run("customer", "import", str(folder))
        assert result.exit_code == 3
        assert "address_needed" in result.stderr
        assert "--draft" in result.stderr
        draft = tmp_path / "customers.csv"
        drafted = vendor.json("customer", "import", str(folder), "--draft", str(draft))
        assert drafted == {"drafted": 3, "known": 0}
        assert vendor.topics() == {}
        with draft.open() as file:
            rows = list(csv.DictReader(file))
        assert [row["email"] for row in rows] == ["", "", ""]
        completed = [{**row, "email": f"it@{row['slug']}.example"} for row in rows]
        with draft.open("w") as file:
            writer = csv.DictWriter(file, rows[0].keys())
            writer.writeheader()
            writer.writerows(completed)
        assert vendor.json("customer", "import", str(draft))["added"] == 3
        assert None not in vendor.topics().values()

    def test_a_file_that_is_no_certificate_is_named_and_nothing_is_imported(
        self, vendor: Vendor, folder: Path
    ) -> None:
        (folder / "MDM_dogwood_Certificate.pem").write_text("<html>Sign in</html>")
        result = vendor.run("customer", "import", str(folder), "--email", "ops@vendor.example")
        assert result.exit_code == 3
        assert "file_is_web_page" in result.stderr
        assert vendor.topics() == {}

    def test_a_folder_without_any_says_what_was_looked_for(
        self, vendor: Vendor, tmp_path: Path
    ) -> None:
        (tmp_path / "empty").mkdir()
        result = vendor.run("customer", "import", str(tmp_path / "empty"))
        assert result.exit_code == 3
        assert "MDM_…_Certificate.pem" in result.stderr


class TestNanoMdm:
    @pytest.mark.parametrize("name", ["mysqldump.sql", "pg_dump.sql", "pg_dump-inserts.sql"])
    def test_a_dump_gives_certificates_and_no_key_goes_into_the_registry(
        self, vendor: Vendor, name: str
    ) -> None:
        dump = DUMPS / name
        vendor.done("customer", "import", str(dump), "--email", "ops@vendor.example")
        topic = read_upload(VECTOR.read_bytes()).certificate.topic
        assert list(vendor.topics().values()) == [topic]
        body = re.search(rb"PRIVATE KEY-----(?:\\n|\n)([A-Za-z0-9+/]{40})", dump.read_bytes())
        assert body is not None
        for file in vendor.directory.glob("vendor.sqlite*"):
            assert body[1] not in file.read_bytes()

    def test_its_expiries_are_held_against_the_registry(
        self, vendor: Vendor, tmp_path: Path
    ) -> None:
        with NanoMdmServer() as server:
            for number, slug in ((1, "acme"), (2, "birch"), (3, "cedar")):
                file = tmp_path / f"{slug}.pem"
                file.write_bytes(vendor.issue(number))
                vendor.done(
                    "customer", "add", slug, "--name", slug, "--email", f"it@{slug}.example"
                )
                vendor.done("customer", "adopt", slug, str(file))
                topic = str(read_upload(file.read_bytes()).certificate.topic)
                if number < 3:
                    server.stored[topic] = (file.read_bytes(), b"")
            birch = vendor.topics()["birch"] or ""
            server.stored[birch] = (vendor.issue(2, start=NOW - timedelta(days=20)), b"")
            arguments = ("--nanomdm", server.url, "--api-key-from", "env:MDM_API_KEY")
            result = vendor.run("customer", "import", *arguments, "--json")
            assert result.exit_code == 4
            found = json.loads(result.stdout)
            assert found["unchanged"] == 1
            assert {bad["slug"]: bad["code"] for bad in found["bad"]} == {
                "birch": "server_certificate_differs",
                "cedar": "server_lacks_topic",
            }
            server.stored[birch] = (tmp_path.joinpath("birch.pem").read_bytes(), b"")
            topics = [t for t in vendor.topics().values() if t is not None and t in server.stored]
            named = [word for topic in topics for word in ("--topic", topic)]
            assert vendor.json("customer", "import", *arguments, *named)["unchanged"] == 2

    def test_a_wrong_key_is_refused_and_a_server_that_is_down_is_for_later(
        self, vendor: Vendor, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("WRONG", "wrong")
        topic = ("--topic", "com.apple.mgmt.External.x")
        with NanoMdmServer() as server:
            words = ("customer", "import", "--nanomdm", server.url, *topic, "--api-key-from")
            assert vendor.run(*words, "env:WRONG").exit_code == 3
        assert vendor.run(*words, "env:MDM_API_KEY").exit_code == 5


class TestZentral:
    def test_its_certificates_become_customers(self, vendor: Vendor) -> None:
        with ZentralServer() as server:
            server.certificates = {
                "Acme Corp": vendor.issue(1),
                "Made, not uploaded": None,
                "Birch": vendor.issue(2),
                "Cedar": vendor.issue(3),
            }
            done = vendor.json(
                *("customer", "import", "--zentral", server.url),
                *("--api-key-from", "env:MDM_API_KEY", "--email", "ops@vendor.example"),
            )
        assert done["added"] == 3
        assert sorted(vendor.topics()) == ["acme-corp", "birch", "cedar"]
        assert vendor.json("customer", "show", "acme-corp")["name"] == "Acme Corp"


def test_a_source_must_be_named_and_only_one(vendor: Vendor, tmp_path: Path) -> None:
    assert vendor.run("customer", "import").exit_code == 2
    both = vendor.run("customer", "import", str(tmp_path), "--zentral", "https://z.example")
    assert both.exit_code == 2
    keyless = vendor.run("customer", "import", "--zentral", "https://z.example")
    assert keyless.exit_code == 2


def test_adopting_takes_a_pair_of_files_or_one_file_with_both(
    vendor: Vendor, tmp_path: Path
) -> None:
    (tmp_path / "ca.pem").write_bytes(_roots(vendor.authority))
    config = vendor.directory / "config.toml"
    config.write_text(f'[trust]\nextra = ["{tmp_path / "ca.pem"}"]\n')
    for slug in ("acme", "birch"):
        vendor.done("customer", "add", slug, "--name", slug, "--email", f"it@{slug}.example")
    key = generate_key()
    topic = Topic("com.apple.mgmt.External.00000009-1111-4c22-9a33-5d6e7f809101")
    pem = vendor.authority.issue(key.public_key(), topic, start=NOW)
    (tmp_path / "push.pem").write_bytes(pem)
    (tmp_path / "push.key").write_bytes(key_to_pem(key, None))
    pair = ("--certificate", str(tmp_path / "push.pem"), "--key", str(tmp_path / "push.key"))
    assert vendor.json("instance", "adopt", "--customer", "acme", *pair)["topic"] == topic
    other = generate_key()
    both = vendor.authority.issue(
        other.public_key(),
        Topic("com.apple.mgmt.External.0000000a-1111-4c22-9a33-5d6e7f809101"),
        start=NOW - timedelta(days=400),
    ) + key_to_pem(other, None)
    (tmp_path / "both.pem").write_bytes(both)
    result = vendor.run(
        *("instance", "adopt", "--customer", "birch"),
        *("--certificate", str(tmp_path / "both.pem"), "--key", str(tmp_path / "both.pem")),
    )
    assert result.exit_code == 0, result.output
    assert "certificate_expired" in result.stderr, "said, and taken all the same"
    mixed = ("--certificate", str(tmp_path / "push.pem"), "--key", str(tmp_path / "both.pem"))
    result = vendor.run("instance", "adopt", "--customer", "acme", *mixed)
    assert result.exit_code == 3


def test_devices_come_from_a_dump_and_from_a_folder_of_the_file_storage(
    vendor: Vendor, tmp_path: Path
) -> None:
    vendor.done("customer", "add", "acme", "--name", "Acme", "--email", "it@acme.example")
    topic = "com.apple.mgmt.External.0f3a7f7e-6f5e-4d8a-9b1f-2c6a3e5d7b90"
    dump = tmp_path / "nanomdm.sql"
    other = b"com.apple.mgmt.External.77c0ffee-2222-4c22-9a33-5d6e7f809102"
    dump.write_bytes((DUMPS / "pg_dump.sql").read_bytes().replace(other, topic.encode()))
    words = ("--customer", "acme")
    done = vendor.json("instance", "device", "import", str(dump), *words)
    assert (len(done["added"]), done["left_out"]) == (3, 1)
    storage = tmp_path / "db" / "D9"
    storage.mkdir(parents=True)
    (storage / "TokenUpdate.plist").write_bytes(
        plistlib.dumps(
            {
                "MessageType": "TokenUpdate",
                "Token": b"\x09" * 32,
                "PushMagic": "73D2F9A4",
                "Topic": topic,
                "UDID": "D9",
            }
        )
    )
    (storage / "Authenticate.plist").write_bytes(b"passed over")
    done = vendor.json("instance", "device", "import", str(tmp_path / "db"), *words)
    assert done["added"] == ["D9"]
    listed = vendor.done("instance", "device", "list", *words)
    assert len(listed.splitlines()) == 4
    assert "0909" not in listed


def _roots(authority: PushAuthority) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding

    return b"".join(c.public_bytes(Encoding.PEM) for c in (authority.root, authority.issuer))
