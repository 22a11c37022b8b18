# ruff: noqa: ARG001 - every look takes the same four
"""``inspect``: what any file is, and everything that is wrong with it.

For any bytes there is an answer; key material is never in it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from lifecycle.errors import Finding, Refused
from lifecycle.pki.certificates import (
    certificate_name,
    has_topic,
    issuer_name,
    parse_certificates,
)
from lifecycle.pki.chain import TrustStore, complete_chain
from lifecycle.pki.csr import parse_csr, vet_csr
from lifecycle.pki.fingerprints import fingerprint, key_fingerprint, serial_hex, short
from lifecycle.pki.keys import load_private_key
from lifecycle.pki.kinds import FileKind, kind_of
from lifecycle.pki.pem import pem_blocks
from lifecycle.pki.push_certificate import Expected, check_push_certificate
from lifecycle.pki.request import decode_request
from lifecycle.pki.request_checks import check_request
from lifecycle.pki.signing_certificate import NAME_PREFIX, check_signing_certificate
from lifecycle.pki.upload import MAX_UPLOAD_BYTES, read_upload

Facts = list[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Inspection:
    """What was found.

    Attributes:
        kind: ``csr``, ``push_certificate``, ``signing_certificate``,
            ``push_certificate_request``, ``private_key``, ``pkcs12``, ``pkcs7``,
            ``certificate`` or ``unknown``.
        facts: labels and values, in the order to show them.
        findings: everything that is wrong or worth knowing.
    """

    kind: str
    facts: tuple[tuple[str, str], ...]
    findings: tuple[Finding, ...]


def inspect(data: bytes, trust: TrustStore, *, at: datetime) -> Inspection:
    """Says what a file is and what is wrong with it, as Apple's portal would see it.

    Args:
        data: the file.
        trust: the roots that chains must reach.
        at: aware UTC; validity is judged then.

    Never raises for any bytes.
    """
    if len(data) > MAX_UPLOAD_BYTES:
        size = Finding(
            "file_too_large",
            f"The file has {len(data) / 2**20:.0f} MiB.",
            "No certificate, CSR, key or request is that large; pick the right file.",
        )
        return Inspection("unknown", (), (size,))
    kind = kind_of(data)
    look = _LOOKS.get(kind, _unknown)
    facts: Facts = []
    try:
        name, findings = look(data, facts, trust, at)
    except Refused as refused:
        name, findings = _NAMES.get(kind, "unknown"), refused.findings
    return Inspection(name, tuple(facts), tuple(findings))


Look = Callable[[bytes, Facts, TrustStore, datetime], tuple[str, tuple[Finding, ...]]]


def _csr(
    data: bytes, facts: Facts, trust: TrustStore, at: datetime
) -> tuple[str, tuple[Finding, ...]]:
    csr = parse_csr(data)
    facts += [
        ("common name", csr.common_name),
        ("email", csr.email or "(none)"),
        ("country", csr.country or "(none)"),
        ("key", f"{csr.key_bits} bits, {short(csr.key_fingerprint)}"),
    ]
    return "csr", vet_csr(csr)


def _request(
    data: bytes, facts: Facts, trust: TrustStore, at: datetime
) -> tuple[str, tuple[Finding, ...]]:
    request = decode_request(data)
    findings = check_request(request, trust, at=at)
    _csr(request.csr_der, facts, trust, at)
    for place, certificate in enumerate(parse_certificates(request.chain_pem.encode())):
        label = "signed with" if place == 0 else "chain"
        facts.append((label, f"{certificate_name(certificate)}, until {_until(certificate)}"))
    return "push_certificate_request", findings


def _certificate(
    data: bytes, facts: Facts, trust: TrustStore, at: datetime
) -> tuple[str, tuple[Finding, ...]]:
    certificates = parse_certificates(data)
    leaf = certificates[0]
    if any(has_topic(certificate) for certificate in certificates):
        return _push_certificate(data, facts, trust, at)
    _certificate_facts(leaf, facts)
    if certificate_name(leaf).startswith(NAME_PREFIX):
        _, chain = complete_chain(leaf, trust, certificates[1:], at=at, leaf_dates=False)
        return "signing_certificate", (*check_signing_certificate(leaf, None, at=at), *chain)
    _, chain = complete_chain(leaf, trust, certificates[1:], at=at)
    return "certificate", chain


def _push_certificate(
    data: bytes, facts: Facts, trust: TrustStore, at: datetime
) -> tuple[str, tuple[Finding, ...]]:
    try:
        upload = read_upload(data)
    except Refused as refused:
        return "push_certificate", refused.findings
    certificate = upload.certificate
    facts.append(("topic", str(certificate.topic)))
    _certificate_facts(certificate.certificate, facts)
    if certificate.ocsp_url is not None:
        facts.append(("OCSP responder", certificate.ocsp_url))
    wrong = check_push_certificate(certificate, Expected(), trust, upload.others, at=at)
    return "push_certificate", (*upload.findings, *wrong)


def _private_key(
    data: bytes, facts: Facts, trust: TrustStore, at: datetime
) -> tuple[str, tuple[Finding, ...]]:
    if any(block.label.endswith("CERTIFICATE") for block in pem_blocks(data)):
        return _certificate(data, facts, trust, at)
    try:
        key = load_private_key(data, None)
    except Refused as refused:
        locked = tuple(f for f in refused.findings if f.code != "private_key_encrypted")
        facts.append(("encrypted", "no" if locked else "yes"))
        return "private_key", locked
    facts += [
        ("encrypted", "no"),
        ("key", f"{key.key_size} bits, {short(key_fingerprint(key.public_key()))}"),
    ]
    return "private_key", ()


def _named(name: str) -> Look:
    def look(
        data: bytes, facts: Facts, trust: TrustStore, at: datetime
    ) -> tuple[str, tuple[Finding, ...]]:
        facts.append(("size", f"{len(data)} bytes"))
        return name, ()

    return look


def _unknown(
    data: bytes, facts: Facts, trust: TrustStore, at: datetime
) -> tuple[str, tuple[Finding, ...]]:
    facts.append(("size", f"{len(data)} bytes"))
    finding = Finding(
        "file_unknown",
        f"The file is {kind_of(data)}.",
        "Give a CSR, a certificate, a push certificate request, a key or a PKCS#12 file.",
    )
    return "unknown", (finding,)


_LOOKS: dict[FileKind, Look] = {
    FileKind.CSR: _csr,
    FileKind.REQUEST: _request,
    FileKind.CERTIFICATE: _certificate,
    FileKind.PKCS7: _certificate,
    FileKind.PRIVATE_KEY: _private_key,
    FileKind.PKCS12: _named("pkcs12"),
}
_NAMES = {
    FileKind.CSR: "csr",
    FileKind.REQUEST: "push_certificate_request",
    FileKind.CERTIFICATE: "certificate",
    FileKind.PKCS7: "pkcs7",
    FileKind.PRIVATE_KEY: "private_key",
    FileKind.PKCS12: "pkcs12",
}


def _certificate_facts(certificate: x509.Certificate, facts: Facts) -> None:
    facts += [
        ("common name", certificate_name(certificate)),
        ("serial", serial_hex(certificate.serial_number)),
        ("issuer", issuer_name(certificate)),
        ("valid from", f"{certificate.not_valid_before_utc:%Y-%m-%d %H:%M} UTC"),
        ("valid until", _until(certificate)),
        ("fingerprint", short(fingerprint(certificate.public_bytes(Encoding.DER)))),
    ]


def _until(certificate: x509.Certificate) -> str:
    return f"{certificate.not_valid_after_utc:%Y-%m-%d %H:%M} UTC"
