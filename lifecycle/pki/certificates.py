"""Certificates as such: read from files, called by name, told who issued whom."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import pkcs7
from cryptography.x509.oid import NameOID

from lifecycle.errors import Refused, refuse
from lifecycle.pki.der import element_length
from lifecycle.pki.pem import pem_blocks

CERTIFICATE_LABELS = frozenset({"CERTIFICATE", "X509 CERTIFICATE", "TRUSTED CERTIFICATE"})
PKCS7_LABELS = frozenset({"PKCS7", "PKCS #7 SIGNED DATA", "CMS"})

UNREADABLE = (
    ValueError,
    TypeError,
    x509.InvalidVersion,
    x509.DuplicateExtension,
    UnsupportedAlgorithm,
)
"""What cryptography raises for bytes that are not the certificate or CSR they claim to be
(``TypeError``: a BIT STRING where a name has text)."""

_GENERATION = re.compile(r"G\d{1,3}")
_STRONG_HASHES = (hashes.SHA256, hashes.SHA384, hashes.SHA512)

_E = TypeVar("_E", bound=x509.ExtensionType)


def parse_certificates(data: bytes) -> tuple[x509.Certificate, ...]:
    """All certificates in a file: PEM or DER, one or many, or PKCS#7 in PEM or DER.

    Other PEM blocks (a key pasted in, a CSR) are passed over, and so is what follows a DER
    certificate without being one (Apple's AppleAAICA.cer is found with such a tail).

    Raises:
        Refused: ``certificate_missing`` (none in the file), ``certificate_damaged`` (one of
            them cannot be read), or what ``pem_blocks`` raises.
    """
    blocks = pem_blocks(data)
    found: list[x509.Certificate] = []
    for block in blocks:
        if block.label in CERTIFICATE_LABELS:
            found.append(_certificate(block.der))
        elif block.label in PKCS7_LABELS:
            found.extend(_pkcs7(block.der))
    if not blocks:
        found.extend(_from_der(data))
    if not found:
        raise refuse(
            "certificate_missing",
            "There is no certificate in the file.",
            "Give the certificate as PEM, DER or PKCS#7.",
        )
    return tuple(found)


def certificate_name(certificate: x509.Certificate) -> str:
    """How a certificate is called in a sentence: its CN, with the generation (``G3``) if the
    CN does not tell generations apart, or its whole subject if there is no CN."""
    try:
        return _name_of(certificate.subject)
    except UNREADABLE:
        return f"certificate with serial {certificate.serial_number:X}"


def has_topic(certificate: x509.Certificate) -> bool:
    """True if the subject has a UID, as that of a push certificate does."""
    try:
        return bool(certificate.subject.get_attributes_for_oid(NameOID.USER_ID))
    except UNREADABLE:
        return False


def issuer_name(certificate: x509.Certificate) -> str:
    """The issuer of a certificate, called as ``certificate_name`` calls it."""
    try:
        return _name_of(certificate.issuer)
    except UNREADABLE:
        return "an issuer whose name cannot be read"


def issued_by(
    certificate: x509.Certificate, issuer: x509.Certificate, *, allow_sha1: bool = False
) -> bool:
    """True if ``issuer`` is named in ``certificate``, has the key that it names, and made its
    signature (RSA or ECDSA).

    Not checked: whether ``issuer`` is a CA, and dates. MD5 never counts.

    Args:
        allow_sha1: True only where ``certificate`` itself comes from a place that is trusted:
            Apple's oldest root and some WWDR intermediates are signed with SHA-1.
    """
    if not names_issuer(certificate, issuer):
        return False
    wanted, offered = authority_key(certificate), subject_key(issuer)
    if wanted is not None and offered is not None and wanted != offered:
        return False
    return _signature_holds(certificate, issuer, allow_sha1=allow_sha1)


def names_issuer(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    """True if the issuer name in ``certificate`` is the subject of ``issuer``; no more."""
    try:
        return certificate.issuer == issuer.subject
    except UNREADABLE:
        return False


def is_self_signed(certificate: x509.Certificate) -> bool:
    """True if the certificate is its own issuer and its own key made its signature."""
    return issued_by(certificate, certificate, allow_sha1=True)


def authority_key(certificate: x509.Certificate) -> bytes | None:
    """The key identifier of the issuer, if the certificate names one."""
    found = extension(certificate, x509.AuthorityKeyIdentifier)
    return None if found is None else found.key_identifier


def subject_key(certificate: x509.Certificate) -> bytes | None:
    """The certificate's own key identifier, if it has one."""
    found = extension(certificate, x509.SubjectKeyIdentifier)
    return None if found is None else found.digest


def extension(certificate: x509.Certificate, kind: type[_E]) -> _E | None:
    """The value of an extension, or None if it is absent or cannot be read."""
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except (x509.ExtensionNotFound, *UNREADABLE):
        return None


def _signature_holds(
    certificate: x509.Certificate, issuer: x509.Certificate, *, allow_sha1: bool
) -> bool:
    # Not Certificate.verify_directly_issued_by: cryptography refuses SHA-1 there, which would
    # cut off "Apple Root CA" and everything below it.
    try:
        key = issuer.public_key()
        algorithm = certificate.signature_hash_algorithm
        parameters = certificate.signature_algorithm_parameters
        strong = isinstance(algorithm, _STRONG_HASHES)
        if algorithm is None or not (strong or (allow_sha1 and algorithm.name == "sha1")):
            return False
        signature, signed = certificate.signature, certificate.tbs_certificate_bytes
        if isinstance(key, rsa.RSAPublicKey) and isinstance(
            parameters, (padding.PKCS1v15, padding.PSS)
        ):
            key.verify(signature, signed, parameters, algorithm)
        elif isinstance(key, ec.EllipticCurvePublicKey) and isinstance(parameters, ec.ECDSA):
            key.verify(signature, signed, parameters)
        else:
            return False
    except (InvalidSignature, *UNREADABLE):
        return False
    return True


def _name_of(name: x509.Name) -> str:
    common = [str(a.value) for a in name.get_attributes_for_oid(NameOID.COMMON_NAME)]
    if not common:
        return name.rfc4514_string() or "(no name)"
    units = [str(a.value) for a in name.get_attributes_for_oid(NameOID.ORGANIZATIONAL_UNIT_NAME)]
    generation = next((u for u in units if _GENERATION.fullmatch(u)), None)
    return common[0] if generation is None else f"{common[0]} ({generation})"


def _from_der(data: bytes) -> Iterator[x509.Certificate]:
    rest = data
    while (length := element_length(rest)) is not None:
        try:
            yield _certificate(rest[:length])
        except Refused:
            yield from _pkcs7(rest[:length])
        rest = rest[length:]


def _certificate(der: bytes) -> x509.Certificate:
    try:
        certificate = x509.load_der_x509_certificate(der)
        _ = certificate.subject, certificate.issuer, certificate.extensions
    except UNREADABLE as broken:
        raise _damaged() from broken
    return certificate


def _pkcs7(der: bytes) -> list[x509.Certificate]:
    try:
        return list(pkcs7.load_der_pkcs7_certificates(der))
    except UNREADABLE as broken:
        raise _damaged() from broken


def _damaged() -> Refused:
    return refuse(
        "certificate_damaged",
        "A certificate in the file cannot be read: it is cut off or damaged.",
        "Download it again from where it was issued.",
    )
