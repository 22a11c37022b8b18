"""The rehearsal itself: it passes, it repeats itself, and it would notice if it should not."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from sqlmodel import col, select

from lifecycle.pki.keys import key_to_pem
from lifecycle.rehearsal.disclosure import Secret, forms, search_bytes, search_files
from lifecycle.rehearsal.embedded_stage import EmbeddedBoundary
from lifecycle.rehearsal.stage import Stage
from lifecycle.rehearsal.timeline import Line
from lifecycle.rehearsal.verdict import disclosures, failures, totals
from lifecycle.rehearsal.year import Year
from lifecycle.vendor.models import Certificate, Renewal


@pytest.fixture(scope="module")
def year(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Year]:
    """A full year of the default length, with everything staged."""
    with Stage(tmp_path_factory.mktemp("year") / "vendor", seed=3).open() as stage:
        played = Year(stage, customers=6, days=400)
        played.play()
        yield played


def test_the_year_passes_and_everything_staged_was_caught(year: Year) -> None:
    assert list(failures(year)) == []
    assert year.seen.staged == year.seen.caught
    assert {str(act) for act in year.seen.staged} == {
        "breach",
        "breach healed",
        "creates a certificate instead of renewing",
        "outage",
        "renews with another customer's request",
        "signer lapsed",
        "upload during an outage",
        "uploads another customer's certificate",
        "uploads last year's file",
        "worker killed",
    }
    sums = totals(year)
    assert sums.renewals == 13
    assert sums.pushes > 1000
    assert sums.refusals >= 4


def test_no_key_and_no_token_of_an_instance_is_on_the_vendors_side(year: Year) -> None:
    assert list(disclosures(year.stage)) == []


@pytest.mark.parametrize("form", ["PEM", "DER", "Base64", "hex", "inside JSON"])
def test_a_planted_key_is_found_by_the_same_search(year: Year, form: str) -> None:
    with year.stage.embedded.vault("acme") as vault:
        key = vault.private_key(vault.require_active())
    der = key.private_bytes(Encoding.DER, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    pem = key_to_pem(key, None)
    planted = {
        "PEM": pem,
        "DER": b"log line " + der,
        "Base64": base64.b64encode(b"x" + der),
        "hex": der.hex().encode(),
        "inside JSON": b'{"key": "' + pem.replace(b"\n", b"\\n") + b'"}',
    }[form]
    file = year.stage.directory / "vendor.log"
    file.write_bytes(planted)
    try:
        found = list(disclosures(year.stage))
    finally:
        file.unlink()
    assert found, form
    assert all("acme" in line for line in found)


@pytest.mark.parametrize("where", ["table", "WAL", "backup"])
def test_a_planted_token_is_found_in_the_database_its_wal_and_a_backup(
    year: Year, where: str
) -> None:
    token = year.stage.lab.tokens[0]
    database = year.stage.embedded.database
    backup = year.stage.directory / "backup.sqlite"
    with database.transaction() as session:
        renewal = session.exec(select(Renewal).order_by(col(Renewal.id))).first()
        assert renewal is not None
        before, renewal.blocked_message = renewal.blocked_message, token.hex()
        session.add(renewal)
    try:
        if where == "table":
            with database.engine.connect() as connection:
                connection.exec_driver_sql("ROLLBACK")
                connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
        if where == "backup":
            with database.engine.connect() as connection:
                connection.exec_driver_sql("ROLLBACK")
                connection.exec_driver_sql(f"VACUUM INTO '{backup}'")
            assert search_files([backup], [Secret("token", token)])
        assert list(disclosures(year.stage))
    finally:
        backup.unlink(missing_ok=True)
        with database.transaction() as session:
            renewal.blocked_message = before
            session.add(renewal)
        with database.engine.connect() as connection:
            connection.exec_driver_sql("ROLLBACK")
            connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
            connection.exec_driver_sql("VACUUM")
            connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    assert list(disclosures(year.stage)) == []


def test_what_is_searched_is_everything_but_the_vaults_and_the_signing_key(year: Year) -> None:
    boundary = year.stage.deployment.boundary
    assert isinstance(boundary, EmbeddedBoundary)
    names = {path.name for path in boundary.vendors_files()}
    assert {"vendor.sqlite", "config.toml"} <= names
    assert names.isdisjoint({"instances", "signer"})
    secrets = boundary.customers_secrets()
    assert len(secrets) > 6
    assert all(secret.value.hex() not in repr(secret) for secret in secrets)


@pytest.mark.parametrize("length", [16, 31, 32, 33, 128])
@pytest.mark.parametrize("offset", range(4))
def test_base64_is_found_at_any_offset(length: int, offset: int) -> None:
    secret = bytes(range(length))
    around = base64.encodebytes(b"y" * offset + secret + b"z" * 50)
    assert search_bytes("here", around, [Secret("s", secret)])
    assert not search_bytes("here", base64.encodebytes(b"y" * 200), [Secret("s", secret)])
    assert len({needle for _, needle in forms(secret)}) >= 5


def test_the_same_seed_gives_the_same_timeline(tmp_path: Path) -> None:
    def timeline(name: str, seed: int) -> list[Line]:
        with Stage(tmp_path / name, seed=seed).open() as stage:
            played = Year(stage, customers=2, days=120)
            played.play()
            assert list(failures(played)) == []
            return played.timeline.lines

    first = timeline("first", 5)
    assert first == timeline("again", 5)
    assert len(first) > 20


def test_a_quiet_year_has_no_mishaps(tmp_path: Path) -> None:
    with Stage(tmp_path / "quiet", seed=1).open() as stage:
        played = Year(stage, customers=1, days=370, quiet=True)
        played.play()
        assert list(failures(played)) == []
        assert not played.seen.staged
        with stage.embedded.database.reading() as session:
            states = [row.state for row in session.exec(select(Certificate))]
    assert sorted(states) == ["active", "active", "superseded", "superseded"]


def test_a_year_in_which_something_is_wrong_fails(year: Year) -> None:
    """The verdict is no formality: a changed topic, and a mail too many, are named."""
    admin = next(iter(year.admins.values()))
    topic, admin.first_topic = admin.first_topic, "com.apple.mgmt.External.another"
    year.seen.mails.append(year.seen.mails[0])
    try:
        wrong = list(failures(year))
    finally:
        admin.first_topic = topic
        year.seen.mails.pop()
    assert f"the topic of {admin.player.slug} has changed" in wrong
    assert any("came 2 times" in line for line in wrong)
