"""The lab's Apple: a root, a WWDR intermediate for signers, an AAI intermediate for pushes.

    authority = Authority(clock, seed=1)
    certificate = authority.issue_push_certificate(key.public_key(), new_topic)

The CAs are valid from 2000 to 2099, because clients judge them by the host's clock; what they
issue is dated by the lab's.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from cryptography.x509 import ocsp
from cryptography.x509.oid import (
    AuthorityInformationAccessOID,
    ExtendedKeyUsageOID,
    NameOID,
)

from lifecycle.clock import Clock
from lifecycle.pki.chain import TrustStore
from lifecycle.pki.fingerprints import serial_hex
from lifecycle.pki.keys import generate_key

SINCE = datetime(2000, 1, 1, tzinfo=UTC)
UNTIL = datetime(2099, 12, 31, tzinfo=UTC)
ORGANISATION = "pushcert lab"
UNIT = "pushcert lab Certification Authority"


@dataclass(frozen=True)
class LabCa:
    """A CA certificate of the lab and its key."""

    certificate: x509.Certificate
    key: RSAPrivateKey


class Authority:
    """Issues what Apple issues, dated by the lab's clock.

    Args:
        clock: dates what is issued.
        seed: fixes serial numbers. Keys are fresh all the same, unless ``cas`` are given.
        cas: root, WWDR and AAI of an earlier run.
        ocsp_url: named in push certificates as their OCSP responder; None names none.
    """

    def __init__(
        self,
        clock: Clock,
        seed: int = 0,
        *,
        cas: tuple[LabCa, LabCa, LabCa] | None = None,
        ocsp_url: str | None = None,
    ) -> None:
        self.clock = clock
        self.ocsp_url = ocsp_url
        self.revoked: dict[int, datetime] = {}
        self._rng = random.Random(seed)  # noqa: S311  (a repeatable lab)
        self.root, self.wwdr, self.aai = cas or self._new_cas()

    def _new_cas(self) -> tuple[LabCa, LabCa, LabCa]:
        root_key, wwdr_key, aai_key = generate_key(), generate_key(), generate_key()
        root_name = _name("pushcert lab Root CA", UNIT)
        root = self._ca(root_name, root_key, root_name, root_key, 2)
        wwdr_name = _name("pushcert lab Worldwide Developer Relations CA", "G3")
        aai_name = _name("pushcert lab Application Integration 2 CA", UNIT)
        return (
            LabCa(root, root_key),
            LabCa(self._ca(wwdr_name, wwdr_key, root_name, root_key, 0), wwdr_key),
            LabCa(self._ca(aai_name, aai_key, root_name, root_key, 0), aai_key),
        )

    @property
    def trust(self) -> TrustStore:
        """The lab's root and intermediates, in the place of Apple's."""
        return TrustStore.of((self.root.certificate, self.wwdr.certificate, self.aai.certificate))

    def trust_pem(self) -> str:
        """The same as a PEM file, for ``trust.extra`` in a configuration."""
        cas = (self.root, self.wwdr, self.aai)
        return "".join(ca.certificate.public_bytes(Encoding.PEM).decode() for ca in cas)

    def issue_signing_certificate(
        self, key: RSAPublicKey, organisation: str, *, days: int = 365
    ) -> x509.Certificate:
        """An MDM signing certificate, as the developer portal issues it."""
        subject = x509.Name(
            [
                x509.NameAttribute(NameOID.COMMON_NAME, f"MDM Vendor: {organisation}"[:64]),
                x509.NameAttribute(NameOID.ORGANIZATION_NAME, organisation[:64]),
                x509.NameAttribute(NameOID.COUNTRY_NAME, "US"),
            ]
        )
        return self._leaf(subject, key, self.wwdr, days).sign(self.wwdr.key, hashes.SHA256())

    def issue_push_certificate(
        self, key: RSAPublicKey, topic: str, *, days: int = 365
    ) -> x509.Certificate:
        """A push certificate with this topic, as the Push Certificates Portal issues it."""
        name = topic.removeprefix("com.apple.mgmt.External.")
        subject = x509.Name(
            [
                x509.NameAttribute(NameOID.USER_ID, topic),
                x509.NameAttribute(NameOID.COMMON_NAME, f"APSP:{name}"[:64]),
                x509.NameAttribute(NameOID.COUNTRY_NAME, "US"),
            ]
        )
        builder = self._leaf(subject, key, self.aai, days).add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False
        )
        if self.ocsp_url is not None:
            responder = x509.AccessDescription(
                AuthorityInformationAccessOID.OCSP,
                x509.UniformResourceIdentifier(self.ocsp_url),
            )
            builder = builder.add_extension(
                x509.AuthorityInformationAccess([responder]), critical=False
            )
        return builder.sign(self.aai.key, hashes.SHA256())

    def server_credential(self) -> tuple[bytes, bytes]:
        """Certificate and key (PEM) for a server on loopback, good on any host's clock."""
        key = ec.generate_private_key(ec.SECP256R1())
        names = x509.SubjectAlternativeName(
            [
                x509.DNSName("localhost"),
                x509.IPAddress(ip_address("127.0.0.1")),
                x509.IPAddress(ip_address("::1")),
            ]
        )
        certificate = (
            self._builder(_name("localhost", UNIT), key.public_key(), self.root)
            .not_valid_before(SINCE)
            .not_valid_after(UNTIL)
            .add_extension(names, critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(sign=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .sign(self.root.key, hashes.SHA256())
        )
        return certificate.public_bytes(Encoding.PEM), key.private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
        )

    def revoke(self, serial: int) -> None:
        """Revokes a push certificate as of now."""
        self.revoked.setdefault(serial, self.clock.now())

    def crl(self) -> x509.CertificateRevocationList:
        """The AAI CA's revocation list; its dates are wide, so that a moved clock accepts it."""
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self.aai.certificate.subject)
            .last_update(SINCE)
            .next_update(UNTIL)
        )
        for serial, at in tuple(self.revoked.items()):  # another thread may revoke
            builder = builder.add_revoked_certificate(
                x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(at).build()
            )
        return builder.sign(self.aai.key, hashes.SHA256())

    def ocsp(self, request: bytes) -> bytes:
        """Answers an OCSP request (DER) about a push certificate, in DER.

        One about another issuer's certificate is answered ``unauthorized`` (RFC 6960, 2.3).
        """
        try:
            asked = ocsp.load_der_ocsp_request(request)
            named = asked.issuer_key_hash, asked.issuer_name_hash
            algorithm = asked.hash_algorithm
        except ValueError:
            return _unsuccessful(ocsp.OCSPResponseStatus.MALFORMED_REQUEST)
        own = _issuer_hashes(self.aai, algorithm)
        if named != own:
            return _unsuccessful(ocsp.OCSPResponseStatus.UNAUTHORIZED)
        now = self.clock.now()
        revoked_at = self.revoked.get(asked.serial_number)
        revoked = revoked_at is not None
        response = (
            ocsp.OCSPResponseBuilder()
            .add_response_by_hash(
                issuer_name_hash=own[1],
                issuer_key_hash=own[0],
                serial_number=asked.serial_number,
                algorithm=algorithm,
                cert_status=ocsp.OCSPCertStatus.REVOKED if revoked else ocsp.OCSPCertStatus.GOOD,
                this_update=now,
                next_update=now + timedelta(days=1),
                revocation_time=revoked_at,
                revocation_reason=None,
            )
            .responder_id(ocsp.OCSPResponderEncoding.HASH, self.aai.certificate)
            .sign(self.aai.key, hashes.SHA256())
        )
        return response.public_bytes(Encoding.DER)

    def _ca(
        self,
        subject: x509.Name,
        key: RSAPrivateKey,
        issuer: x509.Name,
        issuer_key: RSAPrivateKey,
        path_length: int,
    ) -> x509.Certificate:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer)
            .public_key(key.public_key())
            .serial_number(self._serial())
            .not_valid_before(SINCE)
            .not_valid_after(UNTIL)
            .add_extension(x509.BasicConstraints(True, path_length), critical=True)
            .add_extension(_usage(sign=True), critical=True)
            .add_extension(
                x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False
            )
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()),
                critical=False,
            )
            .sign(issuer_key, hashes.SHA256())
        )

    def _leaf(
        self, subject: x509.Name, key: RSAPublicKey, issuer: LabCa, days: int
    ) -> x509.CertificateBuilder:
        now = self.clock.now().replace(microsecond=0)
        return (
            self._builder(subject, key, issuer)
            .not_valid_before(now)
            .not_valid_after(now + timedelta(days=days))
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(sign=False), critical=True)
        )

    def _builder(
        self, subject: x509.Name, key: PublicKeyTypes, issuer: LabCa
    ) -> x509.CertificateBuilder:
        if not isinstance(key, RSAPublicKey | ec.EllipticCurvePublicKey):
            raise TypeError("the lab certifies RSA and EC keys")
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer.certificate.subject)
            .public_key(key)
            .serial_number(self._serial())
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.key.public_key()),
                critical=False,
            )
        )

    def _serial(self) -> int:
        return self._rng.getrandbits(62) | 1 << 62


def serial_of(certificate: x509.Certificate) -> str:
    """A certificate's serial as the portal shows it."""
    return serial_hex(certificate.serial_number)


def _name(common_name: str, unit: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.COUNTRY_NAME, "US"),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, ORGANISATION),
            x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, unit),
            x509.NameAttribute(NameOID.COMMON_NAME, common_name),
        ]
    )


def _usage(*, sign: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not sign,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=sign,
        crl_sign=sign,
        encipher_only=False,
        decipher_only=False,
    )


def _issuer_hashes(issuer: LabCa, algorithm: hashes.HashAlgorithm) -> tuple[bytes, bytes]:
    """Hashes of the key (as in its certificate's bit string) and of the subject name."""
    key = issuer.key.public_key().public_bytes(Encoding.DER, PublicFormat.PKCS1)
    return _digest(key, algorithm), _digest(issuer.certificate.subject.public_bytes(), algorithm)


def _digest(data: bytes, algorithm: hashes.HashAlgorithm) -> bytes:
    digest = hashes.Hash(algorithm)
    digest.update(data)
    return digest.finalize()


def _unsuccessful(status: ocsp.OCSPResponseStatus) -> bytes:
    return ocsp.OCSPResponseBuilder.build_unsuccessful(status).public_bytes(Encoding.DER)
