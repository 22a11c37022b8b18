"""The client's half of the TLS handshake: a push certificate and its key, never on a disk.

``ssl`` loads a client certificate from files only. On Linux it gets one that is no file on a
disk (``memfd_create``); elsewhere an encrypted PEM under a random password that exists only in
this process and only until the file is read and removed.
"""

from __future__ import annotations

import os
import secrets
import ssl
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import certifi
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from lifecycle.apns.gateway import Gateway
from lifecycle.errors import refuse


@dataclass(frozen=True, slots=True)
class ClientIdentity:
    """A push certificate (PEM, with intermediates if any) and its private key."""

    certificate_pem: str
    key: RSAPrivateKey = field(repr=False)


def client_context(gateway: Gateway, identity: ClientIdentity) -> ssl.SSLContext:
    """A TLS context that shows ``identity`` to ``gateway``.

    Raises:
        Refused: ``apns_ca_unreadable``.
        ssl.SSLError: the key does not belong to the certificate.
    """
    try:
        context = ssl.create_default_context(cafile=str(gateway.ca_file or certifi.where()))
    except (OSError, ssl.SSLError):
        raise refuse(
            "apns_ca_unreadable",
            f"The CA file {gateway.ca_file} for APNs cannot be read.",
            "Mend apns.ca_file in config.toml, or leave it out to trust the public roots.",
        ) from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["h2"])
    load_identity(context, identity)
    return context


def load_identity(context: ssl.SSLContext, identity: ClientIdentity) -> None:
    """Puts certificate and key into ``context``, in place of any that were there."""
    if hasattr(os, "memfd_create"):
        with _in_memory(_pem(identity, None)) as path:
            context.load_cert_chain(path)
        return
    password = secrets.token_bytes(32).hex()
    with _on_disk_encrypted(_pem(identity, password.encode())) as path:
        context.load_cert_chain(path, password=password)


def _pem(identity: ClientIdentity, password: bytes | None) -> bytes:
    encryption = NoEncryption() if password is None else BestAvailableEncryption(password)
    form = PrivateFormat.TraditionalOpenSSL if password is None else PrivateFormat.PKCS8
    return (
        identity.key.private_bytes(Encoding.PEM, form, encryption)
        + identity.certificate_pem.encode()
    )


@contextmanager
def _in_memory(data: bytes) -> Iterator[str]:
    descriptor = os.memfd_create("push-certificate", os.MFD_CLOEXEC)
    try:
        os.write(descriptor, data)
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)


@contextmanager
def _on_disk_encrypted(data: bytes) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "identity.pem"
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
        yield path
