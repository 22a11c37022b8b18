"""The lab's Push Certificates Portal: *Renew* keeps a topic, *Create* makes a new one.

    certificate = portal.create("it@acme.example", request)      # PEM
    certificate = portal.renew("it@acme.example", request, serial)

What Apple's portal refuses is refused here, with everything that is wrong.
"""

from __future__ import annotations

import random
import uuid
from dataclasses import dataclass
from datetime import datetime

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import Encoding

from lifecycle.clock import Clock
from lifecycle.errors import raise_for, refuse
from lifecycle.lab.authority import Authority, serial_of
from lifecycle.pki.csr import read_csr
from lifecycle.pki.push_certificate import PushCertificate
from lifecycle.pki.request import decode_request
from lifecycle.pki.request_checks import check_request

TOPIC_PREFIX = "com.apple.mgmt.External."
VALID_DAYS = 365


@dataclass(frozen=True, slots=True)
class PortalRow:
    """One row of the portal's table, as an Apple Account sees it."""

    apple_account: str
    vendor: str
    common_name: str
    serial: str
    topic: str
    not_after: datetime
    revoked: bool


class Portal:
    """The portal's certificates by Apple Account.

    Args:
        authority: issues them.
        clock: judges requests.
        rng: makes new topics.
    """

    def __init__(self, authority: Authority, clock: Clock, rng: random.Random) -> None:
        self.authority = authority
        self._clock = clock
        self._rng = rng
        self._issued: dict[str, list[tuple[str, x509.Certificate]]] = {}

    def create(self, apple_account: str, request: bytes) -> bytes:
        """*Create a Certificate*: a certificate (PEM) with a new topic.

        Args:
            apple_account: who is signed in.
            request: the push certificate request, as uploaded.

        Raises:
            Refused: with everything that is wrong with the request.
        """
        topic = TOPIC_PREFIX + str(uuid.UUID(int=self._rng.getrandbits(128), version=4))
        return self._issue(apple_account, request, topic)

    def renew(self, apple_account: str, request: bytes, serial: str) -> bytes:
        """*Renew* beside the row with this serial: a certificate (PEM) with the same topic.

        Raises:
            Refused: the account has no such row (``portal_row_missing``), it was revoked
                (``portal_row_revoked``), or the request is wrong.
        """
        for _, certificate in self._issued.get(apple_account, []):
            if serial_of(certificate) == serial:
                break
        else:
            raise refuse(
                "portal_row_missing",
                f"{apple_account} has no certificate with the serial {serial}.",
                "Sign in with the Apple Account that the certificate was made with.",
            )
        if certificate.serial_number in self.authority.revoked:
            raise refuse(
                "portal_row_revoked",
                "This certificate has been revoked and cannot be renewed.",
                "Create a new certificate.",
            )
        return self._issue(
            apple_account, request, PushCertificate.from_certificate(certificate).topic
        )

    def revoke(self, apple_account: str, serial: str) -> None:
        """*Revoke* beside a row. Raises ``Refused`` (``portal_row_missing``)."""
        for _, certificate in self._issued.get(apple_account, []):
            if serial_of(certificate) == serial:
                self.authority.revoke(certificate.serial_number)
                return
        raise refuse(
            "portal_row_missing",
            f"{apple_account} has no certificate with the serial {serial}.",
            "See the rows of this Apple Account.",
        )

    def certificates(self, apple_account: str) -> tuple[PortalRow, ...]:
        """The rows that an Apple Account sees, oldest first."""
        return tuple(
            _row(apple_account, vendor, certificate, self.authority)
            for vendor, certificate in self._issued.get(apple_account, [])
        )

    def rows(self) -> tuple[PortalRow, ...]:
        """Every row of every account."""
        return tuple(row for account in self._issued for row in self.certificates(account))

    def restore(self, apple_account: str, vendor: str, certificate: x509.Certificate) -> None:
        """Puts a row back that an earlier run issued."""
        self._issued.setdefault(apple_account, []).append((vendor, certificate))

    def issued(self) -> tuple[tuple[str, str, x509.Certificate], ...]:
        """Everything that was issued: Apple Account, vendor, certificate."""
        return tuple(
            (account, vendor, certificate)
            for account, rows in self._issued.items()
            for vendor, certificate in rows
        )

    def _issue(self, apple_account: str, upload: bytes, topic: str) -> bytes:
        request = decode_request(upload)
        raise_for(check_request(request, self.authority.trust, at=self._clock.now()))
        csr = read_csr(request.csr_der)
        key = csr.parsed.public_key()
        if not isinstance(key, RSAPublicKey):
            raise refuse("csr_key_not_rsa", "The CSR's key is not RSA.", "Make an RSA key.")
        certificate = self.authority.issue_push_certificate(key, topic, days=VALID_DAYS)
        leaf = x509.load_pem_x509_certificate(request.chain_pem.encode())
        vendor = leaf.subject.get_attributes_for_oid(x509.NameOID.ORGANIZATION_NAME)
        name = str(vendor[0].value) if vendor else "unknown"
        self._issued.setdefault(apple_account, []).append((name, certificate))
        return certificate.public_bytes(Encoding.PEM)


def file_name(vendor: str) -> str:
    """What the portal calls the file that it offers (FACTS.md)."""
    return f"MDM_ {vendor}_Certificate.pem"


def _row(
    account: str, vendor: str, certificate: x509.Certificate, authority: Authority
) -> PortalRow:
    push = PushCertificate.from_certificate(certificate)
    return PortalRow(
        account,
        vendor,
        push.common_name,
        push.serial,
        push.topic,
        push.not_after,
        certificate.serial_number in authority.revoked,
    )
