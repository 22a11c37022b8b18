"""Certificates, CRL and OCSP answers, as openssl reads them."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp

from lifecycle.lab.authority import Authority, LabCa
from lifecycle.pki.revocation import build_ocsp_request, read_ocsp_response

ACME = "com.apple.mgmt.External.11111111-2222-4333-8444-555555555555"


def openssl(*arguments: str | Path) -> str:
    done = subprocess.run(["openssl", *arguments], capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


@pytest.fixture
def leaf(world: Any, key: RSAPrivateKey) -> x509.Certificate:
    certificate = world.authority.issue_push_certificate(key.public_key(), ACME)
    assert isinstance(certificate, x509.Certificate)
    return certificate


def test_the_cas_hold_on_any_hosts_clock(cas: tuple[LabCa, LabCa, LabCa]) -> None:
    for ca in cas:
        assert ca.certificate.not_valid_before_utc.year == 2000
        assert ca.certificate.not_valid_after_utc.year == 2099
        assert ca.key.key_size == 2048
        assert "lab" in ca.certificate.subject.rfc4514_string()


def test_openssl_builds_the_path_from_both_kinds_of_leaf(
    world: Any, key: RSAPrivateKey, leaf: x509.Certificate, tmp_path: Path
) -> None:
    signing = world.authority.issue_signing_certificate(key.public_key(), "Example MDM")
    assert "CN=MDM Vendor: Example MDM" in signing.subject.rfc4514_string()
    (tmp_path / "cas.pem").write_text(world.authority.trust_pem())
    for name, certificate in (("push", leaf), ("signing", signing)):
        path = tmp_path / f"{name}.pem"
        path.write_bytes(certificate.public_bytes(Encoding.PEM))
        at = str(int(world.clock.now().timestamp()) + 1)
        said = openssl(
            "verify", "-x509_strict", "-attime", at, "-CAfile", tmp_path / "cas.pem", path
        )
        assert said.endswith("OK\n"), said


def test_the_crl_names_what_was_revoked_and_openssl_heeds_it(
    world: Any, leaf: x509.Certificate, tmp_path: Path
) -> None:
    world.authority.revoke(leaf.serial_number)
    (tmp_path / "cas.pem").write_text(world.authority.trust_pem())
    (tmp_path / "crl.pem").write_bytes(world.authority.crl().public_bytes(Encoding.PEM))
    (tmp_path / "leaf.pem").write_bytes(leaf.public_bytes(Encoding.PEM))
    at = str(int(world.clock.now().timestamp()) + 1)
    said = openssl(
        "verify", "-crl_check", "-attime", at, "-CAfile", tmp_path / "cas.pem",
        "-CRLfile", tmp_path / "crl.pem", tmp_path / "leaf.pem",
    )  # fmt: skip
    assert "certificate revoked" in said


def test_ocsp_says_good_then_revoked_since_when(world: Any, leaf: x509.Certificate) -> None:
    issuer = world.authority.aai.certificate
    request = build_ocsp_request(leaf, issuer)

    def status() -> Any:
        return read_ocsp_response(world.authority.ocsp(request), leaf, issuer, at=world.clock.now())

    assert not status().revoked
    at = world.clock.now()
    world.authority.revoke(leaf.serial_number)
    world.clock.advance(timedelta(days=2))
    world.authority.revoke(leaf.serial_number)  # once is enough: the first instant stays
    assert (status().revoked, status().revoked_at) == (True, at)


def test_openssl_trusts_the_ocsp_answer(world: Any, leaf: x509.Certificate, tmp_path: Path) -> None:
    # openssl ocsp knows only the host's clock, so the answer is made for any instant it has.
    world.clock.set(datetime(2001, 1, 1, tzinfo=UTC))
    world.authority.revoke(leaf.serial_number)
    issuer = world.authority.aai.certificate
    (tmp_path / "answer.der").write_bytes(world.authority.ocsp(build_ocsp_request(leaf, issuer)))
    for name, certificate in (("leaf", leaf), ("aai", issuer)):
        (tmp_path / f"{name}.pem").write_bytes(certificate.public_bytes(Encoding.PEM))
    (tmp_path / "cas.pem").write_text(world.authority.trust_pem())
    said = openssl(
        "ocsp", "-respin", tmp_path / "answer.der", "-issuer", tmp_path / "aai.pem",
        "-cert", tmp_path / "leaf.pem", "-CAfile", tmp_path / "cas.pem",
        "-VAfile", tmp_path / "aai.pem", "-validity_period", "10000000000",
    )  # fmt: skip
    assert "Response verify OK" in said
    assert "leaf.pem: revoked" in said


def test_ocsp_about_another_issuer_is_unauthorized_and_rubbish_is_malformed(
    world: Any, leaf: x509.Certificate, foreign_cas: tuple[LabCa, LabCa, LabCa]
) -> None:
    def outcome(request: bytes) -> ocsp.OCSPResponseStatus:
        return ocsp.load_der_ocsp_response(world.authority.ocsp(request)).response_status

    foreign = build_ocsp_request(leaf, foreign_cas[2].certificate)
    assert outcome(foreign) is ocsp.OCSPResponseStatus.UNAUTHORIZED
    assert outcome(b"rubbish") is ocsp.OCSPResponseStatus.MALFORMED_REQUEST


def test_push_certificates_name_the_responder_once_there_is_one(
    world: Any, key: RSAPrivateKey, leaf: x509.Certificate
) -> None:
    with pytest.raises(x509.ExtensionNotFound):
        leaf.extensions.get_extension_for_class(x509.AuthorityInformationAccess)
    world.authority.ocsp_url = "http://127.0.0.1:8080/ocsp"
    named = world.authority.issue_push_certificate(key.public_key(), ACME)
    access = named.extensions.get_extension_for_class(x509.AuthorityInformationAccess).value
    assert [d.access_location.value for d in access] == ["http://127.0.0.1:8080/ocsp"]


def test_the_same_seed_gives_the_same_serials_and_another_seed_others(
    world: Any, key: RSAPrivateKey, cas: tuple[LabCa, LabCa, LabCa]
) -> None:
    def serials(seed: int) -> list[int]:
        authority = Authority(world.clock, seed, cas=cas)
        return [
            authority.issue_push_certificate(key.public_key(), ACME).serial_number for _ in range(3)
        ]

    assert serials(1) == serials(1)
    assert not set(serials(1)) & set(serials(2))
