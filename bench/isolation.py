"""Customers verified per CPU second of the client, beside what the handshake alone costs.

    python -m bench.isolation [--customers 150] [--rounds 5] [--profile]

Every customer has a key and a certificate of its own, as in life. Interleaved in one run, the
median of the rounds:

- floor: Python's ssl, a fresh key loaded into a reused context, a bare handshake, nothing else;
- floor, our OpenSSL: the same over pyOpenSSL, whose OpenSSL loads keys faster;
- httpx: a client for each customer, and the four probes;
- ours, probes: our transport and the four probes;
- ours, whole: ``verify --all`` in this process's children, vaults opened, verdicts stored.

The server is the lab, in a process of its own; CPU time is the client's alone, its children
included.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import json
import os
import pstats
import resource
import secrets
import signal
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_der_private_key,
)
from OpenSSL import SSL
from rich.console import Console
from rich.table import Table

from bench.population import CANARY, populate
from lifecycle.apns.gateway import Gateway
from lifecycle.apns.identity import ClientIdentity
from lifecycle.apns.probes import OtherTenant, probe, probe_pushes
from lifecycle.apns.push import Push
from lifecycle.clock import SystemClock
from lifecycle.config import load_config
from lifecycle.embedded import Embedded
from lifecycle.instance.probe_kit import ProbeKit, read_kit
from lifecycle.sweep.run import Choice, sweep
from lifecycle.vendor.facts import Verdict
from lifecycle.wire.messages import Probe

IN_FLIGHT = 64
EXPECTED = [200, 400, 400, 400]


@dataclass(frozen=True, slots=True)
class Stage:
    """What every contender gets.

    Attributes:
        directory: the deployment.
        gateway: the lab's APNs.
        kits: one for each customer.
        pems: files with certificate and key, in plain text, for those that need files.
        ders: certificate and key as a vault holds them once it is open.
        other: the canary tenant.
    """

    directory: Path
    gateway: Gateway
    kits: list[ProbeKit]
    pems: list[Path]
    ders: list[tuple[bytes, bytes]]
    other: OtherTenant

    def pushes(self, kit: ProbeKit) -> dict[Probe, Push]:
        """The four probes of a customer."""
        return probe_pushes(
            kit.topic, kit.token, kit.push_magic, self.other, secrets.SystemRandom()
        )


def cpu() -> float:
    """CPU seconds of this process, its threads and its ended children."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in used)


def floor(stage: Stage) -> None:
    """A bare handshake for each customer, with Python's ssl."""
    context = ssl.create_default_context(cafile=str(stage.gateway.ca_file))
    context.set_alpn_protocols(["h2"])
    for pem in stage.pems:
        context.load_cert_chain(pem)
        with (
            socket.create_connection((stage.gateway.host, stage.gateway.port)) as plain,
            context.wrap_socket(plain, server_hostname=stage.gateway.host) as secured,
        ):
            assert secured.selected_alpn_protocol() == "h2"


def floor_of_our_openssl(stage: Stage) -> None:
    """A bare handshake for each customer, over pyOpenSSL."""
    for kit in stage.kits:
        connection = stage.gateway.tls.begin(ClientIdentity(kit.certificate, kit.key))
        with socket.create_connection((stage.gateway.host, stage.gateway.port)) as plain:
            while True:
                try:
                    connection.do_handshake()
                    break
                except SSL.WantReadError:
                    plain.sendall(connection.bio_read(65536))
                    connection.bio_write(plain.recv(65536))
            plain.sendall(connection.bio_read(65536))


def httpx_clients(stage: Stage) -> None:
    """A fresh httpx client for each customer, and the four probes in flight together."""

    async def one(kit: ProbeKit, pem: Path) -> None:
        context = ssl.create_default_context(cafile=str(stage.gateway.ca_file))
        context.load_cert_chain(pem)
        async with httpx.AsyncClient(http2=True, verify=context, trust_env=False) as client:
            answers = await asyncio.gather(
                *(
                    client.post(
                        f"{stage.gateway.base_url}/3/device/{push.token.hex}",
                        headers=push.headers(),
                        content=push.payload(),
                    )
                    for push in stage.pushes(kit).values()
                )
            )
            assert [answer.status_code for answer in answers] == EXPECTED

    asyncio.run(_all(one, list(zip(stage.kits, stage.pems, strict=True))))


def our_probes(stage: Stage) -> None:
    """Our transport, a fresh key for each customer, and the four probes in flight together."""

    async def one(kit: ProbeKit, certificate: bytes, key: bytes) -> None:
        fresh = load_der_private_key(key, None, unsafe_skip_rsa_key_validation=True)
        assert isinstance(fresh, RSAPrivateKey)
        answers = await probe(
            ClientIdentity(x509.load_der_x509_certificate(certificate), fresh),
            stage.gateway,
            stage.pushes(kit),
            lambda: datetime.now(UTC),
        )
        assert [answer.status for answer in answers] == EXPECTED

    asyncio.run(_all(one, [(k, *ders) for k, ders in zip(stage.kits, stage.ders, strict=True)]))


async def _all(one: Callable[..., Any], jobs: list[tuple[Any, ...]]) -> None:
    slots = asyncio.Semaphore(IN_FLIGHT)

    async def limited(job: tuple[Any, ...]) -> None:
        async with slots:
            await one(*job)

    await asyncio.gather(*(limited(job) for job in jobs))


def whole(stage: Stage) -> None:
    """The sweep as ``verify --all`` makes it."""
    config = load_config(stage.directory / "config.toml")
    with Embedded(config, SystemClock()) as embedded:
        outcome = sweep(embedded, Choice(actor="bench"))
        assert outcome.complete
        assert outcome.verdicts[Verdict.ISOLATED] == len(stage.kits)


CONTENDERS: dict[str, Callable[[Stage], None]] = {
    "floor": floor,
    "floor, our OpenSSL": floor_of_our_openssl,
    "httpx": httpx_clients,
    "ours, probes": our_probes,
    "ours, whole": whole,
}


@contextmanager
def lab(directory: Path, port: int) -> Iterator[None]:
    """The lab, in a process of its own."""
    server = subprocess.Popen(
        [sys.executable, "-m", "cli", "lab", "up", "--dir", "lab", "--apns-port", str(port)],
        cwd=directory,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert server.stdout is not None
        json.loads(server.stdout.readline())
        yield
    finally:
        server.send_signal(signal.SIGTERM)
        server.communicate()


def free_port() -> int:
    """One that nobody listens on just now."""
    with socket.create_server(("127.0.0.1", 0)) as probe_socket:
        return int(probe_socket.getsockname()[1])


def set_up(directory: Path, customers: int, port: int) -> Stage:
    """A deployment, and what the contenders need of it."""
    made = populate(directory, customers, apns_port=port)
    kits = [read_kit(directory / "instances" / slug, None) for slug in made.slugs]
    canary = read_kit(directory / "instances" / CANARY, None)
    pems, ders = [], []
    for kit in kits:
        pem = directory / f"{uuid.uuid4()}.pem"
        pem.write_bytes(
            kit.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
            + kit.certificate.public_bytes(Encoding.PEM)
        )
        pems.append(pem)
        ders.append(
            (
                kit.certificate.public_bytes(Encoding.DER),
                kit.key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()),
            )
        )
    ca = load_config(directory / "config.toml").apns.ca_file
    gateway = Gateway("127.0.0.1", port, directory / str(ca))
    return Stage(directory, gateway, kits, pems, ders, OtherTenant(canary.topic, canary.token))


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--customers", type=int, default=150)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--profile", action="store_true", help="where the time of ours goes")
    chosen = parser.parse_args()
    rates: dict[str, list[float]] = {name: [] for name in CONTENDERS}
    with tempfile.TemporaryDirectory() as folder:
        directory, port = Path(folder), free_port()
        stage = set_up(directory, chosen.customers, port)
        with lab(directory, port):
            for contender in CONTENDERS.values():
                contender(stage)  # warm
            for _ in range(chosen.rounds):
                for name, contender in CONTENDERS.items():
                    before = cpu()
                    contender(stage)
                    rates[name].append(chosen.customers / (cpu() - before))
            if chosen.profile:
                profile = cProfile.Profile()
                profile.runcall(our_probes, stage)
                pstats.Stats(profile, stream=sys.stderr).sort_stats("tottime").print_stats(25)
    show(rates)


def show(rates: dict[str, list[float]]) -> None:
    """The table."""
    medians = {name: statistics.median(found) for name, found in rates.items()}
    table = Table(title="customers per CPU second of the client")
    for column in ("contender", "median", "min", "max", "of the floor", "of httpx"):
        table.add_column(column, justify="left" if column == "contender" else "right")
    for name, found in rates.items():
        table.add_row(
            name,
            f"{medians[name]:.0f}",
            f"{min(found):.0f}",
            f"{max(found):.0f}",
            f"{medians[name] / medians['floor']:.2f}",
            f"{medians[name] / medians['httpx']:.2f}",
        )
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
