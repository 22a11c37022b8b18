"""What is checked about an upload before anything is written: all findings at once.

The vendor checks again what it can see; here the certificate is held against the keys of this
vault, which the vendor never sees, and against the certificate that is active here.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from lifecycle.errors import Finding, Severity, raise_for
from lifecycle.instance.vault import Vault
from lifecycle.pki.chain import TrustStore
from lifecycle.pki.fingerprints import key_fingerprint
from lifecycle.pki.push_certificate import Expected, PushCertificate, check_push_certificate
from lifecycle.pki.topic import Topic
from lifecycle.pki.upload import Upload, read_upload


def check_upload(
    vault: Vault, data: bytes, trust: TrustStore, now: datetime, accept_new_topic: str | None
) -> tuple[Upload, tuple[Finding, ...]]:
    """Reads an upload and checks it against the vault. Writes nothing.

    Returns:
        What is in the file, and notes about it. A private key in the file is ignored; a note
        says so.

    Raises:
        Refused: ``read_upload`` cannot make a certificate of the file, or with every finding
            about the certificate (``check_push_certificate``, ``no_csr_outstanding``).
    """
    upload = read_upload(data)
    certificate = upload.certificate
    held = vault.active()
    active = None if held is None else held.certificate
    keys = vault.keys.pending_fingerprints()
    findings: list[Finding] = [*upload.findings]
    same_file = active is not None and active.fingerprint == certificate.fingerprint
    if same_file:
        keys |= {certificate.key_fingerprint}  # its key is right; that it is old news is said
    if not keys:
        findings.append(_no_csr_outstanding())
    expected = Expected(
        key_fingerprints=keys,
        topic=_expected_topic(vault, active),
        active=active,
        accept_new_topic=accept_new_topic,
    )
    findings += check_push_certificate(certificate, expected, trust, upload.others, at=now)
    return upload, raise_for(findings)


def check_pair(
    key: RSAPrivateKey, upload: Upload, trust: TrustStore, now: datetime
) -> tuple[Finding, ...]:
    """Everything that is wrong with a certificate and key that an instance is to adopt.

    One that has expired can be adopted: what counts is that its renewal keeps the topic.
    """
    expected = Expected(
        key_fingerprints=frozenset({key_fingerprint(key.public_key())}),
        topic=None,
        active=None,
        accept_new_topic=None,
    )
    found = check_push_certificate(upload.certificate, expected, trust, upload.others, at=now)
    return (
        *upload.findings,
        *(
            replace(one, severity=Severity.NOTE) if one.code == "certificate_expired" else one
            for one in found
        ),
    )


def _expected_topic(vault: Vault, active: PushCertificate | None) -> Topic | None:
    if active is not None:
        return active.topic
    topics = vault.devices.topics()
    return next(iter(topics)) if len(topics) == 1 else None


def _no_csr_outstanding() -> Finding:
    return Finding(
        "no_csr_outstanding",
        "This instance has made no CSR that waits for a certificate.",
        "Start a renewal, take its request to the portal, and upload what the portal gives back.",
    )
