"""Push certificates: every form that is taken, and everything that is said about a wrong one."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7
from hypothesis import given, settings
from hypothesis import strategies as st

from lifecycle.errors import Refused, Severity
from lifecycle.lab.authority import Authority
from lifecycle.lab.clock import LabClock
from lifecycle.pki.certificates import parse_certificates
from lifecycle.pki.chain import TrustStore
from lifecycle.pki.inspection import inspect
from lifecycle.pki.keys import generate_key, key_to_pem
from lifecycle.pki.push_certificate import Expected, PushCertificate, check_push_certificate
from lifecycle.pki.revocation import build_ocsp_request, read_ocsp_response
from lifecycle.pki.signing_certificate import check_signing_certificate
from lifecycle.pki.topic import Topic
from lifecycle.pki.upload import read_upload

VECTORS = Path(__file__).resolve().parents[1] / "vectors"
FILE = VECTORS / "MDM_ Example MDM_Certificate.pem"
TOPIC = "com.apple.mgmt.External.0f3a7f7e-6f5e-4d8a-9b1f-2c6a3e5d7b90"
NOW = datetime(2026, 12, 1, tzinfo=UTC)
OTHER_TOPIC = Topic("com.apple.mgmt.External.another")


@pytest.fixture(scope="module")
def trust() -> TrustStore:
    return TrustStore.of(parse_certificates((VECTORS / "chain.pem").read_bytes())).with_extra(
        parse_certificates((VECTORS / "aai.pem").read_bytes())
    )


@pytest.fixture(scope="module")
def certificate() -> PushCertificate:
    return read_upload(FILE.read_bytes()).certificate


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority(LabClock(NOW), seed=1, ocsp_url="http://127.0.0.1:9/ocsp")


def pem() -> bytes:
    return FILE.read_bytes()


def der() -> bytes:
    return x509.load_pem_x509_certificate(pem()).public_bytes(Encoding.DER)


def chain() -> list[x509.Certificate]:
    return [
        x509.load_pem_x509_certificate((VECTORS / f).read_bytes()) for f in ("aai.pem", "root.pem")
    ]


FORMS: dict[str, Callable[[], bytes]] = {
    "PEM": pem,
    "DER": der,
    "CRLF": lambda: pem().replace(b"\n", b"\r\n"),
    "BOM": lambda: b"\xef\xbb\xbf" + pem(),
    "UTF-16": lambda: pem().decode().encode("utf-16"),
    "leading text": lambda: b"Bag Attributes\n    friendlyName: MDM\n" + pem(),
    "with the chain": lambda: pem() + b"".join(c.public_bytes(Encoding.PEM) for c in chain()),
    "chain first": lambda: b"".join(c.public_bytes(Encoding.PEM) for c in chain()) + pem(),
    "twice": lambda: pem() + pem(),
    "PKCS#7, PEM": lambda: pkcs7.serialize_certificates(
        [x509.load_pem_x509_certificate(pem()), *chain()], Encoding.PEM
    ),
    "PKCS#7, DER": lambda: pkcs7.serialize_certificates(
        [x509.load_pem_x509_certificate(pem())], Encoding.DER
    ),
    "key pasted in": lambda: (VECTORS / "customer.key").read_bytes() + pem(),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_that_customers_have_is_taken(form: str, trust: TrustStore) -> None:
    upload = read_upload(FORMS[form]())
    assert upload.certificate.topic == TOPIC
    assert upload.certificate.der == der()
    assert check_push_certificate(upload.certificate, Expected(), trust, at=NOW) == ()


def test_a_pasted_key_is_told_of_and_does_not_show() -> None:
    upload = read_upload(FORMS["key pasted in"]())
    (note,) = upload.findings
    assert (note.code, note.severity) == ("key_pasted", Severity.NOTE)
    assert "PRIVATE" not in repr(upload)
    assert "PRIVATE" not in upload.certificate.pem


def test_particulars_are_those_that_openssl_reads(certificate: PushCertificate) -> None:
    def openssl(*what: str) -> str:
        done = subprocess.run(
            ["openssl", "x509", "-in", str(FILE), "-noout", *what],
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout.strip().partition("=")[2].replace(":", "")

    assert certificate.serial == openssl("-serial")
    assert certificate.fingerprint == openssl("-fingerprint", "-sha256").lower()
    assert certificate.common_name == "APSP:0f3a7f7e-6f5e-4d8a-9b1f-2c6a3e5d7b90"
    assert PushCertificate.from_der(certificate.der) == certificate
    assert certificate.ocsp_url is None


def codes(
    certificate: PushCertificate, expected: Expected, trust: TrustStore, at: datetime
) -> set[str]:
    return {f.code for f in check_push_certificate(certificate, expected, trust, at=at)}


def test_all_findings_come_at_once(certificate: PushCertificate, authority: Authority) -> None:
    """A file can be wrong in five ways; the person learns of all of them."""
    expected = Expected(frozenset({certificate.fingerprint}), OTHER_TOPIC)
    found = check_push_certificate(
        certificate, expected, authority.trust, at=certificate.not_after + timedelta(days=1)
    )
    assert {f.code for f in found} == {
        "certificate_expired",
        "key_mismatch",
        "topic_changed",
        "chain_certificate_missing",
    }
    assert all(f.remedy and f.refuses for f in found)


@pytest.mark.parametrize(
    ("seconds", "wrong"),
    [(-1, set()), (0, {"certificate_expired"})],
)
def test_a_certificate_ends_at_the_very_second(
    certificate: PushCertificate, trust: TrustStore, seconds: int, wrong: set[str]
) -> None:
    at = certificate.not_after + timedelta(seconds=seconds)
    found = codes(certificate, Expected(), trust, at)
    assert {c for c in found if c == "certificate_expired"} == wrong


def test_a_new_topic_is_refused_and_names_the_row(authority: Authority) -> None:
    key = generate_key()
    old = PushCertificate.from_certificate(
        authority.issue_push_certificate(key.public_key(), TOPIC)
    )
    new = PushCertificate.from_certificate(
        authority.issue_push_certificate(key.public_key(), OTHER_TOPIC)
    )
    expected = Expected(frozenset(), old.topic, old)
    (finding,) = check_push_certificate(new, expected, authority.trust, at=NOW)
    assert finding.code == "topic_changed"
    assert old.serial in finding.remedy
    assert old.common_name in finding.remedy
    accepted = Expected(frozenset(), old.topic, old, accept_new_topic=str(new.topic))
    assert check_push_certificate(new, accepted, authority.trust, at=NOW) == ()
    mistyped = Expected(frozenset(), old.topic, old, accept_new_topic=str(old.topic))
    assert codes(new, mistyped, authority.trust, NOW) == {"topic_changed"}


def test_the_active_certificate_again_is_told_as_that_alone(
    certificate: PushCertificate, trust: TrustStore
) -> None:
    expected = Expected(frozenset(), certificate.topic, certificate)
    assert codes(certificate, expected, trust, NOW) == {"already_active"}


@settings(max_examples=1500, deadline=None)
@given(st.binary(max_size=400))
def test_inspect_has_an_answer_for_any_bytes(data: bytes) -> None:
    inspect(data, TrustStore.apple(), at=NOW)


REAL = (
    "customer-csr.der",
    "customer-csr.pem",
    "request.b64",
    "request.plist",
    "customer.key",
    FILE.name,
)


@settings(max_examples=1500, deadline=None)
@given(
    name=st.sampled_from(REAL), at=st.floats(0, 0.999), byte=st.integers(0, 255), cut=st.booleans()
)
def test_inspect_and_upload_survive_damaged_files(
    name: str, at: float, byte: int, cut: bool
) -> None:
    data = bytearray((VECTORS / name).read_bytes())
    place = int(len(data) * at)
    data[place] = byte
    damaged = bytes(data[:place] if cut else data)
    found = inspect(damaged, TrustStore.apple(), at=NOW)
    assert not any("PRIVATE" in value for _, value in found.facts)
    with contextlib.suppress(Refused):
        read_upload(damaged)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("customer-csr.pem", "csr"),
        ("customer-csr.der", "csr"),
        (FILE.name, "push_certificate"),
        ("vendor.pem", "signing_certificate"),
        ("request.b64", "push_certificate_request"),
        ("request.plist", "push_certificate_request"),
        ("customer.key", "private_key"),
        ("root.pem", "certificate"),
        ("README.md", "unknown"),
    ],
)
def test_inspect_names_the_kind(name: str, kind: str, trust: TrustStore) -> None:
    found = inspect((VECTORS / name).read_bytes(), trust, at=NOW)
    assert found.kind == kind
    if kind != "unknown":
        assert not [f for f in found.findings if f.refuses], found.findings


def test_inspect_says_what_the_portal_would_refuse(trust: TrustStore) -> None:
    found = inspect((VECTORS / "request.b64").read_bytes(), TrustStore.apple(), at=NOW)
    assert any(f.refuses for f in found.findings)
    key = inspect(key_to_pem(generate_key(), b"secret"), trust, at=NOW)
    assert ("encrypted", "yes") in key.facts


def test_a_signing_certificate_is_told_from_others(
    authority: Authority, certificate: PushCertificate
) -> None:
    key = generate_key()
    good = authority.issue_signing_certificate(key.public_key(), "Example MDM", days=10)

    def wrong(leaf: x509.Certificate, stranger: bool = False, days: int = 0) -> set[str]:
        public = generate_key().public_key() if stranger else None
        at = NOW + timedelta(days=days)
        return {f.code for f in check_signing_certificate(leaf, public, at=at)}

    assert check_signing_certificate(good, key.public_key(), at=NOW) == ()
    assert wrong(good, stranger=True) == {"signing_key_mismatch"}
    assert wrong(good, days=11) == {"signing_certificate_expired"}
    assert wrong(good, days=-1) == {"signing_certificate_not_yet_valid"}
    assert wrong(certificate.certificate) == {
        "signing_certificate_is_push",
        "signing_certificate_name",
    }
    assert wrong(authority.wwdr.certificate) >= {
        "signing_certificate_is_ca",
        "signing_not_allowed",
    }


class TestRevocation:
    """OCSP, asked and answered; openssl reads both."""

    @pytest.fixture
    def issued(self, authority: Authority) -> x509.Certificate:
        return authority.issue_push_certificate(generate_key().public_key(), TOPIC)

    def test_good_then_revoked(self, authority: Authority, issued: x509.Certificate) -> None:
        issuer = authority.aai.certificate
        question = build_ocsp_request(issued, issuer)
        good = read_ocsp_response(authority.ocsp(question), issued, issuer, at=NOW)
        assert (good.revoked, good.known, good.revoked_at) == (False, True, None)
        authority.revoke(issued.serial_number)
        bad = read_ocsp_response(authority.ocsp(question), issued, issuer, at=NOW)
        assert (bad.revoked, bad.revoked_at) == (True, NOW)
        assert PushCertificate.from_certificate(issued).ocsp_url == authority.ocsp_url

    def test_openssl_reads_the_question(
        self, authority: Authority, issued: x509.Certificate, tmp_path: Path
    ) -> None:
        file = tmp_path / "question.der"
        file.write_bytes(build_ocsp_request(issued, authority.aai.certificate))
        done = subprocess.run(
            ["openssl", "ocsp", "-reqin", str(file), "-req_text"],
            capture_output=True,
            text=True,
            check=False,
        )
        assert f"{issued.serial_number:X}" in done.stdout

    @pytest.mark.parametrize(
        ("fault", "code"),
        [
            ("garbage", "ocsp_unreadable"),
            ("another certificate", "ocsp_other_certificate"),
            ("another issuer", "ocsp_unsuccessful"),
            ("forged", "ocsp_signature_invalid"),
            ("stale", "ocsp_out_of_date"),
            ("from the future", "ocsp_out_of_date"),
        ],
    )
    def test_an_answer_that_proves_nothing_is_refused(
        self, authority: Authority, issued: x509.Certificate, fault: str, code: str
    ) -> None:
        issuer, at = authority.aai.certificate, NOW
        answer = authority.ocsp(build_ocsp_request(issued, issuer))
        match fault:
            case "garbage":
                answer = b"<html>"
            case "another certificate":
                other = authority.issue_push_certificate(generate_key().public_key(), TOPIC)
                answer = authority.ocsp(build_ocsp_request(other, issuer))
            case "another issuer":
                stranger = Authority(LabClock(NOW), seed=2)
                answer = stranger.ocsp(build_ocsp_request(issued, issuer))
            case "forged":
                answer = answer[:-4] + bytes(4)
            case "stale":
                at = NOW + timedelta(days=2)
            case "from the future":
                at = NOW - timedelta(hours=1)
        with pytest.raises(Refused) as refused:
            read_ocsp_response(answer, issued, issuer, at=at)
        assert refused.value.codes == (code,)
