"""Everything that Apple's portal would have against a push certificate request."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Protocol

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from lifecycle.errors import Finding, Refused
from lifecycle.pki.certificates import (
    UNREADABLE,
    certificate_name,
    names_issuer,
    parse_certificates,
)
from lifecycle.pki.chain import Chain, TrustStore, complete_chain
from lifecycle.pki.csr import parse_csr, vet_csr
from lifecycle.pki.pem import lines_obey_rule

_SIGN_AGAIN = "Sign the CSR again with the vendor's current MDM signing certificate."


class _Request(Protocol):
    @property
    def csr_der(self) -> bytes: ...
    @property
    def chain_pem(self) -> str: ...
    @property
    def signature(self) -> bytes: ...


def check_request(request: _Request, trust: TrustStore, *, at: datetime) -> tuple[Finding, ...]:
    """All findings about a decoded request; empty if the portal would take it.

    Not checked: revocation, and whether Apple made the leaf an MDM signing certificate.

    Args:
        request: as ``decode_request`` gives it.
        trust: whose roots count.
        at: the instant for which certificates must be valid; aware.

    Returns:
        What ``parse_csr`` and ``vet_csr`` find about the CSR; ``request_pem_line_rule``;
        ``request_signature_sha1`` or ``request_signature_invalid``; ``request_chain_order``,
        ``request_chain_surplus``, ``request_chain_incomplete`` (names what is missing), what
        ``parse_certificates`` and ``complete_chain`` find about the chain.
    """
    return (
        *_csr_findings(request.csr_der),
        *_pem_findings(request.chain_pem),
        *_chain_and_signature_findings(request, trust, at),
    )


def _csr_findings(der: bytes) -> tuple[Finding, ...]:
    try:
        return vet_csr(parse_csr(der))
    except Refused as refused:
        return refused.findings


def _pem_findings(chain_pem: str) -> Iterator[Finding]:
    if not lines_obey_rule(chain_pem.strip() + "\n"):
        yield Finding(
            "request_pem_line_rule",
            "The certificate chain breaks Apple's PEM rule: every line of 64 characters but the "
            "last, and nothing outside the blocks.",
            _SIGN_AGAIN,
        )


def _chain_and_signature_findings(
    request: _Request, trust: TrustStore, at: datetime
) -> Iterator[Finding]:
    try:
        sent = parse_certificates(request.chain_pem.encode())
    except Refused as refused:
        yield from refused.findings
        return
    leaf = _leaf_of(sent)
    yield from _signature_findings(request, leaf)
    if leaf != sent[0]:
        yield _wrong_order()
    yield from _path_findings(sent, leaf, trust, at)


def _leaf_of(sent: tuple[x509.Certificate, ...]) -> x509.Certificate:
    """The one that issued none of the others; the first if that does not single one out."""
    ends = [c for c in sent if not any(names_issuer(other, c) for other in sent)]
    return ends[0] if len(ends) == 1 else sent[0]


def _signature_findings(request: _Request, leaf: x509.Certificate) -> Iterator[Finding]:
    if _verifies(request, leaf, hashes.SHA256()):
        return
    if _verifies(request, leaf, hashes.SHA1()):  # noqa: S303 - recognised, never accepted
        yield Finding(
            "request_signature_sha1",
            "The request is signed with SHA-1, as Apple's older document said; "
            "today Apple wants SHA256WithRSA.",
            _SIGN_AGAIN,
        )
        return
    yield Finding(
        "request_signature_invalid",
        f"The signature over the CSR was not made with the key of “{certificate_name(leaf)}”, "
        "or the CSR was changed after it was signed.",
        _SIGN_AGAIN,
    )


def _verifies(request: _Request, leaf: x509.Certificate, digest: hashes.HashAlgorithm) -> bool:
    try:
        key = leaf.public_key()
        if not isinstance(key, RSAPublicKey):
            return False
        key.verify(request.signature, request.csr_der, padding.PKCS1v15(), digest)
    except (InvalidSignature, *UNREADABLE):
        return False
    return True


def _path_findings(
    sent: tuple[x509.Certificate, ...], leaf: x509.Certificate, trust: TrustStore, at: datetime
) -> Iterator[Finding]:
    # First by what was sent alone: the portal completes nothing.
    known = TrustStore(
        tuple(c for c in trust.roots if c in sent),
        tuple(c for c in trust.intermediates if c in sent),
    )
    chain, findings = complete_chain(leaf, known, sent, at=at)
    if chain is None:
        chain, findings = complete_chain(leaf, trust, sent, at=at)
    if chain is None:
        yield from findings
        return
    missing = [c for c in chain.certificates if c not in sent]
    if missing:
        yield _incomplete(missing)
    elif leaf == sent[0]:
        yield from _arrangement_findings(sent, chain)
    yield from findings


def _arrangement_findings(sent: tuple[x509.Certificate, ...], chain: Chain) -> Iterator[Finding]:
    if len(sent) > len(chain.certificates):
        surplus = [c for c in dict.fromkeys(sent) if c not in chain.certificates]
        names = ", ".join(f"“{certificate_name(c)}”" for c in surplus) or "one of them twice"
        yield Finding(
            "request_chain_surplus",
            f"The certificate chain holds more than the path to the root: {names}.",
            _SIGN_AGAIN,
        )
    elif sent != chain.certificates:
        yield _wrong_order()


def _wrong_order() -> Finding:
    return Finding(
        "request_chain_order",
        "The certificates are in the wrong order; it must be: MDM signing certificate, WWDR "
        "intermediate, root.",
        _SIGN_AGAIN,
    )


def _incomplete(missing: list[x509.Certificate]) -> Finding:
    names = ", ".join(f"“{certificate_name(c)}”" for c in missing)
    return Finding(
        "request_chain_incomplete",
        f"The certificate chain does not reach its root by itself; it lacks {names}.",
        _SIGN_AGAIN,
    )
