"""Pushes per CPU second on one connection with 100 in flight, ours beside aioapns.

    python -m bench.push [--pushes 3000] [--rounds 5]

Interleaved in one run, medians. The server is the lab, in a process of its own; CPU time is the
client's alone.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import random
import statistics
import tempfile
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
from rich.console import Console
from rich.table import Table

from bench.isolation import free_port, lab, set_up
from lifecycle.apns.client import ApnsClient
from lifecycle.apns.gateway import Gateway
from lifecycle.apns.identity import ClientIdentity
from lifecycle.apns.push import Push
from lifecycle.apns.token import DeviceToken, PushMagic
from lifecycle.apns.transport import ApnsTransport
from lifecycle.instance.probe_kit import ProbeKit

IN_FLIGHT = 100


class Round:
    """What each contender gets: where to, whose, and how many."""

    def __init__(self, gateway: Gateway, kit: ProbeKit, pem: Path, pushes: int) -> None:
        self.gateway = gateway
        self.kit = kit
        self.pem = pem
        rng = random.Random(1)
        self.pushes = [
            Push(
                DeviceToken.from_bytes(rng.randbytes(32)),
                kit.topic,
                PushMagic("bench"),
                uuid.UUID(int=rng.getrandbits(128), version=4),
            )
            for _ in range(pushes)
        ]


async def ours(given: Round) -> None:
    """``ApnsClient``, as ``instance push --all`` uses it."""
    identity = ClientIdentity(given.kit.certificate, given.kit.key)
    async with ApnsClient(identity, given.gateway) as client:
        answers = await client.push_all(given.pushes)
    assert all(answer.status is not None for answer in answers)


async def our_transport(given: Round) -> None:
    """``httpx.AsyncClient`` over our transport."""
    identity = ClientIdentity(given.kit.certificate, given.kit.key)
    transport = ApnsTransport(given.gateway, identity)
    async with httpx.AsyncClient(transport=transport, timeout=30.0) as client:

        async def one(push: Push) -> None:
            await client.post(
                f"{given.gateway.base_url}/3/device/{push.token.hex}",
                headers=push.headers(),
                content=push.payload(),
            )

        await _limited(one, given.pushes)


async def aioapns(given: Round) -> None:
    """aioapns, pointed at the same server."""
    import ssl

    import aioapns
    from aioapns.connection import APNsCertConnectionPool, APNsProductionClientProtocol

    pool_class: Any = APNsCertConnectionPool
    protocol: Any = APNsProductionClientProtocol
    context = ssl.create_default_context(cafile=str(given.gateway.ca_file))
    context.load_cert_chain(given.pem)
    context.set_alpn_protocols(["h2"])
    before = protocol.APNS_SERVER, protocol.APNS_PORT
    protocol.APNS_SERVER, protocol.APNS_PORT = given.gateway.host, given.gateway.port
    pool = pool_class(
        cert_file=str(given.pem), topic=str(given.kit.topic), max_connections=1, ssl_context=context
    )
    try:

        async def one(push: Push) -> None:
            await pool.send_notification(
                aioapns.NotificationRequest(
                    device_token=push.token.hex,
                    message={"mdm": push.push_magic.text},
                    notification_id=str(push.apns_id),
                    push_type=aioapns.PushType.MDM,
                )
            )

        await _limited(one, given.pushes)
        pool.close()
    finally:
        protocol.APNS_SERVER, protocol.APNS_PORT = before


async def _limited(one: Callable[[Push], Any], pushes: list[Push]) -> None:
    slots = asyncio.Semaphore(IN_FLIGHT)

    async def limited(push: Push) -> None:
        async with slots:
            await one(push)

    await asyncio.gather(*(limited(push) for push in pushes))


CONTENDERS = {"ours": ours, "httpx over our transport": our_transport, "aioapns": aioapns}


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pushes", type=int, default=3000)
    parser.add_argument("--rounds", type=int, default=5)
    chosen = parser.parse_args()
    logging.disable(logging.CRITICAL)
    with tempfile.TemporaryDirectory() as folder:
        directory, port = Path(folder), free_port()
        stage = set_up(directory, 1, port)
        with lab(directory, port):
            given = Round(stage.gateway, stage.kits[0], stage.pems[0], chosen.pushes)
            rates = measure(given, chosen.rounds)
    show(rates)


def measure(given: Round, rounds: int) -> dict[str, list[float]]:
    """Pushes per CPU second, by contender."""
    rates: dict[str, list[float]] = {name: [] for name in CONTENDERS}
    for contender in CONTENDERS.values():
        asyncio.run(contender(given))
    for _ in range(rounds):
        for name, contender in CONTENDERS.items():
            before = time.process_time()
            asyncio.run(contender(given))
            rates[name].append(len(given.pushes) / (time.process_time() - before))
    return rates


def show(rates: dict[str, list[float]]) -> None:
    """The table."""
    medians = {name: statistics.median(found) for name, found in rates.items()}
    table = Table(title="pushes per CPU second, one connection, 100 in flight")
    for column in ("contender", "median", "min", "max", "of aioapns"):
        table.add_column(column, justify="left" if column == "contender" else "right")
    for name, found in rates.items():
        table.add_row(
            name,
            f"{medians[name]:.0f}",
            f"{min(found):.0f}",
            f"{max(found):.0f}",
            f"{medians[name] / medians['aioapns']:.2f}",
        )
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
