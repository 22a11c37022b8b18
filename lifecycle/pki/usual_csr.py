"""The CSR in its usual form: found sound at a glance, where thousands are to be signed.

Nearly every CSR differs from the next in its subject, its modulus and its signature, and in
nothing else: an RSA key of 2048 bits with the exponent 65537, no attributes, SHA-256. Where every
other byte stands as it must, most of what ``vet_csr`` looks up is known beforehand.
"""

from __future__ import annotations

from struct import Struct
from typing import cast

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from lifecycle.pki.certificates import UNREADABLE
from lifecycle.pki.digest_info import AS_IT_IS, PKCS1_V15, sha256_info
from lifecycle.pki.subject import plain_values

_OCTETS = 256
"""Of the modulus, and of the signature."""

# The whole is a SEQUENCE, what it signs of itself another in it (RFC 2986, 4): version 0, the
# subject, which is short,
_BEFORE_SUBJECT = Struct(">HHHH4sB")
_LONG_SEQUENCE = 0x3082
_VERSION_THEN_NAME = bytes.fromhex("020100 30")
# the key: rsaEncryption, the modulus (RFC 8017, A.1.1),
_BEFORE_MODULUS = bytes.fromhex(
    "30820122 300d 06092a864886f70d010101 0500 0382010f00 3082010a 0282010100"
)
# the exponent, attributes, of which there are none. Then sha256WithRSAEncryption, the signature.
_AFTER_MODULUS = bytes.fromhex("0203010001 a000")
_BEFORE_SIGNATURE = bytes.fromhex("300d 06092a864886f70d01010b 0500 0382010100")

_MODULUS_TO_SIGNATURE = _AFTER_MODULUS + _BEFORE_SIGNATURE
_UNSIGNED = len(_BEFORE_SIGNATURE) + _OCTETS
_FROM_MODULUS = _OCTETS + len(_AFTER_MODULUS) + _UNSIGNED
_FROM_KEY = len(_BEFORE_MODULUS) + _FROM_MODULUS
"""How far it is from there to the end."""


def is_sound_at_a_glance(der: bytes) -> bool:
    """Whether ``der`` is a CSR in its usual form, which ``read_csr`` takes, with these very bytes.

    False says nothing against it: ``read_csr`` does.
    """
    begins, ends = _BEFORE_SUBJECT.size, len(der) - _FROM_KEY
    if not (begins < ends < begins + 0x80 and _is_usual(der, begins, ends)):
        return False
    try:
        if not plain_values(der, begins, ends):
            return False
        key = cast(RSAPublicKey, x509.load_der_x509_csr(der).public_key())
        # As OpenSSL's own verification: the signature is as long as the modulus, and what it holds
        # is compared to the last byte.
        held = key.recover_data_from_signature(der[-_OCTETS:], PKCS1_V15, AS_IT_IS)
    except (InvalidSignature, *UNREADABLE):
        return False
    return held == sha256_info(der[4:-_UNSIGNED])


def _is_usual(der: bytes, begins: int, ends: int) -> bool:
    """Whether everything around the subject (from, to), the modulus and the signature is right."""
    size, signed = len(der) - 4, len(der) - 8 - _UNSIGNED
    head = (_LONG_SEQUENCE, size, _LONG_SEQUENCE, signed, _VERSION_THEN_NAME, ends - begins)
    return (
        der.startswith(_BEFORE_SUBJECT.pack(*head))
        and der.startswith(_BEFORE_MODULUS, ends)
        and der[-_FROM_MODULUS] >= 0x80  # its first bit is one of the 2048
        and der.startswith(_MODULUS_TO_SIGNATURE, _OCTETS - _FROM_MODULUS)
    )
