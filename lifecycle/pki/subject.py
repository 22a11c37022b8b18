"""The subject of a CSR: what may stand in it, how it is written, how it is read."""

from __future__ import annotations

import re
import warnings

from cryptography import x509
from cryptography.x509.oid import NameOID, ObjectIdentifier

from lifecycle.errors import Finding
from lifecycle.pki import der

MAX_COMMON_NAME = 64
"""Characters, not bytes: X.520, ub-common-name (RFC 5280, appendix A)."""
MAX_EMAIL = 255
"""Characters: RFC 5280, ub-emailaddress-length."""

_EMAIL = re.compile(r"[^@\s]+@[^@\s]+")
_COUNTRY = re.compile(r"[A-Z]{2}")
_OID_EMAIL = bytes.fromhex("06092a864886f70d010901")
_OID_COMMON_NAME = bytes.fromhex("0603550403")
_OID_COUNTRY = bytes.fromhex("0603550406")
_PLAIN = {
    _OID_EMAIL: NameOID.EMAIL_ADDRESS,
    _OID_COMMON_NAME: NameOID.COMMON_NAME,
    _OID_COUNTRY: NameOID.COUNTRY_NAME,
}
_BEFORE_TEXT = {
    # SET { SEQUENCE { OBJECT IDENTIFIER, text } }, all of them shorter than 128 bytes
    bytes((der.SET, len(oid) + 4 + size, der.SEQUENCE, len(oid) + 2 + size))
    + oid
    + bytes((kind, size)): name
    for oid, name in _PLAIN.items()
    for kind in (der.UTF8_STRING, der.PRINTABLE_STRING, der.IA5_STRING)
    for size in range(0x80 - 4 - len(oid))
}
"""What stands before the text of an attribute that nearly every subject has."""
_LONG_SEQUENCE = bytes((der.SEQUENCE, 0x82))
_VERSION_THEN_NAME = bytes((der.INTEGER, 1, 0, der.SEQUENCE))
_LONG_NAME_WARNING = "Attribute's length must be"


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


def subject_der(*, email: str, common_name: str, country: str) -> bytes:
    """The subject as a DER Name: emailAddress (IA5String), CN (UTF8String), C
    (PrintableString), one attribute in each set. The values must have passed
    ``check_subject``."""
    # Written out by hand: cryptography counts the 64 characters of a CN in UTF-8 bytes, and so
    # refuses names in most scripts that X.520 allows.
    return der.element(
        der.SEQUENCE,
        _attribute(_OID_EMAIL, der.IA5_STRING, email.encode("ascii")),
        _attribute(_OID_COMMON_NAME, der.UTF8_STRING, common_name.encode()),
        _attribute(_OID_COUNTRY, der.PRINTABLE_STRING, country.encode("ascii")),
    )


def subject_values(
    request: x509.CertificateSigningRequest, info: bytes
) -> dict[ObjectIdentifier, str]:
    """The attributes of the subject that are not empty.

    Args:
        info: the request's CertificationRequestInfo, DER.

    Raises:
        ValueError: the subject is not a Name that can be decoded.
    """
    plain = None
    if info[:2] == _LONG_SEQUENCE and info[4:8] == _VERSION_THEN_NAME and info[8] < 0x80:
        plain = plain_values(info, 9, 9 + info[8])
    if plain is not None:
        return plain
    with warnings.catch_warnings():
        # cryptography warns of a CN of more than 64 bytes; see subject_der.
        warnings.filterwarnings("ignore", message=_LONG_NAME_WARNING)
        attributes = list(request.subject)
    return {a.oid: str(a.value) for a in attributes if a.value}


def plain_values(data: bytes, at: int, end: int) -> dict[ObjectIdentifier, str] | None:
    """The same of a subject in the form that nearly every CSR has; None where it has another.

    One attribute in each set, the three attributes of ``check_subject``, short texts. Taking the
    others apart costs several times as much, which thousands of CSRs to sign would feel.

    Args:
        data: a CSR, DER, or the CertificationRequestInfo in it.
        at, end: where in it the attributes begin and end; the key comes behind them.

    Raises:
        ValueError: a text is no UTF-8.
    """
    found: dict[ObjectIdentifier, str] = {}
    while at < end:
        begins = at + 8 + data[at + 5]  # the text, behind an identifier of so many bytes
        known = _BEFORE_TEXT.get(data[at:begins])
        if known is None:
            return None
        at = begins + data[begins - 1]
        text = data[begins:at]
        if at > end or not (text.isascii() or data[begins - 2] == der.UTF8_STRING):
            return None
        if text:
            found[known] = text.decode()
    return found


def _attribute(oid: bytes, tag: int, value: bytes) -> bytes:
    return der.element(der.SET, der.element(der.SEQUENCE, oid, der.element(tag, value)))
