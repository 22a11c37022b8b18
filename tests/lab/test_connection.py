"""One connection without sockets, where the order of events can be chosen."""

from __future__ import annotations

import asyncio
import random
import ssl
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lifecycle.lab.connection import GatewayConnection, Service
from lifecycle.lab.devices import DeviceRegistry
from lifecycle.lab.faults import Faults
from lifecycle.lab.tls import ServerTls


class Wire(asyncio.Transport):
    """Keeps what the gateway writes; ``connection_lost`` is left to the test, as to a loop."""

    def __init__(self) -> None:
        super().__init__()
        self.sent = bytearray()
        self.closing = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.sent += data

    def is_closing(self) -> bool:
        return self.closing

    def close(self) -> None:
        self.closing = True


def test_a_goodbye_to_a_client_that_has_just_closed_does_not_stop_the_gateway(
    world: Any, identity: Callable[..., Path], ca_file: Path
) -> None:
    rng = random.Random(1)  # noqa: S311
    service = Service(
        ServerTls(world.authority, world.clock), DeviceRegistry(rng), Faults(rng), Counter()
    )
    wire, gateway = Wire(), GatewayConnection(service)
    gateway.connection_made(wire)

    context = ssl.create_default_context(cafile=str(ca_file))
    context.set_alpn_protocols(["h2"])
    context.load_cert_chain(identity())
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(incoming, outgoing, server_hostname="localhost")

    def exchange(step: Callable[[], object]) -> None:
        for _ in range(4):
            try:
                step()
            except ssl.SSLWantReadError:
                continue
            finally:
                if data := outgoing.read():
                    gateway.data_received(data)
                incoming.write(bytes(wire.sent))
                wire.sent.clear()
            return

    exchange(client.do_handshake)
    assert client.selected_alpn_protocol() == "h2"
    exchange(lambda: client.read(65536))  # the gateway's SETTINGS
    exchange(client.unwrap)
    assert wire.closing
    assert gateway in service.open  # the loop has not yet told it that the connection is lost
    gateway.say_goodbye("Shutdown")
    gateway.data_received(b"late")
    gateway.connection_lost(None)
    assert not service.open
