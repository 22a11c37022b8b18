"""CSRs: made in an instance, taken apart and vetted by the vendor.

The signature of a push certificate request covers the CSR's DER *as received*, so ``Csr.der``
is never re-encoded. A CSR is read in two steps: ``parse_csr`` says what the file is,
``vet_csr`` what is wrong with the CSR in it; ``read_csr`` does both.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID, ObjectIdentifier

from lifecycle.errors import Finding, Refused, raise_for, refuse
from lifecycle.pki import der as asn1
from lifecycle.pki.certificates import UNREADABLE
from lifecycle.pki.fingerprints import Fingerprint, fingerprint, key_fingerprint
from lifecycle.pki.kinds import CSR_LABELS, FileKind, kind_of
from lifecycle.pki.pem import encode_pem, pem_blocks
from lifecycle.pki.subject import check_subject, subject_der, subject_values
from lifecycle.pki.vetting import MIN_KEY_BITS, vet

MAX_CSR_BYTES = 64 * 1024
"""Upper bound of a CSR file; one of RSA 4096 is under 3 KB with its PEM text."""

_OID_SHA256_WITH_RSA = bytes.fromhex("06092a864886f70d01010b")


@dataclass(frozen=True)
class Csr:
    """A CSR that could be parsed; whether it is fit to be signed, ``vet_csr`` says.

    What is in it is looked up when it is asked for: signing thousands of them asks for little.

    Attributes:
        der: exactly the bytes that were received.
    """

    der: bytes

    @property
    def pem(self) -> str:
        """The CSR as PEM, for files and mail."""
        return encode_pem("CERTIFICATE REQUEST", self.der)

    @cached_property
    def fingerprint(self) -> Fingerprint:
        """SHA-256 of the DER."""
        return fingerprint(self.der)

    @cached_property
    def parsed(self) -> x509.CertificateSigningRequest:
        """The DER, loaded."""
        return x509.load_der_x509_csr(self.der)

    @cached_property
    def public_key(self) -> CertificatePublicKeyTypes:
        """The customer's public key."""
        return self.parsed.public_key()

    @cached_property
    def info(self) -> bytes:
        """The CertificationRequestInfo (RFC 2986, 4.1), DER: what the CSR signs of itself."""
        # ``parsed.tbs_certrequest_bytes`` would write it anew, each time that it is asked for.
        return asn1.first_inside(self.der)

    @cached_property
    def subject(self) -> dict[ObjectIdentifier, str]:
        """The attributes of the subject that are not empty."""
        return subject_values(self.parsed, self.info)

    @property
    def common_name(self) -> str:
        """Of the subject; empty if there is none."""
        return self.subject.get(NameOID.COMMON_NAME, "")

    @property
    def email(self) -> str | None:
        """emailAddress of the subject, or None."""
        return self.subject.get(NameOID.EMAIL_ADDRESS)

    @property
    def country(self) -> str | None:
        """Of the subject, or None."""
        return self.subject.get(NameOID.COUNTRY_NAME)

    @property
    def key_bits(self) -> int:
        """Size of the public key."""
        return int(getattr(self.public_key, "key_size", 0))

    @cached_property
    def key_fingerprint(self) -> Fingerprint:
        """Of the public key, as on the certificate that will come of it."""
        return key_fingerprint(self.public_key)


def build_csr(key: RSAPrivateKey, *, email: str, common_name: str, country: str = "US") -> Csr:
    """A CSR in the form Keychain Access makes: emailAddress, CN, C; SHA-256 with RSA.

    emailAddress is an IA5String, CN a UTF8String (any script), C a PrintableString. The same
    arguments give the same bytes.

    Raises:
        Refused: see ``lifecycle.pki.subject.check_subject``.
    """
    raise_for(check_subject(email=email, common_name=common_name, country=country))
    subject = subject_der(email=email, common_name=common_name, country=country)
    public_key = key.public_key()
    spki = public_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    version = asn1.element(asn1.INTEGER, b"\0")
    no_attributes = asn1.element(asn1.CONTEXT_0)
    info = asn1.element(asn1.SEQUENCE, version, subject, spki, no_attributes)
    signature = key.sign(info, padding.PKCS1v15(), hashes.SHA256())
    der = asn1.element(
        asn1.SEQUENCE,
        info,
        asn1.element(asn1.SEQUENCE, _OID_SHA256_WITH_RSA, asn1.element(asn1.NULL)),
        asn1.element(asn1.BIT_STRING, b"\0", signature),
    )
    return Csr(der)


def parse_csr(data: bytes) -> Csr:
    """The one CSR in a file: PEM (CRLF, BOM, UTF-16 and text around it do not matter) or DER.

    Does not judge the CSR; see ``vet_csr``.

    Raises:
        Refused: ``csr_too_large``, ``csr_file_empty``, ``csr_missing`` (the message says what
            the file is instead), ``csr_with_private_key``, ``csr_ambiguous`` (several in one
            file), ``csr_truncated``, ``csr_trailing_data``, ``csr_damaged``,
            ``csr_key_unreadable``, or what ``pem_blocks`` raises.
    """
    if len(data) > MAX_CSR_BYTES:
        raise refuse(
            "csr_too_large",
            f"The file has {len(data):,} bytes; a CSR has a few thousand.",
            "Choose the file that ends in .csr or .certSigningRequest.",
        )
    csr = Csr(data if asn1.element_length(data) == len(data) else _only_csr(data))
    known = csr.__dict__  # what the cached properties would look up, without their locks
    try:
        known["parsed"] = request = x509.load_der_x509_csr(csr.der)
        known["info"] = info = asn1.first_inside(csr.der)
        known["subject"] = subject_values(request, info)
    except UNREADABLE:
        raise _damaged(csr.der) from None
    try:
        known["public_key"] = request.public_key()
    except UNREADABLE:
        raise refuse(
            "csr_key_unreadable",
            "The public key in the CSR is not a key that can be used.",
            f"Make a new RSA key of {MIN_KEY_BITS} bits and a CSR with it.",
        ) from None
    return csr


def vet_csr(csr: Csr) -> tuple[Finding, ...]:
    """Everything about ``csr`` for which it must not be signed; empty if it is sound.

    The self-signature, an RSA key of 2048 bits or more, a SHA-2 signature, no CA wanted, a
    subject; the codes are listed at ``lifecycle.pki.vetting.vet``.
    """
    return vet(csr.parsed, csr.info, csr.public_key, has_subject=bool(csr.subject))


def read_csr(data: bytes) -> Csr:
    """Parses and vets.

    Raises:
        Refused: with every finding of ``parse_csr`` or ``vet_csr``.
    """
    csr = parse_csr(data)
    findings = vet_csr(csr)
    if findings:
        raise_for(findings)
    return csr


def _only_csr(data: bytes) -> bytes:
    blocks = pem_blocks(data)
    csrs = [block.der for block in blocks if block.label in CSR_LABELS]
    if csrs and any(block.label.endswith("PRIVATE KEY") for block in blocks):
        raise refuse(
            "csr_with_private_key",
            "The file holds a private key beside the CSR.",
            "The key must stay where it was made: make a new key and CSR, hand on the CSR only.",
        )
    if len(csrs) > 1:
        raise refuse(
            "csr_ambiguous",
            f"The file holds {len(csrs)} CSRs.",
            "Give a file with the one that is to be signed.",
        )
    if csrs:
        der = csrs[0]
    elif not blocks and asn1.element_length(data) is not None:
        der = data
    else:
        raise _not_a_csr(data)
    _require_whole(der)
    return der


def _require_whole(der: bytes) -> None:
    length = asn1.element_length(der)
    if length is None:
        raise _damaged(der)
    if length > len(der):
        raise refuse(
            "csr_truncated",
            f"The CSR is cut off: {len(der)} of {length} bytes are there.",
            "Fetch or copy the file again.",
        )
    if length < len(der):
        if kind_of(der[:length]) is not FileKind.CSR:
            raise _not_a_csr(der)
        raise refuse(
            "csr_trailing_data",
            f"The CSR goes on behind its end ({length} of {len(der)} bytes are the CSR).",
            "Make or export the CSR again.",
        )


def _not_a_csr(data: bytes) -> Refused:
    kind = kind_of(data)
    if kind is FileKind.EMPTY:
        return refuse("csr_file_empty", "The file is empty.", "Fetch or make the CSR again.")
    remedy = {
        FileKind.PRIVATE_KEY: "Keep the key where it is, and give the CSR that was made with it.",
        FileKind.CERTIFICATE: "Give the CSR; a certificate only comes back from the portal.",
        FileKind.REQUEST: "It is signed already: upload it at identity.apple.com/pushcert.",
        FileKind.HTML: "Download the CSR itself; a page was saved in its place.",
    }.get(kind, "Choose the file that ends in .csr or .certSigningRequest.")
    return refuse("csr_missing", f"This is not a CSR but {kind.value}.", remedy)


def _damaged(der: bytes) -> Refused:
    if kind_of(der) not in (FileKind.CSR, FileKind.BINARY):
        return _not_a_csr(der)
    return refuse(
        "csr_damaged",
        "The CSR is damaged: its content is not what a CSR has.",
        "Make or export the CSR again.",
    )
