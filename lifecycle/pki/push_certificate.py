"""Push certificates: what they are, reading them from whatever file a customer brings, and
checking that one is the right one.

Reading (``read_upload``) says what a file is when it is no push certificate. Checking
(``check_push_certificate``) returns everything that is wrong at once. Not checked here:
revocation (``lifecycle.pki.revocation``), and whether another customer has the certificate.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID, NameOID

from lifecycle.errors import Finding, Refused, Severity, refuse
from lifecycle.pki.certificates import (
    UNREADABLE,
    certificate_name,
    extension,
    is_self_signed,
    issuer_name,
    parse_certificates,
)
from lifecycle.pki.chain import TrustStore, complete_chain
from lifecycle.pki.der import element_length
from lifecycle.pki.fingerprints import Fingerprint, fingerprint, key_fingerprint, serial_hex
from lifecycle.pki.kinds import FileKind, kind_of
from lifecycle.pki.pem import encode_pem, pem_blocks
from lifecycle.pki.topic import Topic

MAX_UPLOAD_BYTES = 1024 * 1024
MIN_KEY_BITS = 2048
_DER_SEQUENCE = b"\x30\x82"
PORTAL = "https://identity.apple.com/pushcert"
_DOWNLOAD = f"Download the certificate again from {PORTAL} and upload that file."


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
            raise _damaged() from None
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
            raise _damaged() from None
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


@dataclass(frozen=True)
class Upload:
    """What a customer's file holds.

    Attributes:
        certificate: the push certificate.
        others: the CA certificates that came along.
        pasted_key: a private key found in the file, as PEM; never shown, never stored.
        findings: notes about the file.
    """

    certificate: PushCertificate
    others: tuple[x509.Certificate, ...] = ()
    pasted_key: bytes | None = field(default=None, repr=False)
    findings: tuple[Finding, ...] = ()


def read_upload(data: bytes) -> Upload:
    """Finds the push certificate in any file that a customer may bring.

    Takes PEM (with CRLF, a BOM, UTF-16, leading text), DER, PKCS#7 in PEM or DER, with the
    chain, with a private key pasted in.

    Raises:
        Refused: with what the file is instead, and what to do.
    """
    if len(data) > MAX_UPLOAD_BYTES:
        raise refuse(
            "file_too_large",
            f"The file has {len(data) / 2**20:.0f} MiB; a push certificate has a few KiB.",
            _DOWNLOAD,
        )
    kind = kind_of(data)
    if kind is FileKind.REQUEST:
        raise _instead(kind, None)  # a property list has the signer's chain in it, as PEM
    try:
        blocks = pem_blocks(data)
        keys = [block for block in blocks if block.label.endswith("PRIVATE KEY")]
        certificates = parse_certificates(data)
    except Refused as refused:
        if kind is FileKind.BINARY and data.startswith(_DER_SEQUENCE):
            raise _damaged() from None
        raise _instead(kind, refused) from None
    if not blocks:
        _require_nothing_after(data)
    upload = _sorted_out(certificates)
    if not keys:
        return upload
    note = Finding(
        "key_pasted",
        "The file also contains a private key, which was not kept.",
        "Delete that file, and renew with a new key if anybody else may have seen it.",
        Severity.NOTE,
    )
    return Upload(upload.certificate, upload.others, keys[0].text, (note,))


def _sorted_out(certificates: tuple[x509.Certificate, ...]) -> Upload:
    unique = tuple(dict.fromkeys(certificates))
    leaves = [c for c in unique if not _is_ca(c)]
    if not leaves:
        raise refuse(
            "ca_certificate",
            f"The file holds only the CA certificate “{certificate_name(unique[0])}”.",
            "Upload the push certificate itself, the file named MDM_….pem from the portal.",
        )
    if len(leaves) > 1:
        names = " and ".join(f"“{certificate_name(c)}”" for c in leaves[:2])
        raise refuse(
            "several_certificates",
            f"The file holds {len(leaves)} certificates that could be meant: {names}.",
            "Upload one file with only the new push certificate.",
        )
    leaf = leaves[0]
    if certificate_name(leaf).startswith("MDM Vendor:"):
        raise refuse(
            "signing_certificate",
            f"This is the MDM signing certificate “{certificate_name(leaf)}”, not a push"
            " certificate.",
            f"Upload the certificate that {PORTAL} issued for the request.",
        )
    return Upload(PushCertificate.from_certificate(leaf), tuple(c for c in unique if c is not leaf))


def _is_ca(certificate: x509.Certificate) -> bool:
    constraints = extension(certificate, x509.BasicConstraints)
    return constraints is not None and constraints.ca


def _require_nothing_after(data: bytes) -> None:
    length = element_length(data)
    if length is not None and data[length:].strip(b"\0\r\n\t "):
        raise refuse(
            "trailing_bytes", "Something else follows the certificate in the file.", _DOWNLOAD
        )


def _damaged() -> Refused:
    return refuse(
        "certificate_damaged",
        "The certificate cannot be read: it is cut off or damaged.",
        _DOWNLOAD,
    )


def _instead(kind: FileKind, refused: Refused | None) -> Refused:
    """The refusal for a file without a readable certificate, by what it seems to be."""
    code, remedy = {
        FileKind.EMPTY: ("file_empty", _DOWNLOAD),
        FileKind.HTML: (
            "file_is_web_page",
            "Sign in to the portal again and use its Download button, not “Save page”.",
        ),
        FileKind.CSR: (
            "file_is_csr",
            "The CSR has to be signed and taken to the portal first; upload what the portal gives.",
        ),
        FileKind.REQUEST: (
            "file_is_request",
            f"Take this file to {PORTAL}, and upload here what the portal gives for it.",
        ),
        FileKind.PRIVATE_KEY: (
            "file_is_private_key",
            "Keep that key to yourself and upload the certificate, the file named MDM_….pem.",
        ),
        FileKind.PUBLIC_KEY: ("file_is_public_key", _DOWNLOAD),
        FileKind.PKCS12: (
            "file_is_pkcs12",
            "Upload the certificate as the portal gave it (PEM), without a key.",
        ),
        FileKind.PKCS7: ("pkcs7_without_certificate", _DOWNLOAD),
        FileKind.CERTIFICATE: ("certificate_damaged", _DOWNLOAD),
    }.get(kind, ("file_unknown", _DOWNLOAD))
    if kind is FileKind.CERTIFICATE and refused is not None:
        return refused
    return refuse(code, f"The file is {kind}, not a push certificate.", remedy)


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
            _DOWNLOAD,
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
            _DOWNLOAD,
        )
    key = certificate.certificate.public_key()
    if not isinstance(key, RSAPublicKey):
        yield Finding("key_not_rsa", "This certificate's key is not an RSA key.", _DOWNLOAD)
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
        f" beside {row}, not Create a Certificate, and upload the file it gives.",
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
                _DOWNLOAD,
            ),
        )
    _, findings = complete_chain(certificate.certificate, trust, pile, at=at, leaf_dates=False)
    return findings
