"""The DigestInfo: what an RSA signature (PKCS#1 v1.5) holds of what was signed.

A signature is made and verified with it as with SHA-256, bit for bit: OpenSSL would put the very
same together. Given it finished (``AS_IT_IS``), it need not look SHA-256 up by name first, which
it does anew for each signature.
"""

from __future__ import annotations

from hashlib import sha256

from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.utils import NoDigestInfo

PKCS1_V15, AS_IT_IS = PKCS1v15(), NoDigestInfo()

_BEFORE_DIGEST = bytes.fromhex("3031 300d 06096086480165030402010500 0420")


def sha256_info(data: bytes) -> bytes:
    """The DigestInfo of ``data`` with SHA-256, DER (RFC 8017, 9.2, note 1)."""
    return _BEFORE_DIGEST + sha256(data).digest()
