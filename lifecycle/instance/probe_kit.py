"""What one isolation check needs from a vault, read in a millisecond and without SQLAlchemy.

For sweeps over many vaults. Reads what ``Vault`` would: the same file, the same seals, the same
permissions asked for; writes nothing. Whatever is out of the ordinary (an older revision, a
damaged file, nothing to probe with) is left to ``Vault`` and its sentences: ``LeaveToVault``.
"""

from __future__ import annotations

import binascii
import sqlite3
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast
from urllib.parse import quote

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_der_private_key

from lifecycle.apns.token import DeviceToken, PushMagic
from lifecycle.errors import Refused
from lifecycle.instance.paths import database_path, key_path, require_private
from lifecycle.instance.sealing import ScryptCost, Sealer, Wrapping, unwrap
from lifecycle.passphrase import PassphraseSource, resolve
from lifecycle.pki.fingerprints import Fingerprint
from lifecycle.pki.topic import Topic

REVISION = "0003"
"""Of the vault's database; a test holds it equal to ``migrations.HEAD``."""
BUSY_TIMEOUT_MS = 30_000

_VAULT = "SELECT vault_id, wrapped_data_key, salt, scrypt_n, scrypt_r, scrypt_p FROM vault"
_ACTIVE = (
    "SELECT c.fingerprint, c.der, k.fingerprint, k.sealed FROM certificate c"
    " JOIN key k ON k.id = c.key_id WHERE c.state = 'active'"
)
_DEVICE = (
    "SELECT udid, topic, token_fingerprint, sealed_token, sealed_magic FROM device"
    " WHERE topic = ? AND gone_at IS NULL ORDER BY canary DESC, seen_at DESC, udid LIMIT 1"
)
_FINGERPRINTS = "SELECT token_fingerprint FROM device ORDER BY token_fingerprint"


class LeaveToVault(Exception):
    """This vault needs the thorough way."""


@dataclass(frozen=True, slots=True)
class ProbeKit:
    """A vault's half of an isolation check; key and token do not show in the ``repr``.

    Attributes:
        fingerprint, certificate, key: the active certificate, and its private key.
        topic: of the certificate.
        token, push_magic: of the own canary (the chosen device, else the one seen last).
        token_fingerprints: of every device that the vault knows, sorted.
    """

    fingerprint: Fingerprint
    certificate: x509.Certificate
    topic: Topic
    key: RSAPrivateKey = field(repr=False)
    token: DeviceToken = field(repr=False)
    push_magic: PushMagic = field(repr=False)
    token_fingerprints: tuple[Fingerprint, ...] = field(repr=False)


def read_kit(directory: Path, passphrase: PassphraseSource | None) -> ProbeKit:
    """Reads a vault.

    Args:
        directory: the vault's.
        passphrase: where its passphrase comes from, for a vault that has one.

    Raises:
        LeaveToVault: it is not as vaults mostly are.
    """
    try:
        require_private(directory)
        path = database_path(directory)
        with closing(sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True)) as database:
            database.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
            database.execute("BEGIN")
            return _read(database, directory, passphrase)
    except (sqlite3.Error, OSError, ValueError, TypeError, Refused):
        raise LeaveToVault from None


def _read(
    database: sqlite3.Connection, directory: Path, passphrase: PassphraseSource | None
) -> ProbeKit:
    revisions = database.execute("SELECT version_num FROM alembic_version").fetchall()
    active = database.execute(_ACTIVE).fetchone()
    if revisions != [(REVISION,)] or active is None:
        raise LeaveToVault
    fingerprint, der, key_fingerprint, sealed_key = active
    certificate = x509.load_der_x509_certificate(der)
    (name,) = certificate.subject.get_attributes_for_oid(x509.NameOID.USER_ID)
    topic = Topic(str(name.value))
    device = database.execute(_DEVICE, (str(topic),)).fetchone()
    if device is None:
        raise LeaveToVault
    udid, _, _, sealed_token, sealed_magic = device
    sealer = _sealer(database, directory, passphrase)
    key = load_der_private_key(
        sealer.open("private key", key_fingerprint, sealed_key),
        None,
        unsafe_skip_rsa_key_validation=True,  # made and sealed by this vault, or checked on entry
    )
    return ProbeKit(
        Fingerprint(fingerprint),
        certificate,
        topic,
        cast("RSAPrivateKey", key),
        DeviceToken.from_bytes(sealer.open("device token", udid, sealed_token)),
        PushMagic(sealer.open("push magic", udid, sealed_magic).decode()),
        tuple(Fingerprint(row[0]) for row in database.execute(_FINGERPRINTS)),
    )


def _sealer(
    database: sqlite3.Connection, directory: Path, passphrase: PassphraseSource | None
) -> Sealer:
    vault_id, wrapped, salt, n, r, p = database.execute(_VAULT).fetchone()
    if n is None:
        wrapping = Wrapping(wrapped, salt)
        secret = binascii.unhexlify(key_path(directory).read_bytes().strip())
    else:
        wrapping = Wrapping(wrapped, salt, ScryptCost(n, r, p))
        found = resolve(passphrase)
        if found is None:
            raise LeaveToVault
        secret = found
    return Sealer(unwrap(wrapping, secret, vault_id), vault_id)
