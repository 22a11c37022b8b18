"""Push certificate requests: what the customer uploads to Apple's portal.

An XML property list of three strings, Base64-encoded as a whole (Apple, "Setting Up Push
Notifications for Your MDM Customers"; the Base64 details are in FACTS.md): the CSR's DER, the
chain of the MDM signing certificate as PEM, and the signature over the CSR's DER.
"""

from __future__ import annotations

import base64
import binascii
import plistlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple, Protocol
from xml.parsers.expat import ExpatError

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey

from lifecycle.errors import Refused, refuse
from lifecycle.pki.certificates import certificate_name
from lifecycle.pki.chain import Chain
from lifecycle.pki.csr import Csr
from lifecycle.pki.digest_info import AS_IT_IS, PKCS1_V15, sha256_info
from lifecycle.pki.kinds import FileKind, kind_of
from lifecycle.pki.pem import plain_text
from lifecycle.pki.request_checks import check_request

__all__ = [
    "KeySigner",
    "PushCertRequest",
    "RequestPress",
    "SignsCsr",
    "check_request",
    "decode_request",
    "sign_request",
]

MAX_REQUEST_BYTES = 512 * 1024
"""Upper bound of a request file; one with a chain of four certificates has about 10 KB."""

_CSR_KEY = "PushCertRequestCSR"
_CHAIN_KEY = "PushCertCertificateChain"
_SIGNATURE_KEY = "PushCertSignature"

# The form that Python's plistlib and Apple's own tools write. Written out because none of the
# three values can hold a character that XML would escape.
_HEAD = (
    '<?xml version="1.0" encoding="UTF-8"?>\n'
    '<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" '
    '"http://www.apple.com/DTDs/PropertyList-1.0.dtd">\n'
    '<plist version="1.0">\n'
    "<dict>\n"
    f"\t<key>{_CHAIN_KEY}</key>\n\t<string>%s</string>\n"
    f"\t<key>{_CSR_KEY}</key>\n\t<string>"
)
_BETWEEN = f"</string>\n\t<key>{_SIGNATURE_KEY}</key>\n\t<string>".encode()
_END = b"</string>\n</dict>\n</plist>\n"


class SignsCsr(Protocol):
    """The vendor's MDM signing key, wherever it lives (a file, an HSM).

    An implementer returns the RSA PKCS#1 v1.5 signature with SHA-256 over ``data``, made with
    the key of the MDM signing certificate, and must not log ``data`` or the key. It may raise
    ``Unavailable`` when the key cannot be reached just now.
    """

    def sign(self, data: bytes) -> bytes:
        """The signature over ``data``."""
        ...


class KeySigner:
    """A ``SignsCsr`` over an RSA key in memory."""

    def __init__(self, key: RSAPrivateKey) -> None:
        self._key = key

    def sign(self, data: bytes) -> bytes:
        """See ``SignsCsr.sign``."""
        return self._key.sign(sha256_info(data), PKCS1_V15, AS_IT_IS)

    def __repr__(self) -> str:
        return "KeySigner(<private key>)"


@dataclass(frozen=True)
class PushCertRequest:
    """A push certificate request, decoded.

    Attributes:
        csr_der: the CSR, exactly the bytes that were signed.
        chain_pem: MDM signing certificate, WWDR intermediate, root.
        signature: RSA PKCS#1 v1.5 with SHA-256 over ``csr_der``.
    """

    csr_der: bytes
    chain_pem: str
    signature: bytes

    def plist(self) -> bytes:
        """The XML property list, UTF-8; the same fields give the same bytes.

        Raises:
            ValueError: ``chain_pem`` is no PEM (it holds a character that XML would escape).
        """
        return _head(self.chain_pem) + _tail(self.csr_der, self.signature)

    def encode(self) -> str:
        """What is uploaded: the Base64 of the property list on one line, no line end."""
        return _base64(self.plist())


def proves_pair(signer: SignsCsr, key: object) -> bool:
    """Whether what ``signer`` signs is verified by ``key``: the one is the other's private half.

    Raises:
        Unavailable: from ``signer``.
    """
    message = b"pushcert: do the signing key and its certificate belong together?"
    if not isinstance(key, RSAPublicKey):
        return False
    try:
        key.verify(signer.sign(message), message, padding.PKCS1v15(), hashes.SHA256())
    except InvalidSignature:
        return False
    return True


class RequestHead(NamedTuple):
    """What all requests with one chain begin with, encoded once.

    Attributes:
        encoded: its Base64, as far as that does not depend on what follows.
        left: what of it is not in there, fewer than three bytes.
    """

    encoded: str
    left: bytes

    @classmethod
    def of(cls, chain_pem: str) -> RequestHead:
        """Raises ``ValueError``: ``chain_pem`` is no PEM."""
        head = _head(chain_pem)
        whole = len(head) // 3 * 3  # Base64 takes three bytes at a time
        return cls(_base64(head[:whole]), head[whole:])

    def encode(self, csr_der: bytes, signature: bytes) -> str:
        """What ``PushCertRequest.encode`` gives."""
        return self.encoded + _base64(self.left + _tail(csr_der, signature))


class RequestPress:
    """Signs for requests with one signer, one after the other.

    That the signer's key is the leaf's is proven once where the key is in this process: OpenSSL
    checks every RSA signature that it makes with the public half before it gives it out. What
    comes from outside (a token) is checked with the leaf's key each time.

    Attributes:
        head: of its requests.

    Raises:
        Refused: ``signer_key_not_rsa`` or ``signer_key_mismatch``, as ``sign_request`` does.
        Unavailable: from ``signer``.
    """

    def __init__(self, signer: SignsCsr, chain: Chain, *, check_each: bool) -> None:
        require_pair(signer, chain)
        self._signer = signer
        self._chain = chain
        self._check_each = check_each
        self.head = RequestHead.of(chain.pem())

    def sign(self, csrs: Iterable[bytes]) -> list[bytes]:
        """The signatures for CSRs (DER) that have been vetted, in their order."""
        if self._check_each:
            return [sign_request(Csr(csr), self._signer, self._chain).signature for csr in csrs]
        return [self._signer.sign(csr) for csr in csrs]


def require_pair(signer: SignsCsr, chain: Chain) -> None:
    """Proves with a signature that the signer's key is that of ``chain.leaf``.

    Raises:
        Refused: ``signer_key_not_rsa``, ``signer_key_mismatch``.
        Unavailable: from ``signer``.
    """
    if not isinstance(chain.leaf_key, RSAPublicKey):
        raise _key_not_rsa(chain)
    if not proves_pair(signer, chain.leaf_key):
        raise _key_mismatch(chain)


def sign_request(csr: Csr, signer: SignsCsr, chain: Chain) -> PushCertRequest:
    """Signs ``csr`` for the owner of ``chain.leaf`` and proves the signature with that leaf.

    Not checked: the CSR (``vet_csr``) and the chain's dates (``complete_chain``); the caller
    has done both.

    Raises:
        Refused: ``signer_key_not_rsa`` or ``signer_key_mismatch``: the key and the MDM signing
            certificate do not belong together.
        Unavailable: from ``signer``.
    """
    key = chain.leaf_key
    if not isinstance(key, RSAPublicKey):
        raise _key_not_rsa(chain)
    signature = signer.sign(csr.der)
    try:
        key.verify(signature, csr.der, padding.PKCS1v15(), hashes.SHA256())
    except InvalidSignature:
        raise _key_mismatch(chain) from None
    return PushCertRequest(csr.der, chain.pem(), signature)


def decode_request(data: bytes) -> PushCertRequest:
    """A request from the file that is uploaded (Base64 text) or from the bare property list.

    Line breaks in the Base64, a BOM and UTF-16 are accepted. XML entities are not, and the size
    is bounded, so no input makes this run long. The content is not judged; see
    ``check_request``.

    Raises:
        Refused: ``request_too_large``, ``request_missing`` (the message says what the file is
            instead), ``request_damaged``, ``request_incomplete`` (names the keys that are
            missing or no strings).
    """
    if len(data) > MAX_REQUEST_BYTES:
        raise refuse(
            "request_too_large",
            f"The file has {len(data):,} bytes; a push certificate request has about 8,000.",
            "Choose the request file itself.",
        )
    fields = _string_fields(_property_list(plain_text(data).strip(), data))
    return PushCertRequest(
        csr_der=_from_base64(fields[_CSR_KEY], _CSR_KEY),
        chain_pem=fields[_CHAIN_KEY],
        signature=_from_base64(fields[_SIGNATURE_KEY], _SIGNATURE_KEY),
    )


def _property_list(text: bytes, data: bytes) -> object:
    xml = text
    if not text.startswith(b"<"):
        if kind_of(data) not in (FileKind.REQUEST, FileKind.PROPERTY_LIST, FileKind.TEXT):
            raise _not_a_request(data)
        try:
            xml = base64.b64decode(b"".join(text.split()), validate=True)
        except binascii.Error:
            raise _not_a_request(data) from None
    if b"<plist" not in xml:
        raise _not_a_request(data)
    if b"<!ENTITY" in xml:
        raise _damaged("it declares XML entities, which a request has no use for")
    try:
        # plistlib refuses entity declarations too, in any encoding.
        return plistlib.loads(xml, fmt=plistlib.FMT_XML)
    except (ExpatError, ValueError, TypeError, LookupError, AttributeError, OverflowError):
        raise _damaged("its property list cannot be read") from None


def _string_fields(content: object) -> dict[str, str]:
    if not isinstance(content, dict):
        raise _damaged("its property list is not a dictionary")
    wanted = (_CSR_KEY, _CHAIN_KEY, _SIGNATURE_KEY)
    fields = {key: content[key] for key in wanted if isinstance(content.get(key), str)}
    lacking = [key for key in wanted if not fields.get(key, "").strip()]
    if lacking:
        raise refuse(
            "request_incomplete",
            f"The push certificate request lacks {', '.join(lacking)} as a string.",
            "Sign the CSR again and use the new request.",
        )
    return fields


def _from_base64(text: str, key: str) -> bytes:
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except ValueError:
        raise _damaged(f"{key} is not valid Base64") from None


def _key_not_rsa(chain: Chain) -> Refused:
    return refuse(
        "signer_key_not_rsa",
        f"“{certificate_name(chain.leaf)}” has no RSA key; Apple wants SHA256WithRSA.",
        "Import the MDM signing certificate that Apple issued for an RSA key.",
    )


def _key_mismatch(chain: Chain) -> Refused:
    return refuse(
        "signer_key_mismatch",
        f"The signing key is not the key of “{certificate_name(chain.leaf)}”.",
        "Import the MDM signing certificate together with the key its CSR was made with.",
    )


def _head(chain_pem: str) -> bytes:
    if not chain_pem.isascii() or any(c in chain_pem for c in "<>&"):
        raise ValueError("the chain of a push certificate request must be PEM")
    return (_HEAD % chain_pem).encode("ascii")


def _tail(csr_der: bytes, signature: bytes) -> bytes:
    csr = binascii.b2a_base64(csr_der, newline=False)
    return csr + _BETWEEN + binascii.b2a_base64(signature, newline=False) + _END


def _base64(data: bytes) -> str:
    return binascii.b2a_base64(data, newline=False).decode("ascii")


def _not_a_request(data: bytes) -> Refused:
    return refuse(
        "request_missing",
        f"This is not a push certificate request but {kind_of(data).value}.",
        "Give the request as it was delivered, or the property list in it.",
    )


def _damaged(why: str) -> Refused:
    return refuse(
        "request_damaged",
        f"The push certificate request is damaged: {why}.",
        "Fetch the request again, or sign the CSR again.",
    )
