"""What a run leaves behind: a document that openssl and the public key alone can check."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from lifecycle.errors import Refused
from lifecycle.evidence import ensure_evidence_key, write_signed
from lifecycle.evidence_key import EvidenceKey, load_evidence_key, verify_signature

Fleets = Callable[..., Any]
OPENSSL = shutil.which("openssl")


def pushcert(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "COLUMNS": "80"}
    return subprocess.run(
        [sys.executable, "-m", "cli", "--config", "config.toml", *arguments],
        cwd=directory,
        env=environment,
        capture_output=True,
        text=True,
    )


@pytest.fixture
def swept(fleet_of: Fleets) -> tuple[Any, Path]:
    fleet = fleet_of(5, breach=1)
    done = pushcert(fleet.made.directory, "verify", "--all", "--json")
    assert done.returncode == 4, done.stderr
    return fleet, Path(json.loads(done.stdout)["document"])


def test_a_run_leaves_a_document_that_openssl_checks_with_the_public_key(
    swept: tuple[Any, Path],
) -> None:
    if OPENSSL is None:
        pytest.skip("openssl is not installed; it checks the signature")
    fleet, document = swept
    command = "pkeyutl -verify -pubin -inkey signing.pub.pem -rawin -in {0} -sigfile {0}.sig"
    checked = subprocess.run(
        [OPENSSL, *command.format(document.name).split()],
        cwd=document.parent,
        capture_output=True,
        text=True,
    )
    assert "Verified Successfully" in checked.stdout
    said = json.loads(document.read_text())
    assert said["verdicts"] == {"isolated": 4, "breached": 1, "inconclusive": 0}
    assert [row["slug"] for row in said["customers"]] == list(fleet.made.slugs)
    for row in said["customers"]:
        assert [p["expected"] for p in row["probes"]] == [
            "200",
            "400 DeviceTokenNotForTopic",
            "400 BadTopic or TopicDisallowed",
            "400 BadDeviceToken or DeviceTokenNotForTopic",
        ]
    tokens = [token.hex() for token, _, _ in fleet.lab.gateway.devices.all()]
    assert not [token for token in tokens if token in document.read_text()]
    assert all(stat.S_IMODE(p.stat().st_mode) & 0o077 == 0 for p in document.parent.glob("*.json*"))


def test_writing_it_again_gives_the_same_bytes(swept: tuple[Any, Path]) -> None:
    fleet, document = swept
    before = document.read_bytes()
    run = json.loads(before)["run"]
    assert write_signed(fleet.embedded.config, fleet.embedded.database, run) == document
    assert document.read_bytes() == before


def test_verify_evidence_tells_the_true_from_the_false(swept: tuple[Any, Path]) -> None:
    fleet, document = swept
    directory = fleet.made.directory
    true = pushcert(directory, "isolation", "verify-evidence", str(document), "--json")
    assert true.returncode == 0, true.stderr
    assert json.loads(true.stdout)["customers"] == 5
    original = document.read_bytes()
    document.write_bytes(original.replace(b"breached", b"isolated"))
    false = pushcert(directory, "isolation", "verify-evidence", str(document))
    assert false.returncode == 3
    assert "evidence_signature_wrong" in false.stderr
    # Signed by the right key, and still not true: a verdict that the answers do not allow.
    key = ensure_evidence_key(fleet.embedded.config)
    signature = document.with_name(document.name + ".sig")
    signature.write_bytes(key.sign(document.read_bytes()))
    false = pushcert(directory, "isolation", "verify-evidence", str(document))
    assert false.returncode == 3
    assert fleet.made.breached[0] in false.stderr
    for other in (b"[]", b"{}", b"no json"):
        document.write_bytes(other)
        signature.write_bytes(key.sign(other))
        false = pushcert(directory, "isolation", "verify-evidence", str(document))
        assert (false.returncode, "not_a_run_document" in false.stderr) == (3, True)


class NoRequests(HTMLParser):
    """Collects what would be fetched."""

    def __init__(self) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.fetched += [f"{n}={v}" for n, v in attrs if n in ("src", "href")]


def test_the_report_in_all_its_forms(swept: tuple[Any, Path]) -> None:
    fleet, _ = swept
    directory = fleet.made.directory
    table = pushcert(directory, "isolation", "report").stdout
    assert len(table.splitlines()) == 6
    assert max(map(len, table.splitlines())) <= 80
    rows = json.loads(pushcert(directory, "isolation", "report", "--json").stdout)
    assert {row["verdict"] for row in rows} == {"isolated", "breached"}
    only = pushcert(directory, "isolation", "report", "--json", "--verdict", "breached")
    assert [row["slug"] for row in json.loads(only.stdout)] == list(fleet.made.breached)
    lines = list(
        csv.DictReader(
            io.StringIO(pushcert(directory, "isolation", "report", "--format", "csv").stdout)
        )
    )
    assert {line["own_answered"] for line in lines} == {"200"}
    assert sorted(line["foreign_token_answered"] for line in lines)[0] == "200"
    page = pushcert(directory, "isolation", "report", "--format", "html").stdout
    parser = NoRequests()
    parser.feed(page)
    assert parser.fetched == []
    assert parser.tags.count("tr") == 6
    assert "script" not in parser.tags
    listed = json.loads(pushcert(directory, "isolation", "runs", "--json").stdout)
    assert [row["verdicts"]["breached"] for row in listed] == [1]
    assert pushcert(directory, "isolation", "document", "nobody").returncode == 3
    since = pushcert(directory, "isolation", "report", "--since", "tomorrow")
    assert (since.returncode, "since_malformed" in since.stderr) == (3, True)


@pytest.mark.parametrize(
    "key", [rsa.generate_private_key(65537, 2048), ec.generate_private_key(ec.SECP256R1())]
)
def test_keys_of_the_vendors_own_choosing(key: Any, tmp_path: Path) -> None:
    if OPENSSL is None:
        pytest.skip("openssl is not installed; it checks the signature")
    path = tmp_path / "own.pem"
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    loaded = load_evidence_key(path, None)
    assert isinstance(loaded, EvidenceKey)
    (tmp_path / "f").write_bytes(b"evidence")
    (tmp_path / "f.sig").write_bytes(loaded.sign(b"evidence"))
    (tmp_path / "pub.pem").write_bytes(loaded.public_pem)
    command = "dgst -sha256 -verify pub.pem -signature f.sig f"
    checked = subprocess.run(
        [OPENSSL, *command.split()], cwd=tmp_path, capture_output=True, text=True
    )
    assert "Verified OK" in checked.stdout
    verify_signature(loaded.public_pem, loaded.sign(b"x"), b"x")
    with pytest.raises(Refused):
        verify_signature(loaded.public_pem, loaded.sign(b"x"), b"y")


def test_a_key_that_will_not_do_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    with pytest.raises(Refused) as refused:
        load_evidence_key(path, None)
    assert refused.value.codes == ("evidence_key_missing",)
    path.write_bytes(b"nothing")
    with pytest.raises(Refused) as refused:
        load_evidence_key(path, None)
    assert refused.value.codes == ("evidence_key_unreadable",)
    weak = rsa.generate_private_key(65537, 1024)  # noqa: S505  (that is the point)
    path.write_bytes(weak.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    with pytest.raises(Refused) as refused:
        load_evidence_key(path, None)
    assert refused.value.codes == ("evidence_key_unsuitable",)
