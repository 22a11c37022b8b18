"""The vendor's MDM signing certificate and key: kept in a directory, used to sign CSRs.

The key never enters the database and is loaded only by processes that sign (``run``,
``tick``, ``sign``). The directory holds one folder per signing certificate, named after its
fingerprint, and a file ``current`` that names the one in use; it is replaced by rename, so a
crash leaves the old signer or the new one in force, never half of one. Where the key is in a
token (an HSM), the folder has the PKCS#11 URI that leads to it in the key's place.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import NamedTuple, Protocol

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes

from lifecycle.boundary import Unobserved, WriteObserver
from lifecycle.errors import Finding, Refused, Severity, raise_for, refuse
from lifecycle.pki.chain import Chain, TrustStore, complete_chain, parse_certificates
from lifecycle.pki.csr import read_csr
from lifecycle.pki.fingerprints import fingerprint, short
from lifecycle.pki.keys import key_to_pem, load_private_key
from lifecycle.pki.pkcs11_uri import Pkcs11Uri, parse_pkcs11_uri
from lifecycle.pki.request import KeySigner, RequestHead, RequestPress, SignsCsr, proves_pair
from lifecycle.pki.signing_certificate import check_signing_certificate, key_mismatch
from lifecycle.pki.usual_csr import is_sound_at_a_glance
from lifecycle.vendor.token_key import TokenFacts, TokenKey

CHAIN_FILE = "chain.pem"
KEY_FILE = "signing.key"
URI_FILE = "key.uri"
CURRENT_FILE = "current"

Passphrase = Callable[[], bytes | None]
"""Fetches the passphrase of the signing key when it is needed, and not before."""

TokenOpener = Callable[[Pkcs11Uri], TokenKey]
"""Makes the key in a token usable, as the deployment is configured (module, PIN)."""


@dataclass(frozen=True, slots=True)
class SignerRecord:
    """The public facts about a signer. ``not_after`` is the earliest end in its chain."""

    fingerprint: str
    common_name: str
    not_before: datetime
    not_after: datetime
    expires_first: str
    chain_pem: str


class SignedCsr(NamedTuple):
    """A CSR with its signature, and until when the portal takes the request made of them."""

    csr: bytes
    signature: bytes
    signer_fingerprint: str
    dies_at: datetime
    head: RequestHead

    @property
    def request(self) -> str:
        """The request: the Base64 text for the portal."""
        return self.head.encode(self.csr, self.signature)


class RequestSigner(Protocol):
    """Signs CSRs with the MDM signing key, wherever that key is.

    ``current`` must not need the key. ``sign`` may be called again for the same CSR and must
    give the same bytes while the signer is the same (PKCS#1 v1.5 is deterministic).
    """

    def ready(self) -> None:
        """Sees that the key can be used now. Raises ``Unavailable`` or ``Refused``, where it
        cannot: then no CSR can be signed."""
        ...

    def current(self) -> SignerRecord | None:
        """The signer in use, or None when none has been imported."""
        ...

    def sign_all(self, csrs: Sequence[bytes]) -> list[SignedCsr | Refused]:
        """Signs CSRs (DER, as received), in their order.

        Returns:
            For each its signature, or why it is not fit to be signed.

        Raises:
            Refused: nothing can be signed: no signer, a bad passphrase.
            Unavailable: the key cannot be reached just now.
        """
        ...


@dataclass(frozen=True, slots=True)
class _Loaded:
    """The signer in force, ready to sign."""

    name: str
    signer: SignsCsr
    press: RequestPress
    dies_at: datetime


class SignerDirectory:
    """The signer kept as files, or as a file that leads to its key in a token.

    Args:
        path: directory, mode 0700; made on the first import.
        passphrase: fetches the key's passphrase, or gives None for a key without one.
        observer: told around the rename that puts a new signer in force.
        tokens: opens keys in tokens.
    """

    def __init__(
        self,
        path: Path,
        passphrase: Passphrase = lambda: None,
        observer: WriteObserver | None = None,
        tokens: TokenOpener = lambda uri: TokenKey(uri, lambda: None),
    ) -> None:
        self._path = path
        self._passphrase = passphrase
        self._observer: WriteObserver = observer or Unobserved()
        self._tokens = tokens
        self._loaded: _Loaded | None = None

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
        chain, findings = checked_chain(certificate, key.public_key(), pile, trust, at=at)
        sealed = key_to_pem(key, self._passphrase())
        return self._put_in_force(chain, KEY_FILE, sealed, without=URI_FILE), findings

    def install_token(
        self,
        certificate: x509.Certificate,
        uri: Pkcs11Uri,
        pile: Iterable[x509.Certificate],
        trust: TrustStore,
        *,
        at: datetime,
    ) -> tuple[SignerRecord, tuple[Finding, ...]]:
        """Puts a signing certificate in force whose key is in a token, and stays there.

        A file with the key that was imported for the same certificate before is removed.

        Raises:
            Refused: as ``install`` does; the token's key is proven by a signature.
            Unavailable: the token is not there.
        """
        key = self._tokens(uri)
        chain, findings = checked_chain(certificate, None, pile, trust, at=at)
        facts = key.facts()
        if not proves_pair(key, chain.leaf_key):
            raise Refused(key_mismatch())
        if facts.leaves:
            findings = (*findings, _leaves(facts))
        record = self._put_in_force(chain, URI_FILE, f"{uri}\n".encode(), without=KEY_FILE)
        return record, findings

    def _put_in_force(
        self, chain: Chain, file: str, content: bytes, *, without: str
    ) -> SignerRecord:
        record = record_of(chain)
        folder = self._path / record.fingerprint
        self._path.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
        self._replace(folder / file, content)
        self._replace(folder / CHAIN_FILE, chain.pem().encode())
        self._replace(self._path / CURRENT_FILE, record.fingerprint.encode())
        (folder / without).unlink(missing_ok=True)
        self._loaded = None
        return record

    def current(self) -> SignerRecord | None:
        """See ``RequestSigner.current``."""
        name = self._current_name()
        return None if name is None else record_of(self._read_chain(name))

    def sign(self, csr: bytes) -> SignedCsr:
        """Signs one CSR. Raises ``Refused``, ``Unavailable``."""
        (made,) = self.sign_all([csr])
        if isinstance(made, Refused):
            raise made
        return made

    def sign_all(self, csrs: Sequence[bytes]) -> list[SignedCsr | Refused]:
        """See ``RequestSigner.sign_all``."""
        loaded = self._load()
        # One kind of work after the other, so that each finds the processor warm for it.
        vetted = [_vetted(csr) for csr in csrs]
        signatures = iter(loaded.press.sign(csr for csr in vetted if not isinstance(csr, Refused)))
        name, dies_at, head = loaded.name, loaded.dies_at, loaded.press.head
        return [
            csr
            if isinstance(csr, Refused)
            else SignedCsr(csr, next(signatures), name, dies_at, head)
            for csr in vetted
        ]

    def ready(self) -> None:
        """See ``RequestSigner.ready``."""
        signer = self._load().signer
        if isinstance(signer, TokenKey):
            signer.facts()

    def check_key(self) -> None:
        """Loads the key as ``sign`` would and proves that it is the certificate's.

        Raises:
            Refused, Unavailable: that cannot be done.
        """
        name = self._current_name()
        if name is not None:
            chain = self._read_chain(name)
            raise_for(check_signing_certificate(chain.leaf, None, at=None))
            if not proves_pair(self._open(name), chain.leaf_key):
                raise Refused(key_mismatch())

    def token(self) -> Pkcs11Uri | None:
        """Where the key in force is; None for one in a file, or for none."""
        name = self._current_name()
        return None if name is None else self._read_uri(name)

    def _load(self) -> _Loaded:
        name = self._current_name()
        if name is None:
            raise refuse(
                "signer_missing",
                "There is no MDM signing certificate.",
                "Import one with `pushcert signer import --certificate FILE --key FILE`.",
            )
        if self._loaded is None or self._loaded.name != name:
            try:
                signer, chain = self._open(name), self._read_chain(name)
            except OSError as error:
                raise refuse(
                    "signer_unreadable",
                    f"The MDM signing key in {self._path} cannot be read ({error.strerror}).",
                    "Give pushcert its files back, or import the signer again.",
                ) from None
            press = RequestPress(signer, chain, check_each=isinstance(signer, TokenKey))
            self._loaded = _Loaded(name, signer, press, chain.not_after)
        return self._loaded

    def _open(self, name: str) -> SignsCsr:
        uri = self._read_uri(name)
        return KeySigner(self._read_key(name)) if uri is None else self._tokens(uri)

    def _current_name(self) -> str | None:
        try:
            return (self._path / CURRENT_FILE).read_text().strip()
        except FileNotFoundError:
            return None

    def _read_chain(self, name: str) -> Chain:
        return Chain(parse_certificates((self._path / name / CHAIN_FILE).read_bytes()))

    def _read_uri(self, name: str) -> Pkcs11Uri | None:
        try:
            return parse_pkcs11_uri((self._path / name / URI_FILE).read_text())
        except FileNotFoundError:
            return None

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
    key: PublicKeyTypes | None,
    pile: Iterable[x509.Certificate],
    trust: TrustStore,
    *,
    at: datetime,
) -> tuple[Chain, tuple[Finding, ...]]:
    """The complete chain of a signing certificate that can be used with this key.

    Args:
        key: the public half of the key that is to sign; None: not compared.

    Raises:
        Refused: with every finding, when any of them refuses.
    """
    chain, chain_findings = complete_chain(certificate, trust, pile, at=at)
    findings = (
        *check_signing_certificate(certificate, key, at=at),
        *chain_findings,
    )
    if chain is None or any(finding.refuses for finding in findings):
        raise Refused(findings)
    return chain, findings


def _vetted(csr: bytes) -> bytes | Refused:
    if is_sound_at_a_glance(csr):
        return csr
    try:
        # Only the bytes go on: what was loaded of a thousand CSRs would crowd out the key's work.
        return read_csr(csr).der
    except Refused as refused:
        return refused


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


def _leaves(facts: TokenFacts) -> Finding:
    return Finding(
        "token_key_leaves",
        f"The token “{facts.token}” would give the key “{facts.object}” out: it is extractable, or"
        " not sensitive.",
        "Make a key in the token that never leaves it for the next MDM signing certificate.",
        Severity.NOTE,
    )


def _der(certificate: x509.Certificate) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding

    return certificate.public_bytes(Encoding.DER)


def _common_name(certificate: x509.Certificate) -> str:
    names = certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    return str(names[0].value) if names else short(fingerprint(_der(certificate)))
