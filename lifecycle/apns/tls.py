"""The client's half of the TLS handshake: whom we trust, and whose certificate we show.

By way of pyOpenSSL, for three reasons. A key is handed over in memory: Python's ``ssl`` loads one
from a file only. Certificate and key belong to a *connection*, so that customers share one
context with its trusted roots and can still never show each other's certificate. And it runs on
the OpenSSL that ``cryptography`` brings along, where loading a key takes 0.03 ms; with Python's
own, parsing it from PEM takes 0.4 ms, more than signing with it.
"""

from __future__ import annotations

import ipaddress
import threading
from pathlib import Path

import certifi
from cryptography.x509 import Certificate
from OpenSSL import SSL, crypto
from service_identity import CertificateError, VerificationError
from service_identity.cryptography import (
    verify_certificate_hostname,
    verify_certificate_ip_address,
)

from lifecycle.apns.identity import ClientIdentity
from lifecycle.errors import InternalFault, refuse

H2 = b"h2"
_NO_AUTO_CHAIN = 0x8
"""SSL_MODE_NO_AUTO_CHAIN: else OpenSSL searches the roots for issuers of *our* certificate."""
_RELEASE_BUFFERS = 0x10
"""SSL_MODE_RELEASE_BUFFERS: a connection that waits for an answer holds no 34 KB of buffers."""
_REMEMBERED = 16
"""Server certificates whose name has been checked; APNs has a handful."""


class ClientTls:
    """Begins TLS connections to one host; safe to use from many threads.

    Args:
        host: whom the server must be, a name or an address.
        ca_file: roots to trust instead of the public ones (PEM), read at the first connection.
    """

    def __init__(self, host: str, ca_file: Path | None = None) -> None:
        self._host = host
        self._ca_file = ca_file
        self._lock = threading.Lock()
        self._context: SSL.Context | None = None
        self._named: dict[bytes, bool] = {}

    def require(self) -> None:
        """Loads the roots if they are not loaded yet.

        Raises:
            Refused: ``apns_ca_unreadable``, the file cannot be read or has no certificate in it.
        """
        self._loaded()

    def begin(self, identity: ClientIdentity) -> SSL.Connection:
        """A new connection over memory: ciphertext goes by ``bio_write`` and ``bio_read``.

        Args:
            identity: what this connection, and no other, shows to the server.

        Raises:
            Refused: as ``require``.
            InternalFault: certificate and key do not belong together.
        """
        connection = SSL.Connection(self._loaded(), None)
        try:
            connection.use_certificate(identity.certificate)
            connection.use_privatekey(identity.key)
        except SSL.Error:  # OpenSSL compares the two
            raise InternalFault(
                "A client identity was made of two that do not belong together."
            ) from None
        if not _is_address(self._host):
            connection.set_tlsext_host_name(self._host.encode("idna"))
        connection.set_connect_state()
        return connection

    def _loaded(self) -> SSL.Context:
        with self._lock:
            if self._context is None:
                self._context = self._load()
            return self._context

    def _load(self) -> SSL.Context:
        context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        context.set_min_proto_version(SSL.TLS1_2_VERSION)
        context.set_alpn_protos([H2])
        context.set_mode(_NO_AUTO_CHAIN | _RELEASE_BUFFERS)
        context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
        context.set_verify(SSL.VERIFY_PEER, self._verify)
        path = self._ca_file or Path(certifi.where())
        try:
            path.open("rb").close()  # OpenSSL's own words for a missing file name no reason
            context.load_verify_locations(str(path))
        except OSError as error:
            raise _unreadable(path, error.strerror or str(error)) from None
        except SSL.Error:
            raise _unreadable(path, "there is no certificate in it") from None
        return context

    def _verify(
        self, connection: SSL.Connection, certificate: crypto.X509, error: int, depth: int, ok: int
    ) -> bool:
        """OpenSSL has judged the chain; the name is judged here, before we show who we are."""
        del connection, error
        return bool(ok) and (depth > 0 or self._is_named(certificate))

    def _is_named(self, certificate: crypto.X509) -> bool:
        der = crypto.dump_certificate(crypto.FILETYPE_ASN1, certificate)
        known = self._named.get(der)
        if known is None:
            known = _names(certificate.to_cryptography(), self._host)
            if len(self._named) >= _REMEMBERED:
                self._named.clear()
            self._named[der] = known
        return known


def _names(certificate: Certificate, host: str) -> bool:
    try:
        if _is_address(host):
            verify_certificate_ip_address(certificate, host)
        else:
            verify_certificate_hostname(certificate, host)
    except (VerificationError, CertificateError):
        return False
    return True


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _unreadable(path: Path, why: str) -> Exception:
    return refuse(
        "apns_ca_unreadable",
        f"No trusted roots for APNs can be read from {path} ({why}).",
        "Mend apns.ca_file in config.toml, or take it out to trust the public roots.",
    )
