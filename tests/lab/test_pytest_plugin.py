"""The lab's fixtures, as another product meets them: pytest finds them by itself."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from cryptography import x509

from lifecycle.errors import Refused
from lifecycle.lab import (
    ApnsGateway,
    Authority,
    Issued,
    IssuePushCertificate,
    LabClock,
    Portal,
    PortalClient,
)
from lifecycle.pki import (
    KeySigner,
    PushCertificate,
    build_csr,
    complete_chain,
    generate_key,
    sign_request,
)

ACCOUNT = "push@acme.example"


@pytest.fixture
def request_file(mdm_signing_certificate: Issued, lab_authority: Authority) -> bytes:
    """A push certificate request as another product would sign it."""
    chain, _ = complete_chain(
        mdm_signing_certificate.certificate, lab_authority.trust, at=lab_authority.clock.now()
    )
    assert chain is not None
    csr = build_csr(generate_key(), email="it@acme.example", common_name="Acme")
    return sign_request(csr, KeySigner(mdm_signing_certificate.key), chain).encode().encode()


def test_the_portal_takes_what_the_labs_signing_certificate_signed_and_renew_keeps_the_topic(
    push_portal: Portal, request_file: bytes
) -> None:
    push_portal.create(ACCOUNT, request_file)
    (row,) = push_portal.certificates(ACCOUNT)
    pem = push_portal.renew(ACCOUNT, request_file, row.serial)
    renewed = PushCertificate.from_certificate(x509.load_pem_x509_certificate(pem))
    assert renewed.topic == row.topic


def test_the_portal_refuses_what_a_lapsed_signing_certificate_signed(
    push_portal: Portal, request_file: bytes, lab_clock: LabClock
) -> None:
    lab_clock.advance(timedelta(days=366))
    with pytest.raises(Refused) as refused:
        push_portal.create(ACCOUNT, request_file)
    assert "chain_certificate_expired" in refused.value.codes


def test_the_portal_over_http_is_the_same_portal(
    push_portal: Portal, push_portal_url: str, request_file: bytes
) -> None:
    PortalClient(push_portal_url).create(ACCOUNT, request_file)
    assert len(push_portal.certificates(ACCOUNT)) == 1
    response = httpx.get(f"{push_portal_url}/clock")
    assert response.status_code == 200


def test_a_certificate_names_the_labs_ocsp_responder_once_that_serves(
    push_certificate: IssuePushCertificate, push_portal_url: str
) -> None:
    read = PushCertificate.from_certificate(push_certificate().certificate)
    assert read.ocsp_url == f"{push_portal_url}/ocsp"


def test_push_certificates_are_dated_by_the_labs_clock_and_have_topics_and_keys_of_their_own(
    push_certificate: IssuePushCertificate, lab_clock: LabClock, tmp_path: Path
) -> None:
    lab_clock.set(datetime(2041, 3, 1, tzinfo=UTC))
    one, other = push_certificate(days=10), push_certificate()
    assert one.certificate.not_valid_after_utc == datetime(2041, 3, 11, tzinfo=UTC)
    assert one.topic != other.topic
    assert one.key_pem != other.key_pem
    assert push_certificate(one.topic).topic == one.topic
    assert one.chain_pem.count(b"BEGIN CERTIFICATE") == 3
    file = one.write(tmp_path / "push.pem")
    assert file.stat().st_mode & 0o777 == 0o600
    assert "PRIVATE" not in repr(one)


def test_each_test_has_a_gateway_of_its_own_and_the_cas_of_the_session(
    apns_gateway: ApnsGateway, apns_ca_file: Path, lab_authority: Authority
) -> None:
    assert not apns_gateway.counts
    assert apns_gateway.port
    root = x509.load_pem_x509_certificate(apns_ca_file.read_bytes())
    assert root == lab_authority.root.certificate


# What follows starts pytest anew, as another product's tests do.


def pytest_in(
    folder: Path, *arguments: str, **environment: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments],
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def product(tmp_path: Path) -> Path:
    """Another product's tests: one uses the lab on a day of its own, one does not."""
    folder = tmp_path / "product"
    folder.mkdir()
    (folder / "conftest.py").write_text(
        textwrap.dedent("""
            from datetime import UTC, datetime

            import pytest
            from lifecycle.lab import LabClock

            @pytest.fixture
            def lab_clock():
                return LabClock(datetime(2031, 5, 1, tzinfo=UTC))
        """)
    )
    (folder / "test_product.py").write_text(
        textwrap.dedent("""
            import sys

            def test_without_the_lab():
                heavy = ("cryptography", "OpenSSL", "h2", "aiosmtpd", "lifecycle.lab.gateway")
                assert [name for name in heavy if name in sys.modules] == []

            def test_with_the_lab(push_certificate):
                issued = push_certificate(days=1)
                assert issued.certificate.not_valid_after_utc.isoformat()[:10] == "2031-05-02"
        """)
    )
    return folder


def test_another_products_tests_use_the_lab_and_override_its_fixtures(product: Path) -> None:
    # Only pytest's plugins that are named: others load what they like, and ours is looked at.
    done = pytest_in(
        product, "-p", "lifecycle.lab.pytest_plugin", PYTEST_DISABLE_PLUGIN_AUTOLOAD="1"
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 passed" in done.stdout


def test_pytest_finds_the_fixtures_by_the_entry_point(product: Path) -> None:
    done = pytest_in(product, "-k", "with_the_lab")
    assert "1 passed" in done.stdout, done.stdout + done.stderr
    off = pytest_in(product, "-k", "with_the_lab", "-p", "no:pushcert")
    assert "fixture 'push_certificate' not found" in off.stdout


def test_where_the_extra_is_missing_other_tests_run_and_ours_say_what_to_install(
    product: Path, tmp_path: Path
) -> None:
    (product / "conftest.py").unlink()
    missing = tmp_path / "missing"
    missing.mkdir()
    for library in ("h2", "aiosmtpd"):
        (missing / f"{library}.py").write_text(
            f'raise ModuleNotFoundError("No module named {library}", name="{library}")\n'
        )
    done = pytest_in(
        product,
        "-p",
        "lifecycle.lab.pytest_plugin",
        PYTHONPATH=str(missing),
        PYTEST_DISABLE_PLUGIN_AUTOLOAD="1",
    )
    assert done.returncode == 1
    assert "1 passed, 1 error" in done.stdout, done.stdout
    assert "pip install 'pushcert[lab]'" in done.stdout
