"""A certificate of the lab with its key, in the forms that other software takes.

issued = issue_push_certificate(authority)
issued.write(tmp_path / "push.pem")          # certificate and key, for a TLS client
issued.certificate_pem, issued.key_pem       # or as bytes
"""

from __future__ import annotations

import os
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from lifecycle.lab.authority import Authority
from lifecycle.lab.portal import TOPIC_PREFIX
from lifecycle.pki.keys import generate_key, key_to_pem


@dataclass(frozen=True)
class Issued:
    """A certificate, its private key, and who issued it.

    Attributes:
        certificate, key: as ``cryptography`` has them.
        issuers: everything above the certificate, root last.
    """

    certificate: x509.Certificate
    key: RSAPrivateKey = field(repr=False)
    issuers: tuple[x509.Certificate, ...] = ()

    @property
    def certificate_pem(self) -> bytes:
        """The certificate alone."""
        return self.certificate.public_bytes(Encoding.PEM)

    @property
    def chain_pem(self) -> bytes:
        """The certificate and its issuers, in order."""
        above = (issuer.public_bytes(Encoding.PEM) for issuer in self.issuers)
        return b"".join((self.certificate_pem, *above))

    @property
    def key_pem(self) -> bytes:
        """The key as PKCS#8, not encrypted: it is the lab's."""
        return key_to_pem(self.key, None)

    @property
    def topic(self) -> str:
        """The topic of a push certificate. Raises ``ValueError`` for any other certificate."""
        (uid,) = self.certificate.subject.get_attributes_for_oid(NameOID.USER_ID)
        return str(uid.value)

    def write(self, path: Path) -> Path:
        """Writes certificate and key into one file of mode 0600; gives its path."""
        descriptor = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(self.certificate_pem + self.key_pem)
        return path


class IssuePushCertificate(Protocol):
    """The fixture ``push_certificate``: ``issue_push_certificate`` for the test's own lab."""

    def __call__(self, topic: str | None = None, *, days: int = 365) -> Issued:
        """See ``issue_push_certificate``."""
        ...


def issue_push_certificate(
    authority: Authority, topic: str | None = None, *, days: int = 365
) -> Issued:
    """A push certificate for a fresh key, without a request and a portal.

    Args:
        authority: issues and dates it.
        topic: None makes a new one.
        days: how long it is valid; a lab's clock that is moved beyond lets it lapse.
    """
    key = generate_key()
    named = topic or TOPIC_PREFIX + str(uuid.uuid4())
    certificate = authority.issue_push_certificate(key.public_key(), named, days=days)
    return Issued(certificate, key, (authority.aai.certificate, authority.root.certificate))


def issue_signing_certificate(
    authority: Authority, organisation: str = "Lab MDM", *, days: int = 365
) -> Issued:
    """An MDM signing certificate for a fresh key: what signs requests that the portal takes."""
    key = generate_key()
    certificate = authority.issue_signing_certificate(key.public_key(), organisation, days=days)
    return Issued(certificate, key, (authority.wwdr.certificate, authority.root.certificate))
