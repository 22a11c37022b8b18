"""A customer with a certificate and devices, a renewal under way, the lab's portal, a browser."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import pytest

from lifecycle.clock import Clock
from lifecycle.errors import Unavailable
from lifecycle.instance.agent import Agent
from lifecycle.instance.vault import Vault
from lifecycle.rehearsal.stage import CANARY, CANARY_ACCOUNT, Stage
from lifecycle.serve.listen import Listening, prepare
from lifecycle.setup_page.app import setup_page
from lifecycle.vendor import store
from lifecycle.vendor.facts import RenewalReason
from lifecycle.vendor.registry import request_renewal
from lifecycle.wire.link import VendorLink
from lifecycle.wire.memory import MemoryLink
from lifecycle.wire.messages import (
    AnyReport,
    CertificateReceipt,
    CertificateSubmission,
    CsrSubmission,
    SignedRequest,
    Work,
)

if TYPE_CHECKING:
    from fastapi import FastAPI

ACCOUNT = "mdm@acme.example"
FILE_NAME = "MDM_ Example MDM_Certificate.pem"


T = TypeVar("T")


def apart(work: Callable[[], T]) -> T:
    """Does something in a thread of its own: playwright's loop runs in the tests' thread, and
    what pushes needs one for itself."""
    with ThreadPoolExecutor(max_workers=1) as pool:
        return pool.submit(work).result()


@dataclass
class Line:
    """A line to the vendor that can be cut.

    Attributes:
        cut: nothing gets through.
        cut_after: so many calls get through yet; None: all.
    """

    cut: bool = False
    cut_after: int | None = None

    def pass_through(self) -> None:
        if self.cut_after is not None:
            self.cut_after -= 1
            self.cut = self.cut or self.cut_after < 0
        if self.cut:
            raise Unavailable("The vendor cannot be reached.")


class OnLine:
    """A ``VendorLink`` over a ``Line``."""

    def __init__(self, link: VendorLink, line: Line) -> None:
        self._link = link
        self._line = line

    def work(self) -> Work:
        self._line.pass_through()
        return self._link.work()

    def submit_csr(self, submission: CsrSubmission) -> None:
        self._line.pass_through()
        self._link.submit_csr(submission)

    def submit_certificate(self, submission: CertificateSubmission) -> CertificateReceipt:
        self._line.pass_through()
        return self._link.submit_certificate(submission)

    def report(self, report: AnyReport) -> None:
        self._line.pass_through()
        self._link.report(report)


@dataclass
class Acme:
    """The customer of these tests: a ``SetupInstance``, and what one may do to it.

    Attributes:
        stage: its vendor, its machine, and Apple.
        line: between its instance and the vendor.
    """

    stage: Stage
    line: Line = field(default_factory=Line)
    slug: str = "acme"

    @property
    def clock(self) -> Clock:
        return self.stage.clock

    def vault(self) -> AbstractContextManager[Vault]:
        return self.stage.embedded.vault(self.slug)

    @contextmanager
    def agent(self) -> Iterator[Agent]:
        embedded = self.stage.embedded
        link = OnLine(MemoryLink(embedded.desk(self.slug)), self.line)
        with self.vault() as vault:
            canaries = embedded._canaries(self.slug)
            yield Agent(vault, link, embedded.pushes, canaries, self.clock, embedded.trust)

    def tick(self) -> None:
        """The vendor's worker does all that is owed."""
        apart(self.stage.embedded.tick)

    def upload(self, data: bytes) -> None:
        """Somebody brings the certificate by another way than the page."""
        apart(lambda: self.stage.embedded.upload(self.slug, data))

    def request(self) -> SignedRequest:
        found = self.stage.embedded.desk(self.slug).work().request
        assert found is not None, "no request waits"
        return found

    def renew_at_portal(self, account: str = ACCOUNT) -> bytes:
        request = self.request()
        assert request.renew_serial is not None
        return self.stage.portal.renew(account, request.request.encode(), request.renew_serial)

    def create_at_portal(self, account: str = ACCOUNT) -> bytes:
        return self.stage.portal.create(account, self.request().request.encode())

    def active_pem(self) -> bytes:
        with self.vault() as vault:
            return vault.require_active().certificate.pem.encode()

    def renew(self, reason: RenewalReason = RenewalReason.MANUAL) -> None:
        """A renewal is wanted, and the vendor does what it can about it."""
        embedded = self.stage.embedded
        with embedded.database.transaction() as session:
            customer = store.customer_by_slug(session, self.slug)
            request_renewal(session, customer, reason, at=self.clock.now(), actor="operator:test")
        apart(lambda: embedded.worker.drive(self.slug))

    def state(self) -> str | None:
        """Of the open renewal; None where none is open."""
        standing = self.stage.embedded.desk(self.slug).work().standing
        assert standing is not None
        return standing.renewal_state


@contextmanager
def vendor_with_acme(directory: Path) -> Iterator[Acme]:
    """A customer whom the vendor has only just added, beside a tenant to probe with."""
    with Stage(directory, 5).open() as stage:
        stage.import_signer(days=720)
        stage.add_customer(CANARY, "Example MDM", "ops@vendor.example", CANARY_ACCOUNT, canary=True)
        tenant = Acme(stage, slug=CANARY)
        tenant.tick()
        tenant.upload(tenant.create_at_portal(CANARY_ACCOUNT))
        stage.enrol_device(CANARY)
        stage.add_customer("acme", "Acme GmbH", "it@acme.example", ACCOUNT)
        yield Acme(stage)


def settle(newcomer: Acme) -> Acme:
    """Gets the first certificate; two devices enrol."""
    newcomer.tick()
    newcomer.upload(newcomer.create_at_portal())
    for _ in range(2):
        newcomer.stage.enrol_device("acme")
    newcomer.stage.clock.advance(timedelta(days=1))  # the check without a device is made again
    newcomer.tick()
    newcomer.stage.mailbox.take()
    return newcomer


def eleven_months_later(settled: Acme) -> Acme:
    """The certificate is to be renewed, and the request is there."""
    settled.stage.clock.advance(timedelta(days=340))
    settled.tick()
    assert settled.state() == "delivered"
    return settled


@pytest.fixture
def newcomer(tmp_path: Path) -> Iterator[Acme]:
    with vendor_with_acme(tmp_path / "vendor") as found:
        yield found


@pytest.fixture
def settled(newcomer: Acme) -> Acme:
    return settle(newcomer)


@pytest.fixture
def acme(settled: Acme) -> Acme:
    return eleven_months_later(settled)


@pytest.fixture(scope="module")
def unchanged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Acme]:
    """As ``acme``, for tests that change nothing."""
    with vendor_with_acme(tmp_path_factory.mktemp("shared") / "vendor") as found:
        yield eleven_months_later(settle(found))


@contextmanager
def running(app: FastAPI) -> Iterator[str]:
    """Serves an application on loopback, as `instance serve` does; gives its address."""
    up = threading.Event()
    prepared = prepare(app, Listening("127.0.0.1", 0), ready=lambda _: up.set())
    thread = threading.Thread(target=prepared.run, daemon=True)
    thread.start()
    assert up.wait(60), "the server did not come up"
    try:
        yield prepared.url
    finally:
        prepared.stop()
        thread.join(60)


Serve = Callable[..., str]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Serves the setup page of an instance; gives its address."""
    with ExitStack() as opened:

        def serve_page(instance: Acme, **options: object) -> str:
            wanted = {"patience": 20.0, "retry": 0.05, **options}
            app = opened.enter_context(setup_page(instance, **wanted))  # type: ignore[arg-type]
            return opened.enter_context(running(app))

        yield serve_page
