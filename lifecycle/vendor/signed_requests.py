"""Requests, put together from what is kept of them: the CSR, the signature, the signer's chain.

A request has ten thousand characters, of which two hundred and fifty-six bytes are new; the same
CSR, signature and chain give the same request, so that it is not kept itself.
"""

from __future__ import annotations

from sqlmodel import Session, select

from lifecycle.pki.fingerprints import fingerprint
from lifecycle.vendor.models import Renewal, Signer


def is_signed(renewal: Renewal) -> bool:
    """Whether there is a request."""
    return renewal.signature is not None or renewal.request is not None


def request_of(session: Session, renewal: Renewal) -> str | None:
    """The renewal's request as it goes to the portal (Base64 text); None: it is not signed."""
    if renewal.signature is None or renewal.csr is None:
        return renewal.request
    from lifecycle.pki.request import PushCertRequest

    chosen = select(Signer.chain).where(Signer.fingerprint == renewal.signer_fingerprint)
    chain = session.exec(chosen).one()
    return PushCertRequest(renewal.csr, chain, renewal.signature).encode()


def identity_of(renewal: Renewal) -> str | None:
    """What tells the renewal's request from those before it; None: it is not signed."""
    if renewal.signature is not None:
        return fingerprint(renewal.signature + (renewal.signer_fingerprint or "").encode())[:16]
    return None if renewal.request is None else fingerprint(renewal.request.encode())[:16]
