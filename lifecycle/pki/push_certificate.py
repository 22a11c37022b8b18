"""Push certificates: what they are, and whether one is the right one for a customer.

``check_push_certificate`` returns everything that is wrong at once. Not checked here:
revocation (``lifecycle.pki.revocation``), and whether another customer has the certificate.
Finding one in the file that a person brings is ``lifecycle.pki.upload``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID, NameOID

from lifecycle.errors import Finding, Refused, refuse
from lifecycle.pki.certificates import (
    UNREADABLE,
    certificate_name,
    extension,
    is_self_signed,
    issuer_name,
)
from lifecycle.pki.chain import TrustStore, complete_chain
from lifecycle.pki.fingerprints import Fingerprint, fingerprint, key_fingerprint, serial_hex
from lifecycle.pki.pem import encode_pem
from lifecycle.pki.topic import Topic

MIN_KEY_BITS = 2048
PORTAL = "https://identity.apple.com/pushcert"
DOWNLOAD = f"Download the certificate again from {PORTAL} and upload that file."


@dataclass(frozen=True)
class PushCertificate:
    """One MDM push certificate, public part only.

    Attributes:
        certificate, der: the certificate, and its bytes.
        topic: the UID of its subject (FACTS.md, "MDM push certificate").
        common_name: as the portal shows it, e.g. ``APSP:<uuid>``.
        serial: upper-case hex, as the portal shows it.
        not_before, not_after: aware UTC.
        issuer: the issuer's name, for people.
        fingerprint, key_fingerprint: SHA-256 of the DER, and of its SubjectPublicKeyInfo.
    """

    certificate: x509.Certificate
    der: bytes
    topic: Topic
    common_name: str
    serial: str
    not_before: datetime
    not_after: datetime
    issuer: str
    fingerprint: Fingerprint
    key_fingerprint: Fingerprint

    @classmethod
    def from_der(cls, der: bytes) -> PushCertificate:
        """Reads one certificate.

        Raises:
            Refused: ``certificate_damaged``, ``topic_missing``, ``topic_not_mdm``.
        """
        try:
            certificate = x509.load_der_x509_certificate(der)
            _ = certificate.subject, certificate.issuer, certificate.extensions
        except UNREADABLE:
            raise damaged() from None
        return cls.from_certificate(certificate)

    @classmethod
    def from_certificate(cls, certificate: x509.Certificate) -> PushCertificate:
        """Reads the particulars of a certificate.

        Raises:
            Refused: ``certificate_damaged``, ``topic_missing``, ``topic_not_mdm``.
        """
        der = certificate.public_bytes(Encoding.DER)
        try:
            key = certificate.public_key()
        except UNREADABLE:
            raise damaged() from None
        return cls(
            certificate=certificate,
            der=der,
            topic=_topic(certificate),
            common_name=certificate_name(certificate),
            serial=serial_hex(certificate.serial_number),
            not_before=certificate.not_valid_before_utc,
            not_after=certificate.not_valid_after_utc,
            issuer=issuer_name(certificate),
            fingerprint=fingerprint(der),
            key_fingerprint=key_fingerprint(key),
        )

    @cached_property
    def pem(self) -> str:
        """The certificate as PEM, 64 columns, LF."""
        return encode_pem("CERTIFICATE", self.der)

    @property
    def ocsp_url(self) -> str | None:
        """The OCSP responder that the certificate names (RFC 5280, 4.2.2.1), or None."""
        access = extension(self.certificate, x509.AuthorityInformationAccess)
        for description in access or ():
            location = description.access_location
            if description.access_method == AuthorityInformationAccessOID.OCSP and isinstance(
                location, x509.UniformResourceIdentifier
            ):
                return location.value
        return None


def damaged() -> Refused:
    """The refusal of a certificate whose bytes are cut off or damaged."""
    return refuse(
        "certificate_damaged",
        "The certificate cannot be read: it is cut off or damaged.",
        DOWNLOAD,
    )


def _topic(certificate: x509.Certificate) -> Topic:
    try:
        values = certificate.subject.get_attributes_for_oid(NameOID.USER_ID)
    except UNREADABLE:
        values = []
    if not values:
        raise refuse(
            "topic_missing",
            f"“{certificate_name(certificate)}” is no push certificate: its subject has no UID,"
            " which would be the topic.",
            DOWNLOAD,
        )
    return Topic(str(values[0].value))


@dataclass(frozen=True)
class Expected:
    """What a certificate must fit.

    Attributes:
        key_fingerprints: of the keys it may belong to; empty: not checked.
        topic: the topic that must stay; None: any (a first certificate).
        active: the certificate in use, to tell old files from new ones and to name the row to
            press *Renew* beside.
        accept_new_topic: the new topic, typed by a person who knows that every device must
            enrol again.
    """

    key_fingerprints: frozenset[Fingerprint] = frozenset()
    topic: Topic | None = None
    active: PushCertificate | None = None
    accept_new_topic: str | None = None


def check_push_certificate(
    certificate: PushCertificate,
    expected: Expected,
    trust: TrustStore,
    pile: Iterable[x509.Certificate] = (),
    *,
    at: datetime,
) -> tuple[Finding, ...]:
    """Everything that is wrong with a push certificate for this customer, at ``at``.

    Args:
        certificate: as read.
        expected: what it must fit.
        trust: the roots it must chain to; ``pile`` may add intermediates.
        at: aware UTC.

    Returns:
        Findings with the codes ``certificate_expired``, ``certificate_not_yet_valid``,
        ``not_client_auth``, ``key_not_rsa``, ``key_too_short``, ``key_mismatch``,
        ``already_active``, ``older_than_active``, ``topic_changed``, ``self_signed``, and those
        of ``complete_chain``.
    """
    return (
        *_date_findings(certificate, at),
        *_use_findings(certificate),
        *_identity_findings(certificate, expected),
        *_issuer_findings(certificate, trust, pile, at),
    )


def _date_findings(certificate: PushCertificate, at: datetime) -> Iterator[Finding]:
    if certificate.not_after <= at:
        yield Finding(
            "certificate_expired",
            f"This certificate expired on {certificate.not_after:%Y-%m-%d}.",
            "Renew it in the portal with the current request and upload the new file.",
        )
    if certificate.not_before > at:
        yield Finding(
            "certificate_not_yet_valid",
            f"This certificate is not valid before {certificate.not_before:%Y-%m-%d %H:%M} UTC.",
            "Check the clock of this machine; if it is right, upload the file again then.",
        )


def _use_findings(certificate: PushCertificate) -> Iterator[Finding]:
    usage = extension(certificate.certificate, x509.ExtendedKeyUsage)
    if usage is None or ExtendedKeyUsageOID.CLIENT_AUTH not in usage:
        yield Finding(
            "not_client_auth",
            "This certificate may not be used as a TLS client, so it cannot push.",
            DOWNLOAD,
        )
    key = certificate.certificate.public_key()
    if not isinstance(key, RSAPublicKey):
        yield Finding("key_not_rsa", "This certificate's key is not an RSA key.", DOWNLOAD)
    elif key.key_size < MIN_KEY_BITS:
        yield Finding(
            "key_too_short",
            f"This certificate's key has {key.key_size} bits; {MIN_KEY_BITS} are needed.",
            "Renew with the current request, which has a key that is long enough.",
        )


def _identity_findings(certificate: PushCertificate, expected: Expected) -> Iterator[Finding]:
    active = expected.active
    if active is not None and certificate.fingerprint == active.fingerprint:
        yield Finding(
            "already_active",
            "This is the certificate that is in use already, not a new one.",
            f"In the portal press Renew beside {active.common_name}, serial {active.serial},"
            " with the current request, and upload the file it gives then.",
        )
        return
    if active is not None and certificate.not_after < active.not_after:
        yield Finding(
            "older_than_active",
            f"This certificate ends on {certificate.not_after:%Y-%m-%d}, earlier than the one in"
            f" use ({active.not_after:%Y-%m-%d}): it is an older file.",
            "Upload the newest file from the portal.",
        )
    if expected.key_fingerprints and certificate.key_fingerprint not in expected.key_fingerprints:
        yield Finding(
            "key_mismatch",
            "This certificate was made from another request: its key is not the one that waits"
            " here.",
            "Renew in the portal with the current request of this customer, and upload that.",
        )
    topic = expected.topic
    if (
        topic is not None
        and certificate.topic != topic
        and expected.accept_new_topic != certificate.topic
    ):
        yield _topic_changed(certificate, topic, active)


def _topic_changed(
    certificate: PushCertificate, topic: Topic, active: PushCertificate | None
) -> Finding:
    row = (
        f"the certificate with the topic {topic}"
        if active is None
        else f"{active.common_name}, serial {active.serial}"
    )
    return Finding(
        "topic_changed",
        f"This certificate has the new topic {certificate.topic}: it was created instead of"
        " renewed, or with another Apple Account, and every device would have to enrol again.",
        f"Sign in to {PORTAL} with the Apple Account of the certificate in use, press Renew"
        f" beside {row}, not Create a Certificate, and upload the file it gives. Only when the"
        " Apple Account is to change on purpose: `pushcert renew` with the reason"
        " apple_account_changed.",
    )


def _issuer_findings(
    certificate: PushCertificate,
    trust: TrustStore,
    pile: Iterable[x509.Certificate],
    at: datetime,
) -> tuple[Finding, ...]:
    if is_self_signed(certificate.certificate):
        return (
            Finding(
                "self_signed",
                "This certificate was signed by itself, not by Apple.",
                DOWNLOAD,
            ),
        )
    _, findings = complete_chain(certificate.certificate, trust, pile, at=at, leaf_dates=False)
    return findings
