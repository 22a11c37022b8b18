"""PKCS#12 files, with the right passphrase and without one."""

from __future__ import annotations

from cryptography.hazmat.primitives.hashes import SHA1, SHA256
from cryptography.hazmat.primitives.serialization import PrivateFormat, pkcs12
from cryptography.hazmat.primitives.serialization.pkcs12 import PBES

from fuzz.harness import refusals, vector
from lifecycle.pki.certificates import parse_certificates
from lifecycle.pki.keys import load_pkcs12, load_private_key

PARSERS = ("lifecycle.pki.keys.load_pkcs12",)
_PASSPHRASE = b"correct horse"


def one(data: bytes) -> None:
    """Key and certificates, or a refusal."""
    with refusals():
        load_pkcs12(data, _PASSPHRASE)


def seeds() -> dict[str, bytes]:
    """What OpenSSL 3 and what OpenSSL 1.1 write, with few rounds."""
    key = load_private_key(vector("customer.key"), None)
    certificate = parse_certificates(vector("MDM_ Example MDM_Certificate.pem"))[0]
    builder = PrivateFormat.PKCS12.encryption_builder()
    modern = builder.kdf_rounds(4).key_cert_algorithm(PBES.PBESv2SHA256AndAES256CBC)
    legacy = builder.kdf_rounds(4).key_cert_algorithm(PBES.PBESv1SHA1And3KeyTripleDESCBC)
    return {
        "modern": pkcs12.serialize_key_and_certificates(
            b"x", key, certificate, None, modern.hmac_hash(SHA256()).build(_PASSPHRASE)
        ),
        "legacy": pkcs12.serialize_key_and_certificates(
            b"x", key, certificate, None, legacy.hmac_hash(SHA1()).build(_PASSPHRASE)
        ),
        "no-key": pkcs12.serialize_key_and_certificates(
            None, None, certificate, None, modern.hmac_hash(SHA256()).build(_PASSPHRASE)
        ),
    }
