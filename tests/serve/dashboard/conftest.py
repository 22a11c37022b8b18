"""A vendor's dashboard, served over real TLS on loopback, with people who may sign in."""

from __future__ import annotations

import re
import ssl
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime
from html import unescape
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI
from sqlmodel import Session, select

from lifecycle.config import CONFIG_NAME, load_config
from lifecycle.lab.clock import LabClock
from lifecycle.serve.app import build_app
from lifecycle.serve.dashboard.routes import add_dashboard
from lifecycle.serve.listen import Listening
from lifecycle.serve.served import Served
from lifecycle.vendor import registry, store, users
from lifecycle.vendor.facts import RenewalReason, RenewalState
from lifecycle.vendor.migrations import upgrade
from lifecycle.vendor.models import AuditEntry, Certificate, Customer, OutboxMessage, Renewal
from lifecycle.vendor.users import Passwords, Role
from tests.serve.conftest import START, Tls, running
from tests.vendor.registries import DAY

PASSWORD = "correct horse battery staple"
ROOT = "operator:root"
SESSION_COOKIE = "__Host-pushcert"
BROWSER_COOKIE = "__Host-pushcert-sign-in"


@pytest.fixture(scope="session")
def password_hash() -> str:
    """Hashing takes a while on purpose; once is enough."""
    return Passwords().hash(PASSWORD)


@dataclass
class Visitor:
    """A browser without a screen: keeps cookies, and fills in forms that it was served."""

    client: httpx.Client
    page: httpx.Response = field(default_factory=lambda: httpx.Response(200))

    def get(self, path: str) -> httpx.Response:
        self.page = self.client.get(path)
        return self.page

    def post(
        self, path: str, headers: Mapping[str, str] | None = None, **fields: str
    ) -> httpx.Response:
        """Sends a form as it is given, without what the last page would add."""
        return self.client.post(path, data=fields, headers=headers)

    def token(self) -> str:
        """The form token of the last page."""
        found = re.search(r'name="token" value="([0-9a-f]{64})"', self.page.text)
        assert found is not None, "the page has no form"
        return found[1]

    def send(self, path: str, **fields: str) -> httpx.Response:
        """Sends the form of the last page."""
        return self.post(path, None, token=self.token(), **fields)

    def confirm(self, path: str, **fields: str) -> httpx.Response:
        """Opens a confirmation page and says yes."""
        assert self.get(path).status_code == 200
        return self.send(path, **fields)

    def sign_in(self, name: str, password: str = PASSWORD) -> httpx.Response:
        self.get("/sign-in")
        return self.send("/sign-in", name=name, password=password)

    def words(self) -> str:
        """What the last page says, without its markup."""
        text = re.sub(r"<(script|style|head)\b.*?</\1>", " ", self.page.text, flags=re.DOTALL)
        return " ".join(unescape(re.sub(r"<[^>]+>", "", text)).split())

    @property
    def session(self) -> str | None:
        return self.client.cookies.get(SESSION_COOKIE)


@dataclass
class Ops:
    """A vendor whose dashboard is served.

    Attributes:
        opened: closes what was opened, before the server.
    """

    directory: Path
    app: FastAPI
    served: Served
    clock: LabClock
    url: str
    tls: Tls
    opened: ExitStack

    def visitor(self) -> Visitor:
        client = httpx.Client(
            base_url=self.url,
            verify=ssl.create_default_context(cafile=str(self.tls.ca)),
            timeout=60,
        )
        return Visitor(self.opened.enter_context(client))

    def signed_in(self, name: str) -> Visitor:
        visitor = self.visitor()
        answer = visitor.sign_in(name)
        assert answer.status_code == 303, answer.text
        return visitor

    def entries(self, **like: str) -> list[AuditEntry]:
        """Entries of the audit log with these actors, actions, subjects."""
        with self.served.database.reading() as session:
            found = session.exec(select(AuditEntry).order_by(AuditEntry.seq)).all()  # type: ignore[arg-type]
        return [e for e in found if all(getattr(e, name) == want for name, want in like.items())]

    def messages(self) -> list[OutboxMessage]:
        with self.served.database.reading() as session:
            return list(session.exec(select(OutboxMessage)).all())

    def add(self, slug: str, **more: str) -> None:
        with self.served.database.transaction() as session:
            name = more.get("name", f"{slug.title()} GmbH")
            new = registry.NewCustomer(slug, name, f"it@{slug}.example", f"push@{slug}.example")
            registry.add(session, new, at=self.clock.now(), actor=ROOT)

    def customer(self, slug: str) -> Customer:
        with self.served.database.reading() as session:
            return store.customer_by_slug(session, slug)

    def renewal(self, slug: str) -> Renewal | None:
        with self.served.database.reading() as session:
            return store.open_renewal(session, store.customer_by_slug(session, slug))


def certify(session: Session, slug: str, *, ends_in: float, now_of: LabClock) -> None:
    """Gives a customer an active certificate that ends in so many days."""
    customer = store.customer_by_slug(session, slug)
    key = store.key_of(customer)
    now = now_of.now()
    session.add(
        Certificate(
            customer_id=key,
            state="active",
            topic=f"com.apple.mgmt.External.{slug}",
            serial=f"{key:016X}",
            common_name=f"APSP:{slug}",
            issuer="CN=Apple Application Integration 2 Certification Authority",
            fingerprint=f"{key:064x}",
            key_fingerprint=f"{key:064x}",
            not_before=now - (365 - ends_in) * DAY,
            not_after=now + ends_in * DAY,
            der=b"",
            recorded_at=now - 300 * DAY,
            activated_at=now - 300 * DAY,
        )
    )


def hand_over(session: Session, slug: str, now_of: LabClock) -> Renewal:
    """Opens a renewal whose request has gone to the customer."""
    customer = store.customer_by_slug(session, slug)
    now = now_of.now()
    renewal = registry.open_renewal(
        session, customer, RenewalReason.EXPIRY, at=now - 9 * DAY, actor="worker"
    )
    renewal.state = RenewalState.DELIVERED
    renewal.request = "UmVxdWVzdA=="
    renewal.signed_at = renewal.delivered_at = now - 8 * DAY
    session.add(renewal)
    session.flush()
    return renewal


BuildOps = Callable[..., Ops]


@pytest.fixture
def build_ops(tmp_path: Path, tls: Tls, password_hash: str) -> Iterator[BuildOps]:
    """Makes a served vendor; ``more`` goes into its configuration. anna acts, vera looks."""
    with ExitStack() as opened:

        def build(
            more: str = "",
            *,
            encrypted: bool = True,
            port: int = 0,
            start: datetime = START,
        ) -> Ops:
            directory = tmp_path / f"vendor-{len(list(tmp_path.iterdir()))}"
            directory.mkdir(mode=0o700)
            (directory / CONFIG_NAME).write_text(
                f'[vendor]\nname = "Example MDM"\nops = ["ops@vendor.example"]\n{more}'
            )
            config = load_config(directory / CONFIG_NAME)
            upgrade(config.database_url)
            clock = LabClock(start)
            served = opened.enter_context(Served(config, clock))
            people(served, password_hash)
            app = build_app(served)
            if not hasattr(app.state, "dashboard"):
                add_dashboard(app, served)
            where = Listening(
                "127.0.0.1",
                port,
                tls.certificate if encrypted else None,
                tls.key if encrypted else None,
                config.serve.trusted_proxies,
            )
            url = opened.enter_context(running(app, where))
            inner = opened.enter_context(ExitStack())
            return Ops(directory, app, served, clock, url, tls, inner)

        yield build


def people(served: Served, password_hash: str) -> None:
    """anna is an operator, vera a viewer, gone is disabled."""
    with served.database.transaction() as session:
        for name, role in (("anna", Role.OPERATOR), ("vera", Role.VIEWER), ("gone", Role.OPERATOR)):
            users.add(session, name, role, password_hash, at=START, actor=ROOT)
        users.disable(session, users.user_by_name(session, "gone"), at=START, actor=ROOT)


@pytest.fixture
def ops(build_ops: BuildOps) -> Ops:
    return build_ops()


@pytest.fixture
def acme(ops: Ops) -> Ops:
    """A vendor with one customer who has a request to take to the portal."""
    ops.add("acme")
    with ops.served.database.transaction() as session:
        certify(session, "acme", ends_in=14, now_of=ops.clock)
        hand_over(session, "acme", ops.clock)
    return ops
