"""One connection without sockets, where the order of events can be chosen."""

from __future__ import annotations

import asyncio
import random
import ssl
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lifecycle.lab.connection import GatewayConnection, Service
from lifecycle.lab.devices import DeviceRegistry
from lifecycle.lab.faults import Faults
from lifecycle.lab.tls import ServerTls


class Wire(asyncio.Transport):
    """Keeps what the gateway writes; ``connection_lost`` is left to the test, as to a loop."""

    def __init__(self) -> None:
        super().__init__()
        self.sent = bytearray()
        self.ended = self.closing = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.sent += data

    def write_eof(self) -> None:
        self.ended = True

    def is_closing(self) -> bool:
        return self.closing

    def close(self) -> None:
        self.closing = True


class Pair:
    """A client in memory and the gateway's half of its connection."""

    def __init__(self, service: Service, context: ssl.SSLContext) -> None:
        self.service, self.wire = service, Wire()
        self.gateway = GatewayConnection(service)
        self.gateway.connection_made(self.wire)
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.client = context.wrap_bio(self._incoming, self._outgoing, server_hostname="localhost")

    def exchange(self, step: Callable[[], object]) -> None:
        """Lets the client do ``step``, carrying bytes to and fro until it is done."""
        for _ in range(4):
            try:
                step()
            except ssl.SSLWantReadError:
                continue
            finally:
                if data := self._outgoing.read():
                    self.gateway.data_received(data)
                self._incoming.write(bytes(self.wire.sent))
                self.wire.sent.clear()
            return


@pytest.fixture
def pair(world: Any, identity: Callable[..., Path], ca_file: Path) -> Callable[..., Pair]:
    def make(alpn: str) -> Pair:
        rng = random.Random(1)  # noqa: S311
        service = Service(
            ServerTls(world.authority, world.clock), DeviceRegistry(rng), Faults(rng), Counter()
        )
        context = ssl.create_default_context(cafile=str(ca_file))
        context.set_alpn_protocols([alpn])
        context.load_cert_chain(identity())
        return Pair(service, context)

    return make


def test_a_goodbye_to_a_client_that_has_just_closed_does_not_stop_the_gateway(
    pair: Callable[..., Pair],
) -> None:
    made = pair("h2")
    made.exchange(made.client.do_handshake)
    assert made.client.selected_alpn_protocol() == "h2"
    made.exchange(lambda: made.client.read(65536))  # the gateway's SETTINGS
    made.exchange(made.client.unwrap)
    assert made.wire.closing
    assert made.gateway in made.service.open  # it has yet to hear that the connection is lost
    made.gateway.say_goodbye("Shutdown")
    made.gateway.data_received(b"late")
    made.gateway.connection_lost(None)
    assert not made.service.open


def test_a_client_without_h2_is_sent_away_by_an_end_and_not_by_a_reset(
    pair: Callable[..., Pair],
) -> None:
    async def meet() -> Pair:
        made = pair("http/1.1")
        made.exchange(made.client.do_handshake)
        return made

    wire = asyncio.run(meet()).wire
    # A socket that is closed while the client's bytes lie unread answers them with a reset.
    assert (wire.ended, wire.closing) == (True, False)
