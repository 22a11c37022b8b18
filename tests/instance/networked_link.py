"""The line to the vendor over a real server: the tests of the agent run over it as well."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from lifecycle.clock import Clock
from lifecycle.config import Config, VendorSection
from lifecycle.serve.app import build_app
from lifecycle.serve.listen import Listening, prepare
from lifecycle.serve.served import Served
from lifecycle.vendor import credentials, registry
from lifecycle.vendor.migrations import upgrade
from lifecycle.wire.http_link import HttpLink, open_client
from lifecycle.wire.link import VendorLink
from lifecycle.wire.signatures import RequestSigner

MakeLink = Callable[[VendorLink, Callable[[bytes], None]], VendorLink]


class AnyDesk(Served):
    """Serves whatever ``VendorLink`` a test puts in the vendor's place."""

    behind: VendorLink

    def desk(self, slug: str, credential_id: str | None = None) -> Any:
        """The test's."""
        assert slug == "acme"
        assert credential_id is not None
        return self.behind


@contextmanager
def networked(directory: Path, clock: Clock) -> Iterator[MakeLink]:
    """A server, and what makes a link to it for one test's vendor."""
    config = Config(
        vendor=VendorSection(database=f"sqlite:///{directory / 'vendor.sqlite'}"), base=directory
    )
    upgrade(config.database_url)
    signing, sealing = Ed25519PrivateKey.generate(), X25519PrivateKey.generate()
    keys = credentials.NewKeys(
        signing.public_key().public_bytes_raw(), sealing.public_key().public_bytes_raw()
    )
    with AnyDesk(config, clock) as served:
        with served.database.transaction() as session:
            new = registry.NewCustomer("acme", "Acme Corp", "it@acme.example")
            acme = registry.add(session, new, at=clock.now(), actor="operator:test")
            known = credentials.install(session, acme, keys, at=clock.now(), invitation_id=None)
        signer = RequestSigner(known.id, signing)
        up = threading.Event()
        server = prepare(build_app(served), Listening("127.0.0.1", 0), ready=lambda _: up.set())
        thread = threading.Thread(target=server.run, daemon=True)
        thread.start()
        assert up.wait(30)
        with open_client(server.url) as client:

            def make(behind: VendorLink, tap: Callable[[bytes], None]) -> VendorLink:
                served.behind = behind
                client.event_hooks = {
                    "request": [lambda request: tap(request.content)],
                    "response": [lambda answer: tap(answer.read())],
                }
                return HttpLink(client, clock, signer)

            yield make
        server.stop()
        thread.join(30)
