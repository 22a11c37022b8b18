"""A deployment of many customers on disk, with a lab that knows their devices.

    python -m bench.population DIR --customers 20000 --apns-port 2197 [--breach 1]

Everything is what the real code would have made (registry, vaults, the lab's CAs and devices),
made in bulk. ``pushcert lab up --dir DIR/lab --apns-port 2197`` then serves it, and
``pushcert --config DIR/config.toml verify --all`` sweeps it.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import sqlite3
import uuid
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from sqlalchemy import insert

from bench.keys import keys
from lifecycle.instance.paths import database_path, key_path
from lifecycle.instance.sealing import Sealer, new_data_key, wrap_with_key_file
from lifecycle.instance.vault import Vault
from lifecycle.lab.serve import Lab
from lifecycle.pki.fingerprints import token_fingerprint
from lifecycle.pki.push_certificate import PushCertificate
from lifecycle.vendor.claims import claims_of
from lifecycle.vendor.database import Database
from lifecycle.vendor.migrations import upgrade
from lifecycle.vendor.models import Certificate, Claim, Customer

CANARY = "canary-tenant"
MAGIC = b"bench-magic"
_CONFIG = """\
[vendor]
name = "Bench MDM"
database = "sqlite:///vendor.sqlite"
ops = ["ops@bench.example"]

[apns]
host = "127.0.0.1"
port = {port}
ca_file = "lab/gateway-ca.pem"

[isolation]
connections_per_second = 10000.0
connections_per_second_to_one_address = 10000.0
"""


@dataclass(frozen=True, slots=True)
class Population:
    """What was made.

    Attributes:
        directory: holds config.toml.
        slugs: of the customers, in order.
        breached: of those whose topic also has the canary tenant's device.
    """

    directory: Path
    slugs: tuple[str, ...]
    breached: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Tenant:
    slug: str
    certificate: bytes
    key: bytes
    token: bytes


def populate(
    directory: Path, customers: int, *, apns_port: int, breach: int = 0, seed: int = 0
) -> Population:
    """Makes a deployment in an empty directory.

    Args:
        customers: how many, besides the canary tenant.
        apns_port: where the lab's APNs will be.
        breach: how many of them are reached by the canary tenant's device.
        seed: chooses those.
    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    tenants = list(_issue(directory / "lab", customers, breach, random.Random(seed)))
    breached = tuple(slug for slug, is_breached, _ in tenants if is_breached)
    made = [tenant for _, _, tenant in tenants]
    ca = json.loads((directory / "lab.json").read_text())["ca_file"]
    (directory / "lab.json").unlink()
    config = _CONFIG.format(port=apns_port).replace(
        "lab/gateway-ca.pem", str(Path(ca).relative_to(directory))
    )
    (directory / "config.toml").write_text(config)
    _register(f"sqlite:///{directory / 'vendor.sqlite'}", made)
    _fill_vaults(directory / "instances", made)
    return Population(directory, tuple(t.slug for t in made if t.slug != CANARY), breached)


def _issue(
    folder: Path, customers: int, breach: int, rng: random.Random
) -> Iterator[tuple[str, bool, _Tenant]]:
    chosen = set(rng.sample(range(1, customers + 1), breach))
    with Lab(folder) as lab:
        (folder.parent / "lab.json").write_text(json.dumps(lab.describe()))
        canary_token = b""
        for number, key in enumerate(keys(customers + 1)):
            topic = f"com.apple.mgmt.External.{uuid.UUID(int=rng.getrandbits(128), version=4)}"
            slug = CANARY if number == 0 else f"customer-{number:06}"
            certificate = lab.authority.issue_push_certificate(key.public_key(), topic)
            token = lab.gateway.register_device(topic)
            if number == 0:
                canary_token = token
            if number in chosen:
                lab.gateway.register(canary_token, topic)
            der = key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
            yield (
                slug,
                number in chosen,
                _Tenant(slug, certificate.public_bytes(Encoding.DER), der, token),
            )


def _register(url: str, tenants: Sequence[_Tenant]) -> None:
    now = datetime.now(UTC)
    customers: list[dict[str, Any]] = []
    certificates: list[dict[str, Any]] = []
    claims: list[dict[str, Any]] = []
    for number, tenant in enumerate(tenants, 1):
        read = PushCertificate.from_der(tenant.certificate)
        customers.append(
            {
                "id": number,
                "slug": tenant.slug,
                "name": tenant.slug.title(),
                "email": f"it@{tenant.slug}.example",
                "kind": "canary" if tenant.slug == CANARY else "customer",
                "created_at": now,
            }
        )
        certificates.append(
            {
                "customer_id": number,
                "state": "active",
                "topic": str(read.topic),
                "serial": read.serial,
                "common_name": read.common_name,
                "issuer": read.issuer,
                "fingerprint": read.fingerprint,
                "key_fingerprint": read.key_fingerprint,
                "not_before": read.not_before,
                "not_after": read.not_after,
                "der": read.der,
                "names_responder": False,
                "recorded_at": now,
                "activated_at": now,
            }
        )
        claims += [
            {"kind": kind, "value": value, "customer_id": number}
            for kind, value in claims_of(read).items()
        ]
    upgrade(url)
    database = Database(url)
    with database.transaction() as session:
        session.execute(insert(Customer), customers)
        session.execute(insert(Certificate), certificates)
        session.execute(insert(Claim), claims)
    database.close()


def _fill_vaults(root: Path, tenants: Sequence[_Tenant]) -> None:
    root.mkdir(mode=0o700)
    template = root.parent / "template"
    Vault.create(template).close()
    jobs = [(root, template, tenant) for tenant in tenants]
    if len(jobs) < 100:
        for job in jobs:
            _fill_vault(job)
    else:
        with get_context("spawn").Pool(os.cpu_count()) as pool:
            for _ in pool.imap_unordered(_fill_vault, jobs, chunksize=100):
                pass
    shutil.rmtree(template)


def _fill_vault(job: tuple[Path, Path, _Tenant]) -> None:
    root, template, tenant = job
    directory = root / tenant.slug
    directory.mkdir(mode=0o700)
    path, vault_id, data_key, file_key = (
        database_path(directory),
        str(uuid.uuid4()),
        new_data_key(),
        new_data_key(),
    )
    shutil.copy2(database_path(template), path)
    _write_private(key_path(directory), file_key.hex().encode() + b"\n")
    sealer = Sealer(data_key, vault_id)
    read = PushCertificate.from_der(tenant.certificate)
    now = datetime.now(UTC).replace(tzinfo=None).isoformat(" ")
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("PRAGMA synchronous = OFF")
        database.execute(
            "UPDATE vault SET vault_id = ?, wrapped_data_key = ?",
            (vault_id, wrap_with_key_file(data_key, file_key, vault_id).sealed),
        )
        database.execute(
            "INSERT INTO key (id, fingerprint, sealed, made_at) VALUES (1, ?, ?, ?)",
            (
                read.key_fingerprint,
                sealer.seal("private key", read.key_fingerprint, tenant.key),
                now,
            ),
        )
        database.execute(
            "INSERT INTO certificate (key_id, state, fingerprint, der, recorded_at, activated_at)"
            " VALUES (1, 'active', ?, ?, ?, ?)",
            (read.fingerprint, read.der, now, now),
        )
        udid = f"UDID-{tenant.slug}"
        database.execute(
            "INSERT INTO device (udid, topic, token_fingerprint, sealed_token, sealed_magic,"
            " canary, seen_at) VALUES (?, ?, ?, ?, ?, 1, ?)",
            (
                udid,
                str(read.topic),
                token_fingerprint(tenant.token),
                sealer.seal("device token", udid, tenant.token),
                sealer.seal("push magic", udid, MAGIC),
                now,
            ),
        )


def _write_private(path: Path, data: bytes) -> None:
    descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--customers", type=int, default=1000)
    parser.add_argument("--apns-port", type=int, default=2197)
    parser.add_argument("--breach", type=int, default=0)
    chosen = parser.parse_args()
    made = populate(
        chosen.directory.resolve(),
        chosen.customers,
        apns_port=chosen.apns_port,
        breach=chosen.breach,
    )
    print(json.dumps({"customers": len(made.slugs), "breached": made.breached}))


if __name__ == "__main__":
    main()
