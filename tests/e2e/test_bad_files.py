"""Bad files through the real command line: exit code 3, a remedy, and not one byte changed."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from cli.main import app
from lifecycle.clock import SystemClock
from lifecycle.config import load_config
from lifecycle.embedded import Embedded
from lifecycle.lab.serve import Lab

HERE = Path(__file__).parent


def load_file(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


UPLOADS = load_file(HERE / "bad_uploads.py")
CSRS = load_file(HERE.parent / "pki" / "bad_csrs.py")


@dataclass
class Vendor:
    """A deployment beside a lab, both on the host's clock, driven by the command line."""

    directory: Path
    lab: Lab

    def run(self, *arguments: str, stdin: bytes | None = None) -> Result:
        """Runs ``pushcert`` with this deployment's configuration."""
        config = str(self.directory / "config.toml")
        return CliRunner().invoke(app, ["--config", config, *arguments], input=stdin)

    def done(self, *arguments: str) -> str:
        """Runs a command that must succeed; gives what it printed."""
        result = self.run(*arguments)
        assert result.exit_code == 0, result.output
        return result.stdout

    def fingerprints(self) -> dict[str, str]:
        """Every file of the deployment, by SHA-256."""
        return {
            str(path.relative_to(self.directory)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(self.directory.rglob("*"))
            if path.is_file()
        }


def account(slug: str) -> str:
    return f"push@{slug}.example"


@pytest.fixture(scope="module")
def vendor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vendor]:
    base = tmp_path_factory.mktemp("vendor")
    with Lab(base / "lab") as lab:
        about = lab.describe()
        directory = base / "vendor"
        result = CliRunner().invoke(app, ["init", str(directory)])
        assert result.exit_code == 0, result.output
        (directory / "config.toml").write_text(
            f'[trust]\nextra = ["{about["trust_file"]}"]\n'
            f'[apns]\nhost = "127.0.0.1"\nport = {about["apns_port"]}\n'
            f'ca_file = "{about["ca_file"]}"\n'
        )
        vendor = Vendor(directory, lab)
        vendor.done(
            "signer",
            "import",
            "--certificate",
            about["signing_certificate"],
            "--key",
            about["signing_key"],
        )
        for slug in ("acme", "birch"):
            vendor.done(
                "customer",
                "add",
                slug,
                "--name",
                slug.title(),
                "--email",
                f"it@{slug}.example",
                "--apple-account",
                account(slug),
            )
            vendor.done("renew", slug)
            first = base / f"{slug}-first.pem"
            first.write_bytes(
                lab.portal.create(account(slug), vendor.done("request", slug).encode())
            )
            vendor.done("upload", slug, str(first))
            vendor.done("renew", slug)
        yield vendor


@pytest.fixture(scope="module")
def cases(vendor: Vendor) -> dict[str, tuple[bytes, str]]:
    with Embedded(load_config(vendor.directory / "config.toml"), SystemClock()) as embedded:
        work = {slug: embedded.desk(slug).work().request for slug in ("acme", "birch")}
        with embedded.vault("acme") as acme, embedded.vault("birch") as birch:
            active, other = acme.require_active(), birch.require_active()
    assert work["acme"] is not None
    assert work["birch"] is not None
    request = work["acme"].request.encode()
    from lifecycle.pki.request import decode_request

    bench = UPLOADS.Bench(
        lab=vendor.lab,
        request=request,
        other_request=work["birch"].request.encode(),
        active=active.certificate.pem.encode(),
        other_active=other.certificate.pem.encode(),
        csr=decode_request(request).csr_der,
        signing_pem=Path(vendor.lab.describe()["signing_certificate"]).read_bytes(),
        account=account("acme"),
        serial=active.certificate.serial,
    )
    return {bad.name: (bad.data, bad.code) for bad in UPLOADS.bad_uploads(bench)}


UPLOAD_NAMES = (
    "empty",
    "white space",
    "NUL bytes",
    "web page saved as .pem",
    "key instead of certificate",
    "public key",
    "CSR, DER",
    "CSR, PEM",
    "request instead of certificate",
    "request's property list",
    "MDM signing certificate",
    "CA certificate",
    "two leaves",
    "truncated DER",
    "truncated PEM",
    "something after the DER",
    "50 MB",
    "JPEG",
    "JSON",
    "UTF-16 text",
    "PKCS#7 with CAs alone",
    "PKCS#12",
    "PEM around nonsense",
    "PEM whose Base64 is broken",
    "created instead of renewed",
    "made from another customer's request",
    "last year's file: the active one",
    "another customer's certificate",
    "expired",
    "not yet valid",
    "older than the active one",
    "for another purpose",
    "without a purpose",
    "for an app, not for MDM",
    "without a topic",
    "of a foreign issuer",
    "of an issuer that only has the right name",
    "signed by itself",
    "with an EC key",
    "with a key of 1024 bits",
    "with a broken signature",
)


def test_every_case_is_listed_here(cases: dict[str, tuple[bytes, str]]) -> None:
    assert tuple(cases) == UPLOAD_NAMES


@pytest.mark.parametrize("name", UPLOAD_NAMES)
def test_a_bad_upload_is_refused_and_changes_nothing(
    vendor: Vendor, cases: dict[str, tuple[bytes, str]], name: str, tmp_path: Path
) -> None:
    data, code = cases[name]
    file = tmp_path / "MDM_ Lab MDM_Certificate.pem"
    file.write_bytes(data)
    before = vendor.fingerprints()
    result = vendor.run("upload", "acme", str(file))
    assert result.exit_code == 3, result.output
    assert result.stdout == ""
    assert f"[{code}]" in result.stderr if code else "[" in result.stderr
    for line in result.stderr.splitlines():
        assert line.startswith("pushcert: ")
        assert line.count(". ") >= 1, f"no remedy: {line}"
    assert "Traceback" not in result.stderr
    assert vendor.fingerprints() == before


def test_created_instead_of_renewed_names_the_row_to_press_renew_beside(
    vendor: Vendor, cases: dict[str, tuple[bytes, str]], tmp_path: Path
) -> None:
    file = tmp_path / "created.pem"
    file.write_bytes(cases["created instead of renewed"][0])
    result = vendor.run("upload", "acme", str(file))
    row = vendor.lab.portal.certificates(account("acme"))[0]
    assert row.serial in result.stderr
    assert row.common_name in result.stderr
    assert "not Create a Certificate" in result.stderr


def test_another_customers_certificate_is_refused_with_both_names_and_all_findings(
    vendor: Vendor, tmp_path: Path
) -> None:
    """Only the vendor's plane can know whose it is, so it must be asked, too."""
    other = vendor.lab.portal.certificates(account("birch"))[0]
    with Embedded(load_config(vendor.directory / "config.toml"), SystemClock()) as embedded:
        from lifecycle.errors import Refused
        from lifecycle.wire.messages import CertificateSubmission

        with embedded.vault("birch") as birch:
            pem = birch.require_active().certificate.pem
        with pytest.raises(Refused) as refused:
            embedded.desk("acme").submit_certificate(CertificateSubmission(certificate=pem))
    assert other.topic == birch_topic(pem)
    codes = refused.value.codes
    assert {
        "topic_of_another_customer",
        "serial_of_another_customer",
        "key_of_another_customer",
    } <= set(codes)
    assert "'birch'" in str(refused.value)
    assert "'acme'" in str(refused.value)


def test_the_command_line_tells_whose_certificate_it_is(
    vendor: Vendor, cases: dict[str, tuple[bytes, str]], tmp_path: Path
) -> None:
    """Refused here already, and still told what only the vendor's plane can know."""
    file = tmp_path / "other.pem"
    file.write_bytes(cases["another customer's certificate"][0])
    result = vendor.run("upload", "acme", str(file))
    assert result.exit_code == 3
    for code in ("key_mismatch", "topic_changed", "topic_of_another_customer"):
        assert f"[{code}]" in result.stderr
    assert "'birch'" in result.stderr


def birch_topic(pem: str) -> str:
    from lifecycle.pki.upload import read_upload

    return read_upload(pem.encode()).certificate.topic


@pytest.mark.parametrize("bad", CSRS.bad_csrs(), ids=lambda bad: bad.name)
def test_a_bad_csr_is_refused_and_changes_nothing(vendor: Vendor, bad: Any, tmp_path: Path) -> None:
    file = tmp_path / "customer.csr"
    file.write_bytes(bad.data)
    before = vendor.fingerprints()
    out = tmp_path / "request.b64"
    result = vendor.run("sign", str(file), "--out", str(out))
    assert result.exit_code == 3, result.output
    assert not out.exists()
    for line in result.stderr.splitlines():
        assert line.startswith("pushcert: ")
        assert line.count(". ") >= 1, f"no remedy: {line}"
    assert vendor.fingerprints() == before


def test_there_are_as_many_cases_as_promised() -> None:
    assert len(UPLOAD_NAMES) >= 25
    assert len(CSRS.bad_csrs()) >= 15


def test_the_right_certificate_is_taken_in_at_last(vendor: Vendor, tmp_path: Path) -> None:
    """Runs last: it ends the renewal that the cases above were tried on."""
    row = vendor.lab.portal.certificates(account("acme"))[0]
    request = vendor.done("request", "acme").encode()
    file = tmp_path / "MDM_ Lab MDM_Certificate.pem"
    file.write_bytes(vendor.lab.portal.renew(account("acme"), request, row.serial))
    out = vendor.done("upload", "acme", str(file))
    assert "is active until" in out
