"""CSRs: made in an instance, taken apart and vetted by the vendor.

The signature of a push certificate request covers the CSR's DER *as received*, so ``Csr.der``
is never re-encoded. A CSR is read in two steps: ``parse_csr`` says what the file is,
``vet_csr`` what is wrong with the CSR in it; ``read_csr`` does both.
"""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass
from functools import cached_property

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID, ObjectIdentifier, SignatureAlgorithmOID

from lifecycle.errors import Finding, Refused, raise_for, refuse
from lifecycle.pki import der as asn1
from lifecycle.pki.fingerprints import Fingerprint, fingerprint, key_fingerprint
from lifecycle.pki.kinds import CSR_LABELS, FileKind, kind_of
from lifecycle.pki.pem import encode_pem, pem_blocks, plain_text

MAX_CSR_BYTES = 64 * 1024
"""Upper bound of a CSR file; one of RSA 4096 is under 3 KB with its PEM text."""

MIN_KEY_BITS = 2048
MAX_KEY_BITS = 8192
MIN_PUBLIC_EXPONENT = 65537

MAX_COMMON_NAME = 64
"""Characters, not bytes: X.520, ub-common-name (RFC 5280, appendix A)."""
MAX_EMAIL = 255
"""Characters: RFC 5280, ub-emailaddress-length."""

_EMAIL = re.compile(r"[^@\s]+@[^@\s]+")
_COUNTRY = re.compile(r"[A-Z]{2}")
_SIGNATURES = frozenset(
    {
        SignatureAlgorithmOID.RSA_WITH_SHA256,
        SignatureAlgorithmOID.RSA_WITH_SHA384,
        SignatureAlgorithmOID.RSA_WITH_SHA512,
    }
)
_OID_EMAIL = bytes.fromhex("06092a864886f70d010901")
_OID_COMMON_NAME = bytes.fromhex("0603550403")
_OID_COUNTRY = bytes.fromhex("0603550406")
_OID_SHA256_WITH_RSA = bytes.fromhex("06092a864886f70d01010b")
_LONG_NAME_WARNING = "Attribute's length must be"


@dataclass(frozen=True)
class Csr:
    """A CSR that could be parsed; whether it is fit to be signed, ``vet_csr`` says.

    Attributes:
        der: exactly the bytes that were received.
        common_name: of the subject; empty if there is none.
        email: emailAddress of the subject, or None.
        country: of the subject, or None.
        key_bits: size of the public key.
        key_fingerprint: of the public key, as on the certificate that will come of it.
    """

    der: bytes
    common_name: str
    email: str | None
    country: str | None
    key_bits: int
    key_fingerprint: Fingerprint

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


def check_subject(*, email: str, common_name: str, country: str) -> tuple[Finding, ...]:
    """Everything that keeps these from being the subject of a CSR.

    Codes: ``email_not_ascii`` (emailAddress is an IA5String, RFC 5280 4.1.2.6, so an address
    with letters beyond ASCII does not fit; it is refused rather than encoded, because the part
    before the @ has no ASCII form), ``email_invalid``, ``common_name_invalid``,
    ``country_invalid``.
    """
    findings = []
    if not email.isascii():
        findings.append(
            Finding(
                "email_not_ascii",
                f"The e-mail address “{email}” has letters that a CSR cannot carry.",
                "Give an address in ASCII letters; a domain can be written in its xn-- form.",
            )
        )
    elif len(email) > MAX_EMAIL or not email.isprintable() or _EMAIL.fullmatch(email) is None:
        findings.append(
            Finding(
                "email_invalid",
                f"“{email[:80]}” is not an e-mail address of at most {MAX_EMAIL} characters.",
                "Give one address in the form name@domain.",
            )
        )
    if not (common_name.strip() and len(common_name) <= MAX_COMMON_NAME) or not (
        common_name.isprintable()
    ):
        findings.append(
            Finding(
                "common_name_invalid",
                f"“{common_name[:80]}” cannot be the name in a CSR: it must have 1 to "
                f"{MAX_COMMON_NAME} printable characters, and has {len(common_name)}.",
                "Shorten or correct the name; the customer's name in the registry may stay.",
            )
        )
    if _COUNTRY.fullmatch(country) is None:
        findings.append(
            Finding(
                "country_invalid",
                f"“{country[:20]}” is not a country code.",
                "Give the two capital letters of ISO 3166, such as US or DE.",
            )
        )
    return tuple(findings)


def build_csr(key: RSAPrivateKey, *, email: str, common_name: str, country: str = "US") -> Csr:
    """A CSR in the form Keychain Access makes: emailAddress, CN, C; SHA-256 with RSA.

    emailAddress is an IA5String, CN a UTF8String (any script), C a PrintableString. The same
    arguments give the same bytes.

    Raises:
        Refused: see ``check_subject``.
    """
    # Written out by hand: cryptography counts the 64 characters of a CN in UTF-8 bytes, and so
    # refuses names in most scripts that X.520 allows.
    raise_for(check_subject(email=email, common_name=common_name, country=country))
    subject = asn1.element(
        asn1.SEQUENCE,
        _attribute(_OID_EMAIL, asn1.IA5_STRING, email.encode("ascii")),
        _attribute(_OID_COMMON_NAME, asn1.UTF8_STRING, common_name.encode()),
        _attribute(_OID_COUNTRY, asn1.PRINTABLE_STRING, country.encode("ascii")),
    )
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
    return Csr(der, common_name, email, country, key.key_size, key_fingerprint(public_key))


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
    der = _only_csr(data)
    try:
        request = x509.load_der_x509_csr(der)
        names = _subject_values(request)
    except (ValueError, UnsupportedAlgorithm):
        raise _damaged() from None
    try:
        key = request.public_key()
        bits = int(getattr(key, "key_size", 0))
        fp = key_fingerprint(key)
    except (ValueError, UnsupportedAlgorithm):
        raise refuse(
            "csr_key_unreadable",
            "The public key in the CSR is not a key that can be used.",
            f"Make a new RSA key of {MIN_KEY_BITS} bits and a CSR with it.",
        ) from None
    csr = Csr(
        der=der,
        common_name=names.get(NameOID.COMMON_NAME, ""),
        email=names.get(NameOID.EMAIL_ADDRESS),
        country=names.get(NameOID.COUNTRY_NAME),
        key_bits=bits,
        key_fingerprint=fp,
    )
    csr.__dict__["parsed"] = request  # what the cached property would compute once more
    return csr


def vet_csr(csr: Csr) -> tuple[Finding, ...]:
    """Everything about ``csr`` for which it must not be signed; empty if it is sound.

    Codes: ``csr_key_not_rsa``, ``csr_key_too_short``, ``csr_key_too_long``,
    ``csr_key_exponent``, ``csr_signature_algorithm``, ``csr_signature_invalid``,
    ``csr_wants_ca``, ``csr_extensions_unreadable``, ``csr_subject_empty``.
    """
    request = csr.parsed
    findings = list(_key_findings(request))
    findings += _signature_findings(request, key_is_sane=not findings)
    findings += _extension_findings(request)
    if not (csr.common_name or csr.email or _has_subject(request)):
        findings.append(
            Finding(
                "csr_subject_empty",
                "The CSR has no subject.",
                "Make it again with an e-mail address and a name.",
            )
        )
    return tuple(findings)


def read_csr(data: bytes) -> Csr:
    """Parses and vets.

    Raises:
        Refused: with every finding of ``parse_csr`` or ``vet_csr``.
    """
    csr = parse_csr(data)
    raise_for(vet_csr(csr))
    return csr


def _attribute(oid: bytes, tag: int, value: bytes) -> bytes:
    pair = asn1.element(asn1.SEQUENCE, oid, asn1.element(tag, value))
    return asn1.element(asn1.SET, pair)


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
    _require_whole(der, data)
    return der


def _require_whole(der: bytes, data: bytes) -> None:
    length = asn1.element_length(der)
    if length is None:
        raise _damaged()
    if length > len(der):
        raise refuse(
            "csr_truncated",
            f"The CSR is cut off: {len(der)} of {length} bytes are there.",
            "Fetch or copy the file again.",
        )
    if kind_of(der) not in (FileKind.CSR, FileKind.BINARY):
        raise _not_a_csr(der)
    if length < len(der):
        raise refuse(
            "csr_trailing_data",
            f"There are {len(der) - length} bytes behind the end of the CSR.",
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


def _damaged() -> Refused:
    return refuse(
        "csr_damaged",
        "The CSR is damaged: its content is not what a CSR has.",
        "Make or export the CSR again.",
    )


def _subject_values(request: x509.CertificateSigningRequest) -> dict[ObjectIdentifier, str]:
    with warnings.catch_warnings():
        # A CN of more than 64 bytes is fine here; see build_csr.
        warnings.filterwarnings("ignore", message=_LONG_NAME_WARNING)
        attributes = list(request.subject)
    return {a.oid: str(a.value) for a in attributes if a.value}


def _has_subject(request: x509.CertificateSigningRequest) -> bool:
    return bool(_subject_values(request))


def _key_findings(request: x509.CertificateSigningRequest) -> tuple[Finding, ...]:
    key = request.public_key()
    remedy = f"Make a new RSA key of {MIN_KEY_BITS} bits and a CSR with it."
    if not isinstance(key, RSAPublicKey):
        return (Finding("csr_key_not_rsa", "The key of the CSR is not an RSA key.", remedy),)
    found = []
    if key.key_size < MIN_KEY_BITS:
        message = f"The RSA key has {key.key_size} bits; at least {MIN_KEY_BITS} are needed."
        found.append(Finding("csr_key_too_short", message, remedy))
    if key.key_size > MAX_KEY_BITS:
        message = f"The RSA key has {key.key_size} bits; at most {MAX_KEY_BITS} are taken."
        found.append(Finding("csr_key_too_long", message, remedy))
    exponent = key.public_numbers().e
    if exponent < MIN_PUBLIC_EXPONENT:
        message = f"The RSA key has the public exponent {exponent}, which is not safe."
        found.append(Finding("csr_key_exponent", message, f"{remedy} Its exponent is 65537."))
    return tuple(found)


def _signature_findings(
    request: x509.CertificateSigningRequest, *, key_is_sane: bool
) -> tuple[Finding, ...]:
    key = request.public_key()
    if isinstance(key, RSAPublicKey) and request.signature_algorithm_oid not in _SIGNATURES:
        return (
            Finding(
                "csr_signature_algorithm",
                "The CSR is not signed with SHA-256 and RSA (PKCS#1 v1.5).",
                "Make it again with SHA-256, e.g. openssl req -new -sha256.",
            ),
        )
    if isinstance(key, RSAPublicKey) and key.key_size > MAX_KEY_BITS and not key_is_sane:
        return ()
    if _self_signature_holds(request):
        return ()
    return (
        Finding(
            "csr_signature_invalid",
            "The CSR's own signature does not hold: it was changed or damaged after it was made.",
            "Make or export the CSR again.",
        ),
    )


def _self_signature_holds(request: x509.CertificateSigningRequest) -> bool:
    try:
        return request.is_signature_valid
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return False


def _extension_findings(request: x509.CertificateSigningRequest) -> tuple[Finding, ...]:
    try:
        wanted = [extension.value for extension in request.extensions]
    except (ValueError, x509.DuplicateExtension, UnsupportedAlgorithm):
        return (
            Finding(
                "csr_extensions_unreadable",
                "The extensions that the CSR asks for cannot be read.",
                "Make the CSR again without extensions; none are needed.",
            ),
        )
    if any(_asks_for_ca(value) for value in wanted):
        return (
            Finding(
                "csr_wants_ca",
                "The CSR asks for a CA certificate.",
                "Make it again without CA:TRUE and without certificate signing as a key usage.",
            ),
        )
    return ()


def _asks_for_ca(value: x509.ExtensionType) -> bool:
    if isinstance(value, x509.BasicConstraints):
        return value.ca
    return isinstance(value, x509.KeyUsage) and value.key_cert_sign
