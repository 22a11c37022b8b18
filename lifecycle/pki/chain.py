"""Chains: from a certificate and any pile of certificates to a trusted root.

Which issuer is right is read from the certificate (issuer name, authority key identifier) and
proven by its signature, never assumed: Apple's first WWDR intermediate and G3 have the same
common name and different keys, and tools that had one built in broke on 2023-02-07 (FACTS.md).
Not checked here: revocation, and what the leaf may be used for.
"""

from __future__ import annotations

import functools
import importlib.resources
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding

from lifecycle.errors import Finding
from lifecycle.pki.certificates import (
    authority_key,
    certificate_name,
    extension,
    is_self_signed,
    issued_by,
    names_issuer,
    parse_certificates,
    subject_key,
)
from lifecycle.pki.chain_findings import (
    date_findings,
    issuer_not_ca,
    missing_issuer,
    root_untrusted,
    signature_invalid,
    signature_weak,
)
from lifecycle.pki.pem import encode_pem

__all__ = ["Chain", "TrustStore", "certificate_name", "complete_chain", "parse_certificates"]

MAX_CHAIN_LENGTH = 8
MAX_PILE = 512
_SEARCH_STEPS = 2000
_SIGNATURES = 100
"""That a search verifies at most: a pile of CA certificates of one name and key, of which each may
have issued each, would otherwise cost minutes. Apple's chains need three."""

_Path = tuple[x509.Certificate, ...]


@dataclass(frozen=True)
class TrustStore:
    """What a path may end at, and what it may pass through.

    Attributes:
        roots: self-signed certificates that are trusted.
        intermediates: CA certificates that help to build a path; they are not trusted
            themselves.
    """

    roots: tuple[x509.Certificate, ...]
    intermediates: tuple[x509.Certificate, ...]

    @classmethod
    def apple(cls) -> TrustStore:
        """Apple's public roots, WWDR and Application Integration intermediates, as bundled."""
        return _apple()

    @classmethod
    def of(cls, certificates: Iterable[x509.Certificate]) -> TrustStore:
        """A store of these alone: self-signed ones are its roots, the others intermediates."""
        pile = tuple(dict.fromkeys(certificates))
        roots = tuple(c for c in pile if is_self_signed(c))
        return cls(roots, tuple(c for c in pile if c not in roots))

    def with_extra(self, certificates: Iterable[x509.Certificate]) -> TrustStore:
        """This store and ``certificates``; a self-signed one among them becomes trusted."""
        return TrustStore.of((*self.roots, *self.intermediates, *certificates))


@dataclass(frozen=True)
class Chain:
    """A path in which each certificate is signed by the next; the last one is a root.

    Attributes:
        certificates: leaf, intermediates, root.
    """

    certificates: tuple[x509.Certificate, ...]

    @property
    def leaf(self) -> x509.Certificate:
        """The certificate the path was built for."""
        return self.certificates[0]

    @property
    def root(self) -> x509.Certificate:
        """The trusted end of the path."""
        return self.certificates[-1]

    @property
    def issuers(self) -> tuple[x509.Certificate, ...]:
        """Everything above the leaf, root included."""
        return self.certificates[1:]

    @functools.cached_property
    def leaf_key(self) -> CertificatePublicKeyTypes:
        """The leaf's public key, loaded once for the many signatures that are checked with it."""
        return self.leaf.public_key()

    @property
    def expires_first(self) -> x509.Certificate:
        """The certificate that ends the life of the whole chain."""
        return min(self.certificates, key=lambda c: c.not_valid_after_utc)

    @property
    def not_after(self) -> datetime:
        """When the first certificate of the chain expires (aware, UTC)."""
        return self.expires_first.not_valid_after_utc

    def pem(self) -> str:
        """Leaf to root as PEM: lines of 64 characters, LF, nothing but the blocks."""
        return self._pem

    @functools.cached_property
    def _pem(self) -> str:
        return "".join(
            encode_pem("CERTIFICATE", c.public_bytes(Encoding.DER)) for c in self.certificates
        )


def complete_chain(
    leaf: x509.Certificate,
    trust: TrustStore,
    pile: Iterable[x509.Certificate] = (),
    *,
    at: datetime,
    leaf_dates: bool = True,
) -> tuple[Chain | None, tuple[Finding, ...]]:
    """The best path from ``leaf`` to a root of ``trust``.

    A path that is valid at ``at`` is preferred, then one that lives longer, then a shorter one.

    Args:
        leaf: where the path begins; may itself be a CA certificate.
        trust: the only source of roots.
        pile: further certificates to pass through, in any order; none of them is trusted.
        at: the instant for which validity is judged; aware.
        leaf_dates: False leaves the leaf's own dates to the caller; only its issuers are
            judged.

    Returns:
        The chain, or None if there is no path, and the findings:
        ``chain_certificate_expired`` and ``chain_certificate_not_yet_valid`` (one for each
        certificate of the chain; the chain is still returned), ``chain_certificate_missing``
        (names the issuer that is wanted), ``chain_signature_invalid`` (the issuer is there,
        but its key did not make the signature), ``chain_signature_weak`` (it did, over SHA-1,
        and the certificate is not from ``trust``), ``chain_issuer_not_ca`` (it made it, and may
        not), ``chain_root_untrusted`` (the path ends at a self-signed certificate that is not
        trusted).
    """
    search = _Search(trust, tuple(pile)[:MAX_PILE])
    paths = list(search.paths_from((leaf,)))
    if not paths:
        return None, (search.why_none(leaf),)

    def rank(path: _Path) -> tuple[int, float, int]:
        wrong = sum(1 for c in path if not _valid_at(c, at))
        return wrong, -min(c.not_valid_after_utc for c in path).timestamp(), len(path)

    chain = Chain(min(paths, key=rank))
    judged = chain.certificates if leaf_dates else chain.issuers
    return chain, tuple(f for c in judged for f in date_findings(c, at))


class _Search:
    """One search for paths. Bounded in steps, so that no pile can make it run long."""

    def __init__(self, trust: TrustStore, pile: _Path) -> None:
        self._roots = frozenset(trust.roots)
        self._trusted_source = frozenset((*trust.roots, *trust.intermediates))
        self._candidates = tuple(dict.fromkeys((*trust.roots, *trust.intermediates, *pile)))
        self._steps = _SEARCH_STEPS
        self._signatures = _SIGNATURES
        self._issuers: dict[x509.Certificate, _Path] = {}
        self._dead_end: _Path = ()

    def paths_from(self, path: _Path) -> Iterator[_Path]:
        last = path[-1]
        if last in self._roots:
            yield path
            return
        self._steps -= 1
        if self._steps < 0 or len(path) >= MAX_CHAIN_LENGTH:
            return
        onward = [c for c in self._issuers_of(last) if c not in path and _may_issue(c, path)]
        if not onward and len(path) > len(self._dead_end):
            self._dead_end = path
        for issuer in onward:
            yield from self.paths_from((*path, issuer))

    def why_none(self, leaf: x509.Certificate) -> Finding:
        last = self._dead_end[-1] if self._dead_end else leaf
        if is_self_signed(last):
            return root_untrusted(last)
        named = [c for c in self._candidates if c != last and names_issuer(last, c)]
        wanted = authority_key(last)
        unfit = next(iter(self._issuers_of(last)), None)
        if unfit is not None:
            return issuer_not_ca(last, unfit)
        if any(issued_by(last, c, allow_sha1=True) for c in named):
            return signature_weak(last)
        if any(wanted is not None and subject_key(c) == wanted for c in named):
            return signature_invalid(last)
        return missing_issuer(last, wanted, look_alike=bool(named))

    def _issuers_of(self, certificate: x509.Certificate) -> _Path:
        known = self._issuers.get(certificate)
        if known is None:
            sha1 = certificate in self._trusted_source
            known = tuple(
                c
                for c in self._candidates
                if c != certificate and self._issued(certificate, c, allow_sha1=sha1)
            )
            self._issuers[certificate] = known
        return known

    def _issued(
        self, certificate: x509.Certificate, by: x509.Certificate, *, allow_sha1: bool
    ) -> bool:
        if not names_issuer(certificate, by) or self._signatures <= 0:
            return False
        wanted, offered = authority_key(certificate), subject_key(by)
        if wanted is not None and offered is not None and wanted != offered:
            return False
        self._signatures -= 1
        return issued_by(certificate, by, allow_sha1=allow_sha1)


def _may_issue(issuer: x509.Certificate, below: _Path) -> bool:
    constraints = extension(issuer, x509.BasicConstraints)
    if constraints is None or not constraints.ca:
        return False
    intermediates_below = len(below) - 1
    if constraints.path_length is not None and intermediates_below > constraints.path_length:
        return False
    usage = extension(issuer, x509.KeyUsage)
    return usage is None or usage.key_cert_sign


def _valid_at(certificate: x509.Certificate, at: datetime) -> bool:
    return certificate.not_valid_before_utc <= at <= certificate.not_valid_after_utc


@functools.cache
def _apple() -> TrustStore:
    folder = importlib.resources.files("lifecycle.pki").joinpath("apple_ca")
    files = sorted((f for f in folder.iterdir() if f.name.endswith(".cer")), key=lambda f: f.name)
    return TrustStore.of(x509.load_der_x509_certificate(f.read_bytes()) for f in files)
