"""Every form that a pair is written in is read by software that is not ours."""

from __future__ import annotations

import base64
import os
import re
import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from lifecycle.errors import Refused
from lifecycle.pki.chain import TrustStore, complete_chain
from lifecycle.pki.keys import generate_key, load_pkcs12, load_private_key
from lifecycle.pki.pair import Form, KeyFormat, Options, Pair, Pkcs12Encryption, render
from lifecycle.pki.pem import pem_blocks
from lifecycle.pki.push_certificate import PushCertificate

VECTORS = Path(__file__).resolve().parents[1] / "vectors"
TOPIC = "com.apple.mgmt.External.5f2c1d3e-7777-4c22-9a33-5d6e7f809107"
PASSPHRASE = b"correct horse"
ENCRYPTIONS = tuple(Pkcs12Encryption)
KEY_FORMATS = tuple(KeyFormat)


@pytest.fixture(scope="module")
def pair() -> Pair:
    """A push certificate by the vectors' intermediate, with its key and what is above it."""
    issuer = x509.load_pem_x509_certificate((VECTORS / "aai.pem").read_bytes())
    issuer_key = load_private_key((VECTORS / "aai.key").read_bytes(), None)
    root = x509.load_pem_x509_certificate((VECTORS / "root.pem").read_bytes())
    key = generate_key()
    name = x509.Name(
        [
            x509.NameAttribute(NameOID.USER_ID, TOPIC),
            x509.NameAttribute(NameOID.COMMON_NAME, "APSP:5f2c1d3e"),
        ]
    )
    leaf = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(issuer.subject)
        .public_key(key.public_key())
        .serial_number(0x5A17)
        .not_valid_before(datetime(2027, 3, 1, tzinfo=UTC))
        .not_valid_after(datetime(2028, 3, 1, tzinfo=UTC))
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
        .sign(issuer_key, hashes.SHA256())
    )
    chain, findings = complete_chain(
        leaf, TrustStore.of([root, issuer]), at=datetime(2027, 6, 1, tzinfo=UTC)
    )
    assert chain is not None, findings
    return Pair(PushCertificate.from_certificate(leaf), key, chain.issuers[:-1])


def run(*words: str, stdin: bytes = b"") -> bytes:
    done = subprocess.run(
        words,
        input=stdin,
        capture_output=True,
        check=False,
        env={**os.environ, "PASS": PASSPHRASE.decode()},
    )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def modulus(pair: Pair) -> str:
    return f"{pair.key.public_key().public_numbers().n:X}"


def test_the_key_is_in_no_repr(pair: Pair) -> None:
    assert "RSA" not in repr(pair)
    assert PASSPHRASE.decode() not in repr(Options(PASSPHRASE))


class TestPem:
    def test_openssl_reads_the_certificate(self, pair: Pair) -> None:
        said = run("openssl", "x509", "-noout", "-subject", stdin=render(pair, Form.CERTIFICATE))
        assert TOPIC in said.decode()

    def test_openssl_verifies_the_chain_from_the_root_up(self, pair: Pair, tmp_path: Path) -> None:
        chain = tmp_path / "chain.pem"
        chain.write_bytes(render(pair, Form.CHAIN))
        (tmp_path / "leaf.pem").write_bytes(render(pair, Form.CERTIFICATE))
        moment = str(int(datetime(2027, 6, 1, tzinfo=UTC).timestamp()))
        said = run(
            *("openssl", "verify", "-attime", moment, "-purpose", "sslclient"),
            *("-CAfile", str(VECTORS / "root.pem"), "-untrusted", str(chain)),
            str(tmp_path / "leaf.pem"),
        )
        assert b"OK" in said
        assert len(pem_blocks(chain.read_bytes())) == 2, "leaf and intermediate, without the root"

    def test_without_a_known_issuer_there_is_no_chain(self, pair: Pair) -> None:
        with pytest.raises(Refused) as refused:
            render(Pair(pair.certificate, pair.key), Form.CHAIN)
        assert refused.value.codes == ("chain_unknown",)

    @pytest.mark.parametrize("key_format", KEY_FORMATS)
    @pytest.mark.parametrize("passphrase", [None, PASSPHRASE])
    def test_openssl_reads_the_key(
        self, pair: Pair, key_format: KeyFormat, passphrase: bytes | None
    ) -> None:
        written = render(pair, Form.KEY, Options(passphrase, key_format))
        said = run(
            *("openssl", "rsa", "-noout", "-modulus", "-passin", "env:PASS"), stdin=written
        ).decode()
        assert modulus(pair) in said
        label = pem_blocks(written)[0].label
        assert (
            label
            == {
                (KeyFormat.PKCS8, None): "PRIVATE KEY",
                (KeyFormat.PKCS8, PASSPHRASE): "ENCRYPTED PRIVATE KEY",
                (KeyFormat.PKCS1, None): "RSA PRIVATE KEY",
                (KeyFormat.PKCS1, PASSPHRASE): "RSA PRIVATE KEY",
            }[key_format, passphrase]
        )
        assert (b"ENCRYPTED" in written) == (passphrase is not None)

    @pytest.mark.parametrize("key_format", KEY_FORMATS)
    def test_openssl_finds_that_certificate_and_key_belong_together(
        self, pair: Pair, key_format: KeyFormat
    ) -> None:
        written = render(pair, Form.PEM, Options(key_format=key_format))
        assert pem_blocks(written)[0].label == "CERTIFICATE"
        of_certificate = run("openssl", "x509", "-noout", "-pubkey", stdin=written)
        of_key = run("openssl", "pkey", "-pubout", stdin=written)
        assert of_certificate == of_key


class TestPkcs12:
    @pytest.fixture(params=ENCRYPTIONS, ids=str)
    def encryption(self, request: pytest.FixtureRequest) -> Pkcs12Encryption:
        found: Pkcs12Encryption = request.param
        return found

    def written(self, pair: Pair, encryption: Pkcs12Encryption, folder: Path) -> Path:
        path = folder / f"{encryption}.p12"
        path.write_bytes(render(pair, Form.P12, Options(PASSPHRASE, encryption=encryption)))
        return path

    def test_without_a_passphrase_it_is_refused(self, pair: Pair) -> None:
        with pytest.raises(Refused) as refused:
            render(pair, Form.P12)
        assert refused.value.codes == ("export_passphrase_missing",)

    def test_openssl_reads_it(
        self, pair: Pair, encryption: Pkcs12Encryption, tmp_path: Path
    ) -> None:
        path = self.written(pair, encryption, tmp_path)
        legacy = ("-legacy",) if encryption is Pkcs12Encryption.LEGACY else ()
        said = run(
            *("openssl", "pkcs12", "-in", str(path), "-passin", "env:PASS", "-nodes"), *legacy
        )
        labels = [block.label for block in pem_blocks(said)]
        assert labels.count("CERTIFICATE") == 2, "the certificate and its issuer"
        assert load_private_key(said, None).public_key() == pair.key.public_key()

    def test_openssl_says_how_it_is_encrypted(
        self, pair: Pair, encryption: Pkcs12Encryption, tmp_path: Path
    ) -> None:
        path = self.written(pair, encryption, tmp_path)
        done = subprocess.run(
            ("openssl", "pkcs12", "-in", str(path), "-passin", "env:PASS", "-info", "-noout"),
            capture_output=True,
            check=True,
            env={**os.environ, "PASS": PASSPHRASE.decode()},
        )
        wanted = {
            Pkcs12Encryption.MODERN: rb"PBES2, PBKDF2, AES-256-CBC.*hmacWithSHA256",
            Pkcs12Encryption.LEGACY: rb"pbeWithSHA1And3-KeyTripleDES-CBC",
        }[encryption]
        assert re.search(wanted, done.stderr), done.stderr

    def test_keytool_reads_it(
        self, pair: Pair, encryption: Pkcs12Encryption, tmp_path: Path
    ) -> None:
        path = self.written(pair, encryption, tmp_path)
        said = run(
            *("keytool", "-list", "-v", "-storetype", "PKCS12", "-keystore", str(path)),
            *("-storepass:env", "PASS"),
        ).decode()
        assert "PrivateKeyEntry" in said
        assert "Certificate chain length: 2" in said
        digits = pair.certificate.fingerprint.upper()
        assert ":".join(re.findall("..", digits)) in said

    def test_keytool_opens_the_key_itself(
        self, pair: Pair, encryption: Pkcs12Encryption, tmp_path: Path
    ) -> None:
        path = self.written(pair, encryption, tmp_path)
        copy = tmp_path / "copy.p12"
        run(
            *("keytool", "-importkeystore", "-srckeystore", str(path), "-srcstoretype", "PKCS12"),
            *("-srcstorepass:env", "PASS", "-destkeystore", str(copy), "-deststoretype", "PKCS12"),
            *("-deststorepass:env", "PASS"),
        )
        key, leaf, _ = load_pkcs12(copy.read_bytes(), PASSPHRASE)
        assert key.public_key() == pair.key.public_key()
        assert leaf.public_bytes(Encoding.DER) == pair.certificate.der

    def test_a_wrong_passphrase_opens_nothing(
        self, pair: Pair, encryption: Pkcs12Encryption, tmp_path: Path
    ) -> None:
        path = self.written(pair, encryption, tmp_path)
        with pytest.raises(Refused) as refused:
            load_pkcs12(path.read_bytes(), b"wrong")
        assert refused.value.codes == ("pkcs12_unreadable",)


if shutil.which("go") is not None:  # what MDM servers in Go do with the files, where there is a Go
    GO = Path(__file__).with_name("read_pair.go")

    @pytest.fixture(scope="module")
    def reader(tmp_path_factory: pytest.TempPathFactory) -> Path:
        binary = tmp_path_factory.mktemp("go") / "read_pair"
        environment = {**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "-mod=mod"}
        environment["GOCACHE"] = str(tmp_path_factory.mktemp("gocache"))
        subprocess.run(["go", "build", "-o", str(binary), str(GO)], check=True, env=environment)
        return binary

    @pytest.mark.parametrize("key_format", KEY_FORMATS)
    @pytest.mark.parametrize("form", [Form.CERTIFICATE, Form.CHAIN, Form.PEM])
    def test_go_makes_a_tls_certificate_of_it(
        pair: Pair, reader: Path, tmp_path: Path, key_format: KeyFormat, form: Form
    ) -> None:
        (tmp_path / "certificate").write_bytes(render(pair, form, Options(key_format=key_format)))
        (tmp_path / "key").write_bytes(render(pair, Form.KEY, Options(key_format=key_format)))
        said = run(str(reader), str(tmp_path / "certificate"), str(tmp_path / "key"))
        topic, leaf = said.decode().split()
        assert topic == TOPIC
        assert base64.b64decode(leaf) == pair.certificate.der

    def test_go_decrypts_the_old_form_as_mdmctl_does(
        pair: Pair, reader: Path, tmp_path: Path
    ) -> None:
        (tmp_path / "certificate").write_bytes(render(pair, Form.CERTIFICATE))
        (tmp_path / "key").write_bytes(render(pair, Form.KEY, Options(PASSPHRASE, KeyFormat.PKCS1)))
        said = run(
            str(reader),
            str(tmp_path / "certificate"),
            str(tmp_path / "key"),
            PASSPHRASE.decode(),
        )
        assert said.decode().split()[0] == TOPIC
