"""The gateway's TLS: client certificates are judged by the lab's clock, in the handshake.

OpenSSL checks dates against the host's clock; pyOpenSSL lets a store live at another time, so
that an expired certificate gets the alert that APNs would send, and so does a revoked one
(through a CRL) and one that is not Apple's.
"""

from __future__ import annotations

from datetime import datetime

from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from OpenSSL import SSL, crypto

from lifecycle.clock import Clock
from lifecycle.lab.authority import Authority

H2 = b"h2"


class ServerTls:
    """Makes the server's half of TLS connections.

    Args:
        authority: whose push certificates are let in, less those it revoked.
        clock: judges them.
    """

    def __init__(self, authority: Authority, clock: Clock) -> None:
        self._authority = authority
        self._clock = clock
        certificate, key = authority.server_credential()
        self._certificate = x509.load_pem_x509_certificate(certificate)
        self._key = load_pem_private_key(key, None)
        self._built: tuple[datetime, int] | None = None
        self._context: SSL.Context

    def connection(self) -> SSL.Connection:
        """A connection that waits for a client's first bytes (``bio_write``)."""
        # A store keeps the first time and every CRL that it was given, so that a moved clock
        # or a new revocation needs a new store.
        state = self._clock.now().replace(microsecond=0), len(self._authority.revoked)
        if state != self._built:
            self._context = self._new_context(state[0])
            self._built = state
        connection = SSL.Connection(self._context, None)
        connection.set_accept_state()
        return connection

    def _new_context(self, at: datetime) -> SSL.Context:
        context = SSL.Context(SSL.TLS_SERVER_METHOD)
        context.set_min_proto_version(SSL.TLS1_2_VERSION)
        context.set_options(SSL.OP_NO_TICKET)
        context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
        context.use_certificate(self._certificate)
        context.use_privatekey(self._key)  # type: ignore[arg-type]
        context.set_alpn_select_callback(_only_h2)
        context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT)
        store = context.get_cert_store()
        if store is None:
            raise RuntimeError("the TLS context has no certificate store")
        for ca in (self._authority.root, self._authority.aai):
            store.add_cert(crypto.X509.from_cryptography(ca.certificate))
        store.add_crl(self._authority.crl())
        store.set_flags(crypto.X509StoreFlags.CRL_CHECK)
        store.set_time(at)
        return context


def _only_h2(
    _connection: SSL.Connection, offered: list[bytes]
) -> bytes | SSL._NoOverlappingProtocols:
    return H2 if H2 in offered else SSL.NO_OVERLAPPING_PROTOCOLS
