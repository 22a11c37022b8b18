"""Who a connection to APNs belongs to: a push certificate and its private key, in memory."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Self

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from lifecycle.errors import InternalFault


@dataclass(frozen=True, slots=True)
class ClientIdentity:
    """A push certificate and its private key; that they belong together is checked by
    ``ClientTls.begin``, with each connection.

    Raises:
        InternalFault: the key is not RSA. The vault holds no other, so this is a defect and no
            refusal.
    """

    certificate: x509.Certificate = field(repr=False)
    key: RSAPrivateKey = field(repr=False)

    def __post_init__(self) -> None:
        if not isinstance(self.key, RSAPrivateKey):
            raise InternalFault("A client identity was made with a key that is not RSA.")

    @classmethod
    def from_pem(cls, certificate: str, key: RSAPrivateKey) -> Self:
        """An identity from a certificate in PEM.

        Raises:
            InternalFault: it is none, or the key is not RSA.
        """
        try:
            return cls(x509.load_pem_x509_certificate(certificate.encode()), key)
        except ValueError:
            raise InternalFault("A client identity was made without a certificate.") from None
