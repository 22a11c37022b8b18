"""A vendor that serves over real TLS on loopback, and instances that ask it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from starlette.types import ASGIApp

from lifecycle.config import CONFIG_NAME, Config, load_config
from lifecycle.lab.authority import Authority
from lifecycle.lab.clock import LabClock
from lifecycle.serve.app import build_app
from lifecycle.serve.listen import Listening, prepare
from lifecycle.serve.served import Served
from lifecycle.standalone import Standalone
from lifecycle.vendor import invitations, registry, store
from lifecycle.vendor.facts import CustomerKind
from lifecycle.vendor.migrations import upgrade

START = datetime(2027, 3, 1, 9, 0, tzinfo=UTC)
OPERATOR = "operator:test"


@contextmanager
def running(app: ASGIApp, where: Listening) -> Iterator[str]:
    """Serves an application in a thread; gives its URL."""
    up = threading.Event()
    prepared = prepare(app, where, ready=lambda _: up.set())
    thread = threading.Thread(target=prepared.run, daemon=True)
    thread.start()
    assert up.wait(30), "the server did not come up"
    try:
        yield prepared.url
    finally:
        prepared.stop()
        thread.join(30)


@dataclass
class Tls:
    """A certificate for 127.0.0.1 and the CA to trust for it."""

    certificate: Path
    key: Path
    ca: Path


@pytest.fixture(scope="session")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Tls:
    folder = tmp_path_factory.mktemp("tls")
    authority = Authority(LabClock(START), 7)
    certificate, key = authority.server_credential()
    made = Tls(folder / "serve.pem", folder / "serve.key", folder / "ca.pem")
    made.certificate.write_bytes(certificate)
    made.key.write_bytes(key)
    made.ca.write_bytes(authority.root.certificate.public_bytes(Encoding.PEM))
    return made


@dataclass
class Vendor:
    """A vendor's plane that is served.

    Attributes:
        served: what the server works with.
        url: where it answers.
        opened: closes what was opened, before the server.
        slept: what instances waited between attempts, in seconds.
    """

    directory: Path
    clock: LabClock
    served: Served
    url: str
    tls: Tls
    opened: ExitStack
    slept: list[float] = field(default_factory=list)

    def add(self, slug: str, kind: CustomerKind = CustomerKind.CUSTOMER) -> None:
        new = registry.NewCustomer(
            slug, slug.title(), f"it@{slug}.example", f"push@{slug}.example", kind
        )
        with self.served.database.transaction() as session:
            registry.add(session, new, at=self.clock.now(), actor=OPERATOR)

    def invite(self, slug: str, days: int = 7) -> str:
        with self.served.database.transaction() as session:
            customer = store.customer_by_slug(session, slug)
            return invitations.invite(
                session, customer, at=self.clock.now(), actor=OPERATOR, days=days
            )

    def instance_config(self, name: str) -> Config:
        directory = self.directory / "customers" / name
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        (directory / CONFIG_NAME).write_text(
            f'[instance]\nvendor = "{self.url}"\nca_file = "{self.tls.ca}"\n'
        )
        return load_config(directory / CONFIG_NAME)

    def instance(self, name: str) -> Standalone:
        """An instance's process, as it starts; its vault is kept between two of them."""
        alone = self.opened.enter_context(
            Standalone(self.instance_config(name), self.clock, sleep=self.slept.append)
        )
        alone.make_vault()
        return alone

    def enrolled(self, slug: str) -> Standalone:
        """A customer with an instance of its own."""
        self.add(slug)
        alone = self.instance(slug)
        alone.enrol(self.invite(slug))
        return alone


BuildVendor = Callable[..., Vendor]


@pytest.fixture
def build_vendor(tmp_path: Path, tls: Tls) -> Iterator[BuildVendor]:
    """Makes a served vendor; ``more`` goes into its configuration."""
    with ExitStack() as opened:

        def build(more: str = "") -> Vendor:
            directory = tmp_path / "vendor"
            directory.mkdir(mode=0o700)
            (directory / CONFIG_NAME).write_text(
                f'[vendor]\nname = "Example MDM"\ninstances = "distributed"\n{more}'
            )
            config = load_config(directory / CONFIG_NAME)
            upgrade(config.database_url)
            clock = LabClock(START)
            served = opened.enter_context(Served(config, clock))
            where = Listening("127.0.0.1", 0, tls.certificate, tls.key)
            url = opened.enter_context(running(build_app(served), where))
            return Vendor(tmp_path, clock, served, url, tls, opened)

        yield build


@pytest.fixture
def vendor(build_vendor: BuildVendor) -> Vendor:
    return build_vendor()
