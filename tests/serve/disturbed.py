"""One customer's year over a network that can be disturbed: vendor, instance, canary, and a tap.

Everything is real and in this process: the server over TLS, the worker, the vaults, the lab's
portal, gateway and mail server. A play gives the state at its end, for comparison.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import TypeVar

import pytest
from sqlmodel import col, select

from lifecycle.clock import Clock
from lifecycle.config import CONFIG_NAME, load_config
from lifecycle.errors import Refused, Unavailable
from lifecycle.instance.models import CredentialRow, KeyRow
from lifecycle.lab.clock import LabClock
from lifecycle.lab.network_faults import NetworkFault
from lifecycle.lab.tap import Tap
from lifecycle.pki.keys import generate_key
from lifecycle.rehearsal.surroundings import OPS, START, VENDOR, Surroundings
from lifecycle.serve.app import build_app
from lifecycle.serve.listen import Listening
from lifecycle.serve.served import Served
from lifecycle.standalone import Standalone
from lifecycle.vendor import audit, invitations, registry, store
from lifecycle.vendor.access_models import InstanceCredential, Invitation, SealedCanary
from lifecycle.vendor.facts import CustomerKind
from lifecycle.vendor.migrations import upgrade
from lifecycle.vendor.models import (
    AuditEntry,
    Certificate,
    Claim,
    Customer,
    IsolationCheck,
    OutboxMessage,
    Renewal,
    TokenClaim,
)
from lifecycle.vendor_plane import VendorPlane
from tests.serve.conftest import running

DAY = timedelta(days=1)
OPERATOR = "operator:test"
ACCOUNT = "push@acme.example"
TRIES = 200
"""More than any run of faults in these tests; who is not through by then never gets through."""
T = TypeVar("T")


@dataclass(frozen=True)
class Disturbance:
    """What goes wrong in one play.

    Attributes:
        faults: of the network, one for each request in turn; None lets it through.
        skew: by how much the instance's clock is off.
        incidents: before which step of the play the server is started anew, or the vendor's
            database is away for a while.
        offline: the instance is off for ten weeks in the midst of the year.
        timeout: how long the instance waits for an answer, in seconds.
    """

    faults: tuple[NetworkFault | None, ...] = ()
    skew: timedelta = timedelta()
    incidents: Mapping[int, str] = field(default_factory=dict)
    offline: bool = False
    timeout: float = 60.0


RESTART, DATABASE_AWAY = "server started anew", "database away"
STEPS = 10
"""How many steps a play has, at which incidents can happen."""


@dataclass(frozen=True)
class Skewed:
    """A clock that is off."""

    clock: Clock
    by: timedelta

    def now(self) -> datetime:
        return self.clock.now() + self.by


class Scene:
    """What all plays begin from: a vendor with a signer and a canary tenant, and the lab.

    Args:
        directory: kept in it; plays are copied from it.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.clock = LabClock(START)
        self.lab = Surroundings(directory / "lab", 5, self.clock)
        self._plays = 0

    @contextmanager
    def open(self) -> Iterator[Scene]:
        """Starts the lab, and makes vendor and canary."""
        with self.lab.running():
            vendor = self.directory / "vendor"
            vendor.mkdir(mode=0o700)
            certificate, key = self.lab.authority.server_credential()
            (vendor / "serve.pem").write_bytes(certificate)
            (vendor / "serve.key").write_bytes(key)
            (vendor / CONFIG_NAME).write_text(
                f'[vendor]\nname = "{VENDOR}"\nops = ["{OPS}"]\ninstances = "distributed"\n\n'
                f"{self.lab.of_apple}\n{self.lab.of_mail}"
            )
            upgrade(load_config(vendor / CONFIG_NAME).database_url)
            with Play(self, self.directory, Disturbance()).running() as play:
                self._prepare(play)
            self.lab.mailbox.take()
            yield self

    def _prepare(self, play: Play) -> None:
        key = generate_key()
        signer = self.lab.authority.issue_signing_certificate(key.public_key(), VENDOR, days=900)
        play.plane.signer.install(signer, key, (), play.plane.trust, at=START)
        play.add("canary", CustomerKind.CANARY)
        play.canary.make_vault()
        play.canary.enrol(play.invite("canary"))
        play.tick()
        play.canary.step()
        play.tick()
        play.upload(play.canary, "canary", self.lab.portal.create)
        play.import_device(play.canary)
        play.add("acme")

    def play(self, disturbance: Disturbance) -> Ending:
        """One whole play from this beginning; gives its end."""
        with self.playing(disturbance) as play:
            play.year()
            return play.ending()

    @contextmanager
    def playing(self, disturbance: Disturbance) -> Iterator[Play]:
        """A play from this beginning, to be gone on with."""
        self._plays += 1
        directory = self.directory / f"play-{self._plays}"
        directory.mkdir()
        for part in ("vendor", "canary"):
            shutil.copytree(self.directory / part, directory / part)
        self.clock.set(START)
        self.lab.mailbox.take()
        try:
            with Play(self, directory, disturbance).running() as play:
                yield play
        finally:
            shutil.rmtree(directory)


class Play:
    """One play of a year. Use ``running``.

    Attributes:
        served, plane: the vendor's processes.
        acme, canary: the instances.
        tap: the network.
    """

    served: Served
    plane: VendorPlane
    acme: Standalone
    canary: Standalone

    def __init__(self, scene: Scene, directory: Path, disturbance: Disturbance) -> None:
        self.scene = scene
        self.clock = scene.clock
        self.directory = directory
        self.disturbance = disturbance
        self.tap = Tap(scene.lab.authority, directory)
        self._server = ExitStack()
        self._step = 0
        self._mails: Counter[tuple[str, str]] = Counter()
        self._requests: dict[str, bytes] = {}

    @contextmanager
    def running(self) -> Iterator[Play]:
        config = load_config(self.directory / "vendor" / CONFIG_NAME)
        skewed = Skewed(self.clock, self.disturbance.skew)
        with (
            Served(config, self.clock) as self.served,
            VendorPlane(config, self.clock) as self.plane,
            self._instance("acme", skewed) as self.acme,
            self._instance("canary", self.clock) as self.canary,
        ):
            self.tap.start()
            self._start_server()
            try:
                yield self
            finally:
                self.tap.stop()
                self._server.close()

    def _instance(self, name: str, clock: Clock) -> Standalone:
        directory = self.directory / name
        directory.mkdir(exist_ok=True)
        (directory / CONFIG_NAME).write_text(
            f'[instance]\nvendor = "{self.tap.url}"\n'
            f'ca_file = "{self.scene.lab.directory.absolute()}/gateway-ca.pem"\n'
            f"timeout_seconds = {self.disturbance.timeout}\n\n{self.scene.lab.of_apple}"
        )
        return Standalone(load_config(directory / CONFIG_NAME), clock, sleep=lambda _: None)

    def _start_server(self) -> None:
        vendor = self.directory / "vendor"
        where = Listening("127.0.0.1", 0, vendor / "serve.pem", vendor / "serve.key")
        url = self._server.enter_context(running(build_app(self.served), where))
        self.tap.leads_to(int(url.rpartition(":")[2]))

    # What people and processes do.

    def add(self, slug: str, kind: CustomerKind = CustomerKind.CUSTOMER) -> None:
        new = registry.NewCustomer(
            slug, slug.title(), f"it@{slug}.example", f"push@{slug}.example", kind
        )
        with self.plane.database.transaction() as session:
            registry.add(session, new, at=self.clock.now(), actor=OPERATOR)

    def invite(self, slug: str) -> str:
        with self.plane.database.transaction() as session:
            customer = store.customer_by_slug(session, slug)
            return invitations.invite(session, customer, at=self.clock.now(), actor=OPERATOR)

    def tick(self) -> None:
        """The worker looks; what it has mailed is opened."""
        done = self.plane.tick()
        assert done.work.defects == []
        for message in self.scene.lab.mailbox.take():
            to = str(message["To"])
            self._mails[to, " ".join(str(message["Subject"]).split())] += 1
            for part in message.iter_attachments():
                payload = part.get_payload(decode=True)
                assert isinstance(payload, bytes)
                self._requests[to] = payload

    def ask(self, *instances: Standalone) -> None:
        """As ``instance run``: again and again, until an answer has come through."""
        for instance in instances or (self.acme, self.canary):
            insist(instance.step)

    def upload(
        self, instance: Standalone, slug: str, portal: Callable[[str, bytes], bytes]
    ) -> None:
        """The admin takes the request from the newest mail to the portal, and uploads."""
        file = portal(f"push@{slug}.example", self._requests[f"it@{slug}.example"])
        try:
            insist(lambda: instance.upload(file))
        except Refused as refused:
            # The try before was cut off when all was done but the answer.
            assert refused.codes[0] == "already_active"  # noqa: PT017
            assert self.disturbance.faults

    def import_device(self, instance: Standalone) -> None:
        with instance.vault() as vault:
            topic = vault.require_active().certificate.topic
            message = self.scene.lab.new_device(topic)
            vault.import_devices(message, self.clock.now())

    def active_serial(self) -> str:
        with self.acme.vault() as vault:
            return vault.require_active().certificate.serial

    # The play.

    def year(self) -> None:
        """From the invitation to the renewal, every step of it."""
        portal = self.scene.lab.portal
        self.tap.faults.queue(*self.disturbance.faults)
        self.acme.make_vault()
        code = self.invite("acme")
        self._next("enrolment")
        insist(lambda: self.acme.enrol(code))
        self.tick()
        self._next("CSR")
        self.ask(self.acme)
        self.tick()
        self._next("first upload")
        self.upload(self.acme, "acme", portal.create)
        self.import_device(self.acme)
        self._next("first isolation check")
        self.ask(self.canary)  # which seals its token for the other
        self.look()
        self._at(days=1)
        self.look()
        self._next("a check that a person wants")
        insist(self.acme.verify)
        for week in range(1, 11):
            self._at(days=7 * week)
            if week == 5:
                self._next("the fifth of ten weeks")
            if self.disturbance.offline:
                self.tick()
            else:
                self.look()
        self._at(days=95)
        self._next("change of keys")
        self.look()
        self._at(days=335)
        self._next("renewal")
        self.look()
        self._next("wrong upload")
        request = self._requests["it@acme.example"]
        with pytest.raises(Refused) as refused:
            self.acme.upload(portal.create(ACCOUNT, request))
        assert "topic_changed" in refused.value.codes
        self._next("second upload")
        serial = self.active_serial()
        self.upload(self.acme, "acme", lambda who, what: portal.renew(who, what, serial))
        self.look()
        assert self._step == STEPS
        self.settle()

    def settle(self) -> None:
        """The network is good again, and what is late arrives; everybody does what is owed."""
        self.tap.faults.clear()
        self.tap.deliver_late()
        self._at(days=340)
        for _ in range(3):
            self.look()

    def look(self) -> None:
        """Worker and instances take turns."""
        self.tick()
        self.ask()
        self.tick()
        self.ask()
        self.tick()

    def _at(self, *, days: float) -> None:
        self.clock.set(START + days * DAY)

    def _next(self, _what: str) -> None:
        incident = self.disturbance.incidents.get(self._step)
        self._step += 1
        if incident == RESTART:
            self._server.close()
            self._start_server()
        elif incident == DATABASE_AWAY:
            with self._database_away():
                with pytest.raises(Unavailable):
                    self.canary.work()
                with pytest.raises(Unavailable):
                    self.plane.tick()

    @contextmanager
    def _database_away(self) -> Iterator[None]:
        vendor = self.directory / "vendor"
        away = vendor / "away"
        away.mkdir()
        self._let_go_of_the_database()
        for file in vendor.glob("vendor.sqlite*"):
            file.rename(away / file.name)
        (vendor / "vendor.sqlite").mkdir()
        try:
            yield
        finally:
            self._let_go_of_the_database()
            (vendor / "vendor.sqlite").rmdir()
            for file in away.iterdir():
                file.rename(vendor / file.name)
            away.rmdir()

    def _let_go_of_the_database(self) -> None:
        self.served.database.close()
        self.plane.database.close()

    # The end.

    def checks(self) -> int:
        """How often the isolation of the customer was checked."""
        with self.plane.database.reading() as session:
            acme = store.key_of(store.customer_by_slug(session, "acme"))
            return len(
                session.exec(
                    select(IsolationCheck).where(
                        IsolationCheck.customer_id == acme,
                        col(IsolationCheck.verdict).is_not(None),
                    )
                ).all()
            )

    def ending(self) -> Ending:
        """Everything that must be equal, however the network was."""
        with self.plane.database.reading() as session:
            assert audit.verify_log(session).problem is None
            slugs = {row.id: row.slug for row in session.exec(select(Customer))}
            checks = session.exec(select(IsolationCheck).order_by(col(IsolationCheck.id))).all()
            messages = session.exec(select(OutboxMessage)).all()
            assert all(message.sent_at is not None for message in messages)
            vendor = {
                "renewals": _counted(
                    (slugs[r.customer_id], r.state, r.reason, r.blocked_code)
                    for r in session.exec(select(Renewal))
                ),
                "certificates": _counted(
                    (slugs[c.customer_id], c.state) for c in session.exec(select(Certificate))
                ),
                "claims": _counted(
                    (slugs[c.customer_id], c.kind) for c in session.exec(select(Claim))
                ),
                "device tokens": _counted(
                    slugs[c.customer_id] for c in session.exec(select(TokenClaim))
                ),
                "verdicts": _counted(
                    {(slugs[check.customer_id], check.verdict) for check in checks}
                ),
                "last verdict": [check.verdict for check in checks][-1:],
                "messages": _counted((m.kind, m.rung) for m in messages),
                "invitations": _counted(
                    (slugs[i.customer_id], i.used_at is not None, i.withdrawn_at is not None)
                    for i in session.exec(select(Invitation))
                ),
                "credentials": _counted(
                    (slugs[c.customer_id], c.replaced_at is not None, c.revoked_at is not None)
                    for c in session.exec(select(InstanceCredential))
                ),
                "sealed": _counted(
                    slugs[credential.customer_id]
                    for credential in session.exec(
                        select(InstanceCredential).join(
                            SealedCanary,
                            col(SealedCanary.credential_id) == InstanceCredential.id,
                        )
                    )
                ),
            }
            audited = {(e.action, e.subject) for e in session.exec(select(AuditEntry))}
            active = session.exec(
                select(Certificate.fingerprint).where(
                    Certificate.state == store.ACTIVE,
                    Certificate.customer_id
                    == store.key_of(store.customer_by_slug(session, "acme")),
                )
            ).one()
            known_as = session.exec(
                select(InstanceCredential.id).where(
                    col(InstanceCredential.replaced_at).is_(None),
                    col(InstanceCredential.revoked_at).is_(None),
                    InstanceCredential.customer_id
                    == store.key_of(store.customer_by_slug(session, "acme")),
                )
            ).one()
        return Ending(vendor, self._vault(active, known_as), audited, dict(self._mails))

    def _vault(self, active: str, known_as: str) -> dict[str, object]:
        with self.acme.vault() as vault:
            held = vault.require_active()
            assert held.certificate.fingerprint == active, "both planes say the same"
            assert vault.candidate() is None
            enrolled = vault.credentials.current()
            assert enrolled is not None
            assert enrolled.credential_id == known_as, "both planes say the same"
            with vault._safe.database.reading() as session:
                keys = session.exec(select(KeyRow)).all()
                credentials = session.exec(select(CredentialRow)).all()
            return {
                "certificates": _counted(h.state for h in vault.certificates.history()),
                "keys": _counted(key.retired_at is not None for key in keys),
                "credentials": _counted(
                    (c.credential_id is not None, c.replaced_at is not None) for c in credentials
                ),
                "devices": _counted(device.gone_at is not None for device in vault.devices.all()),
            }


@dataclass(frozen=True)
class Ending:
    """The state at the end of a play."""

    vendor: Mapping[str, object]
    vault: Mapping[str, object]
    audited: set[tuple[str, str]]
    mails: Mapping[tuple[str, str], int]

    def differences(self, other: Ending) -> dict[str, tuple[object, object]]:
        """What is not as in the other; empty if the two are equal."""
        mine, theirs = self._flat(), other._flat()
        assert mine.keys() == theirs.keys()
        return {key: (mine[key], theirs[key]) for key in mine if mine[key] != theirs[key]}

    def _flat(self) -> dict[str, object]:
        return {
            **{f"vendor: {key}": value for key, value in self.vendor.items()},
            **{f"vault: {key}": value for key, value in self.vault.items()},
            "audited": sorted(self.audited),
            "mails": self.mails,
        }


def insist(action: Callable[[], T]) -> T:
    """Does it again as long as the vendor cannot be reached."""
    for _ in range(TRIES):
        try:
            return action()
        except Unavailable:
            continue
    raise AssertionError(f"not through after {TRIES} tries")


def _counted(things: object) -> dict[object, int]:
    return dict(Counter(things))  # type: ignore[call-overload]
