"""What somebody has who comes to pushcert from another MDM tool, as docs/moving.md names it: the
pair in three forms, a share with certificates, dumps and the file storage of NanoMDM.

``mysqldump`` and ``pg_dump`` are theirs, too: each writes the dump of ``mdm_servers/dumps`` that
the real one has written, with the topic that is asked about.
"""

from __future__ import annotations

import os
import plistlib
import subprocess
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    load_pem_private_key,
    pkcs12,
)

from tests.deployment import Deployment, account

DUMPS = Path(__file__).parent / "mdm_servers" / "dumps"
TOPIC_OF_THE_DUMPS = "com.apple.mgmt.External.0f3a7f7e-6f5e-4d8a-9b1f-2c6a3e5d7b90"


@dataclass(frozen=True)
class Pair:
    """A push certificate that was made without pushcert, and its key.

    Attributes:
        certificate: as the portal offers it, PEM.
        key: PKCS#1 as PEM, not encrypted.
        request: the CSR, PEM.
    """

    certificate: bytes
    key: bytes
    request: bytes


def openssl(*words: str, secret: str = "") -> bytes:
    """What openssl says; it finds the passphrase in ``PASS``."""
    environment = {**os.environ, "PASS": secret}
    return subprocess.run(
        ["openssl", *words], check=True, capture_output=True, env=environment
    ).stdout


def made_elsewhere(vendor: Deployment, apple_account: str, folder: Path) -> Pair:
    """A certificate from the portal, for a key that pushcert does not know."""
    key, csr, plist = folder / "key.pem", folder / "request.csr", folder / "request.plist"
    folder.mkdir(parents=True)
    openssl("genrsa", "-traditional", "-out", str(key), "2048")
    openssl("req", "-new", "-key", str(key), "-sha256", "-subj", "/CN=push", "-out", str(csr))
    vendor.run("sign", str(csr), "--out", str(plist))
    made = vendor.lab.portal.create(apple_account, plist.read_bytes())
    return Pair(made, key.read_bytes(), csr.read_bytes())


def as_p12(pair: Pair, passphrase: str) -> bytes:
    """Both in one file."""
    key = load_pem_private_key(pair.key, None)
    leaf = x509.load_pem_x509_certificates(pair.certificate)[0]
    return pkcs12.serialize_key_and_certificates(
        b"push",
        key,  # type: ignore[arg-type]  # RSA
        leaf,
        None,
        BestAvailableEncryption(passphrase.encode()),
    )


def mdmctl_folder(folder: Path, pair: Pair, passphrase: str) -> None:
    """``mdm-certificates`` as mdmctl leaves it, with the certificate from the portal put there."""
    folder.mkdir()
    (folder / "PushCertificateRequest.csr").write_bytes(pair.request)
    (folder / "MDM_ Example_Certificate.pem").write_bytes(pair.certificate)
    plain = folder.parent / "plain.key"
    plain.write_bytes(pair.key)
    for name in ("PushCertificatePrivateKey.key", "VendorPrivateKey.key"):
        if name.startswith("Vendor"):
            openssl("genrsa", "-traditional", "-out", str(plain), "2048")
        openssl(
            *("rsa", "-traditional", "-des3", "-in", str(plain), "-passout", "env:PASS"),
            *("-out", str(folder / name)),
            secret=passphrase,
        )
        assert b"DEK-Info: DES-EDE3-CBC" in (folder / name).read_bytes()
    plain.unlink()


def share(folder: Path, vendor: Deployment, scratch: Path) -> None:
    """A folder for each customer, with what the portal offered them."""
    for name in ("Birch & Co.", "Cedar"):
        (folder / name).mkdir(parents=True)
        slug = name.split()[0].lower()
        made = made_elsewhere(vendor, account(slug), scratch / slug)
        (folder / name / "MDM_ Example MDM_Certificate.pem").write_bytes(made.certificate)


def stored(folder: Path, topic: str) -> None:
    """The folder of NanoMDM's ``-storage file``, with one enrolment."""
    enrolment = folder / "5D2C7F2A-3A3E-4F0B-8E0D-6B1C9A7D4E21"
    enrolment.mkdir(parents=True)
    message = {
        "MessageType": "TokenUpdate",
        "Token": b"\x5a" * 32,
        "PushMagic": "73D2F9A4-1C0E",
        "Topic": topic,
        "UDID": enrolment.name,
    }
    (enrolment / "TokenUpdate.plist").write_bytes(plistlib.dumps(message))


def dumps(programs: Path, topic: str) -> None:
    """``mysqldump`` and ``pg_dump``, which write out a NanoMDM that has devices of this topic."""
    programs.mkdir(exist_ok=True)
    for program in ("mysqldump", "pg_dump"):
        written = programs / f"{program}.sql"
        whole = (DUMPS / written.name).read_bytes()
        written.write_bytes(whole.replace(TOPIC_OF_THE_DUMPS.encode(), topic.encode()))
        (programs / program).write_text(f"#!/bin/sh\nexec cat '{written}'\n")
        (programs / program).chmod(0o755)
