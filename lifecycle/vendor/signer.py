"""The vendor's MDM signing certificate and key: kept in a directory, used to sign CSRs.

The key never enters the database and is loaded only by processes that sign (``run``,
``tick``, ``sign``). The directory holds one folder per signing certificate, named after its
fingerprint, and a file ``current`` that names the one in use; it is replaced by rename, so a
crash leaves the old signer or the new one in force, never half of one.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from lifecycle.boundary import Unobserved, WriteObserver
from lifecycle.errors import Finding, Refused, raise_for, refuse
from lifecycle.pki.chain import Chain, TrustStore, complete_chain, parse_certificates
from lifecycle.pki.csr import read_csr
from lifecycle.pki.fingerprints import fingerprint, short
from lifecycle.pki.keys import key_to_pem, load_private_key
from lifecycle.pki.request import KeySigner, sign_request
from lifecycle.pki.signing_certificate import check_signing_certificate

CHAIN_FILE = "chain.pem"
KEY_FILE = "signing.key"
CURRENT_FILE = "current"

Passphrase = Callable[[], bytes | None]
"""Fetches the passphrase of the signing key when it is needed, and not before."""


@dataclass(frozen=True, slots=True)
class SignerRecord:
    """The public facts about a signer. ``not_after`` is the earliest end in its chain."""

    fingerprint: str
    common_name: str
    not_before: datetime
    not_after: datetime
    expires_first: str
    chain_pem: str


@dataclass(frozen=True, slots=True)
class SignedCsr:
    """A signed request: the Base64 text for the portal, and until when the portal takes it."""

    request: str
    signer_fingerprint: str
    dies_at: datetime


class RequestSigner(Protocol):
    """Signs CSRs with the MDM signing key, wherever that key is.

    ``current`` must not need the key. ``sign`` may be called again for the same CSR and must
    give the same bytes while the signer is the same (PKCS#1 v1.5 is deterministic).
    """

    def current(self) -> SignerRecord | None:
        """The signer in use, or None when none has been imported."""
        ...

    def sign(self, csr: bytes) -> SignedCsr:
        """Signs the CSR (DER, as received). Raises ``Refused`` (no signer, bad passphrase)."""
        ...


class SignerDirectory:
    """The signer kept as files.

    Args:
        path: directory, mode 0700; made on the first import.
        passphrase: fetches the key's passphrase, or gives None for a key without one.
        observer: told around the rename that puts a new signer in force.
    """

    def __init__(
        self,
        path: Path,
        passphrase: Passphrase = lambda: None,
        observer: WriteObserver | None = None,
    ) -> None:
        self._path = path
        self._passphrase = passphrase
        self._observer: WriteObserver = observer or Unobserved()
        self._loaded: tuple[str, RSAPrivateKey, Chain] | None = None

    def install(
        self,
        certificate: x509.Certificate,
        key: RSAPrivateKey,
        pile: Iterable[x509.Certificate],
        trust: TrustStore,
        *,
        at: datetime,
    ) -> tuple[SignerRecord, tuple[Finding, ...]]:
        """Puts a signing certificate and its key in force.

        Args:
            certificate: the MDM signing certificate.
            key: its private key; stored encrypted when a passphrase is configured.
            pile: any further certificates, in any order, to complete the chain from.
            trust: roots and intermediates known beside them.
            at: now, UTC.

        Returns:
            The public facts, and notes about them.

        Raises:
            Refused: the key does not fit, the chain does not reach a root, or anything in it
                is not valid now; nothing was written.
        """
        chain, findings = checked_chain(certificate, key, pile, trust, at=at)
        record = record_of(chain)
        folder = self._path / record.fingerprint
        self._path.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
        self._replace(folder / KEY_FILE, key_to_pem(key, self._passphrase()))
        self._replace(folder / CHAIN_FILE, chain.pem().encode())
        self._replace(self._path / CURRENT_FILE, record.fingerprint.encode())
        return record, findings

    def current(self) -> SignerRecord | None:
        """See ``RequestSigner.current``."""
        name = self._current_name()
        return None if name is None else record_of(self._read_chain(name))

    def sign(self, csr: bytes) -> SignedCsr:
        """See ``RequestSigner.sign``."""
        name = self._current_name()
        if name is None:
            raise refuse(
                "signer_missing",
                "There is no MDM signing certificate.",
                "Import one with `pushcert signer import --certificate FILE --key FILE`.",
            )
        if self._loaded is None or self._loaded[0] != name:
            self._loaded = (name, self._read_key(name), self._read_chain(name))
        _, key, chain = self._loaded
        request = sign_request(read_csr(csr), KeySigner(key), chain)
        return SignedCsr(request.encode(), name, chain.not_after)

    def check_key(self) -> None:
        """Loads the key as ``sign`` would. Raises ``Refused`` when that cannot be done."""
        name = self._current_name()
        if name is not None:
            key, chain = self._read_key(name), self._read_chain(name)
            raise_for(check_signing_certificate(chain.leaf, key.public_key(), at=None))

    def _current_name(self) -> str | None:
        try:
            return (self._path / CURRENT_FILE).read_text().strip()
        except FileNotFoundError:
            return None

    def _read_chain(self, name: str) -> Chain:
        return Chain(parse_certificates((self._path / name / CHAIN_FILE).read_bytes()))

    def _read_key(self, name: str) -> RSAPrivateKey:
        data = (self._path / name / KEY_FILE).read_bytes()
        # Checked when it was imported, and written by us: not validated a second time.
        return load_private_key(data, self._passphrase(), trusted=True)

    def _replace(self, path: Path, data: bytes) -> None:
        new = path.with_name(path.name + ".new")
        descriptor = os.open(new, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        self._observer.reached(f"signer.{path.name}:before")
        new.replace(path)
        self._observer.reached(f"signer.{path.name}:after")


def checked_chain(
    certificate: x509.Certificate,
    key: RSAPrivateKey,
    pile: Iterable[x509.Certificate],
    trust: TrustStore,
    *,
    at: datetime,
) -> tuple[Chain, tuple[Finding, ...]]:
    """The complete chain of a signing certificate that can be used with this key.

    Raises:
        Refused: with every finding, when any of them refuses.
    """
    chain, chain_findings = complete_chain(certificate, trust, pile, at=at)
    findings = (
        *check_signing_certificate(certificate, key.public_key(), at=at),
        *chain_findings,
    )
    if chain is None or any(finding.refuses for finding in findings):
        raise Refused(findings)
    return chain, findings


def record_of(chain: Chain) -> SignerRecord:
    """The public facts about a signer, from its chain."""
    leaf = chain.leaf
    return SignerRecord(
        fingerprint=fingerprint(_der(leaf)),
        common_name=_common_name(leaf),
        not_before=max(c.not_valid_before_utc for c in chain.certificates),
        not_after=chain.not_after,
        expires_first=_common_name(chain.expires_first),
        chain_pem=chain.pem(),
    )


def _der(certificate: x509.Certificate) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding

    return certificate.public_bytes(Encoding.DER)


def _common_name(certificate: x509.Certificate) -> str:
    names = certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    return str(names[0].value) if names else short(fingerprint(_der(certificate)))
