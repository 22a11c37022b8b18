"""The distributed deployment of a rehearsal: processes of their own, TLS on loopback between.

A vendor's ``serve`` and ``run``, and for each customer an ``instance run`` in a directory of its
own. A proxy between the planes ends TLS and records every byte (``lifecycle.lab.tap``).

An instance asks every minute in production. Here it asks when the vendor's books want something
of it, and once a fortnight in any case: the questions in between would be answered with nothing.
Isolation is checked as often as that: a fast year has no time for more.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime, timedelta
from pathlib import Path

from sqlmodel import Session, col, or_, select

from lifecycle.config import CONFIG_NAME, load_config
from lifecycle.instance.vault import Vault
from lifecycle.lab.clock import FileClock
from lifecycle.lab.tap import Tap
from lifecycle.registry_database import configured_password
from lifecycle.rehearsal import victim
from lifecycle.rehearsal.deployment import Uploaded
from lifecycle.rehearsal.distributed_boundary import DistributedBoundary
from lifecycle.rehearsal.machines import InstanceMachine, VendorMachine
from lifecycle.rehearsal.stage import Stage
from lifecycle.rehearsal.surroundings import OPS, START, VENDOR, Surroundings
from lifecycle.vendor import canary_seals, credentials, invitations, store
from lifecycle.vendor.facts import CustomerKind, RenewalState
from lifecycle.vendor.migrations import upgrade
from lifecycle.vendor.models import Certificate, Customer, IsolationCheck, Renewal
from lifecycle.vendor_plane import VendorPlane

CLOCK = "clock"
OPERATOR = "operator:rehearsal"
ASKS_EVERY = timedelta(days=14)
TURNS = 4
"""How often an instance asks at one instant, at most: CSR, activation, probes, and once more."""
KILL_AT = 2
_WARNINGS = ("vendor_unavailable", "refused", "step_failed", "setback")


class DistributedDeployment:
    """A vendor's machine, customers' machines, and the network between (``Deployment``).

    Args:
        lab: around it.

    Attributes:
        plane: the vendor's, as ops have it at the command line of the vendor's machine.
        vendor: the vendor's machine.
        machines: the customers', by slug.
        tap: between them.
    """

    def __init__(self, lab: Surroundings) -> None:
        self._lab = lab
        self._clock_file = lab.directory / CLOCK
        self.machines: dict[str, InstanceMachine] = {}
        self._asked_at: dict[str, datetime] = {}
        directory = lab.directory / "vendor"
        directory.mkdir(mode=0o700)
        _write_vendor(directory, lab)
        config = load_config(directory / CONFIG_NAME)
        upgrade(config.database_url, password=configured_password(config))
        self.plane = VendorPlane(config, lab.clock)
        self.tap = Tap(lab.authority, lab.directory, record=lab.directory / "recording")
        self.vendor = VendorMachine(directory, self._clock_file)

    def start(self) -> None:
        """Waits for the server, and lets instances reach it."""
        self.tap.leads_to(self.vendor.port())
        self.tap.start()

    def close(self) -> None:
        """Ends every process that was started here."""
        with ExitStack() as ending:
            ending.callback(self.plane.close)
            ending.callback(self.tap.stop)
            ending.callback(self.vendor.off)
            for machine in self.machines.values():
                machine.let_go()
                ending.callback(machine.off)

    @property
    def boundary(self) -> DistributedBoundary:
        """See ``Deployment.boundary``."""
        vaults = {slug: machine.vault for slug, machine in self.machines.items()}
        return DistributedBoundary(self._lab, self.plane, vaults, self.vendor.pids)

    def join(self, slug: str) -> None:
        """See ``Deployment.join``: ops invite, and somebody there types the code in."""
        machine = InstanceMachine(
            slug,
            self._lab.directory / "instances" / slug,
            self._instance_config(),
            self._clock_file,
        )
        self.machines[slug] = machine
        # Spread over the days, as instances are that were set up on different ones.
        spread = timedelta(days=len(self.machines) % ASKS_EVERY.days)
        self._asked_at[slug] = self._lab.clock.now() - spread
        machine.on()
        machine.enrol(self.invite(slug))

    def invite(self, slug: str) -> str:
        """Ops invite the customer's instance; gives the code."""
        with self.plane.database.transaction() as session:
            customer = store.customer_by_slug(session, slug)
            return invitations.invite(session, customer, at=self._lab.clock.now(), actor=OPERATOR)

    def revoke(self, slug: str, why: str) -> None:
        """Ops shut the customer's instance out."""
        with self.plane.database.transaction() as session:
            customer = store.customer_by_slug(session, slug)
            credentials.revoke_all(
                session, customer, at=self._lab.clock.now(), actor=OPERATOR, why=why
            )

    def lose_server(self) -> None:
        """Kills ``serve`` (SIGKILL) while every instance asks; another one takes its place."""
        asking = [machine for machine in self.machines.values() if machine.is_on]
        for machine in asking:
            machine.tell_to_ask()
        self.vendor.lose_server()
        self.tap.leads_to(self.vendor.port())
        for machine in asking:
            machine.heard()

    def look(self) -> None:
        """See ``Deployment.look``: worker and instances take turns until nothing is wanted."""
        for machine in self.machines.values():
            if machine.is_on:
                machine.settled()
        self.vendor.tick()
        turns: Counter[str] = Counter()
        while wanted := [slug for slug in self._wanted() if turns[slug] < TURNS]:
            for slug, events in self.round(wanted).items():
                turns[slug] += TURNS if warnings_in(events) else 1
            self.vendor.tick()

    def round(self, slugs: Iterable[str]) -> dict[str, list[str]]:
        """Lets these instances ask, all at once; gives what each has to say about it."""
        asking = [self.machines[slug] for slug in slugs]
        for machine in asking:
            self._asked_at[machine.slug] = self._lab.clock.now()
            machine.tell_to_ask()
        return {machine.slug: machine.heard() for machine in asking}

    def upload(self, slug: str, data: bytes) -> Uploaded:
        """See ``Deployment.upload``."""
        return Uploaded(*self.machines[slug].upload(data))

    def take_in(self, slug: str, token_update: bytes) -> None:
        """See ``Deployment.take_in``."""
        self.machines[slug].take_in(token_update)

    def held(self, slug: str) -> str:
        """See ``Deployment.held``."""
        with Vault.open(self.machines[slug].vault) as vault:
            return str(vault.require_active().certificate.fingerprint)

    def lose_worker(self) -> bool:
        """See ``Deployment.lose_worker``; another one than ``run``, on the same database."""
        return victim.lose(self.vendor.directory, self._lab.clock.now(), KILL_AT)

    def _wanted(self) -> list[str]:
        now = self._lab.clock.now()
        with self.plane.database.reading() as session:
            wanted = _wanted_by_the_books(session)
        return [
            slug
            for slug, machine in self.machines.items()
            if machine.is_on and (slug in wanted or self._asked_at[slug] + ASKS_EVERY <= now)
        ]

    def _instance_config(self) -> str:
        return f"""\
[instance]
vendor = "{self.tap.url}"
ca_file = "{self._lab.directory.absolute()}/gateway-ca.pem"

{self._lab.of_apple}"""


def warnings_in(events: Iterable[str]) -> list[str]:
    """Those of a round's events that say that something did not go as it should."""
    return [event for event in events if event.startswith(_WARNINGS)]


def _wanted_by_the_books(session: Session) -> set[str]:
    """Whose instance would be told to do something if it asked now."""
    waiting = (
        select(Renewal.customer_id).where(Renewal.state == RenewalState.REQUESTED),
        select(Certificate.customer_id).where(Certificate.state == store.RECEIVED),
        select(IsolationCheck.customer_id).where(col(IsolationCheck.verdict).is_(None)),
    )
    wanted = set(
        session.exec(
            select(Customer.slug).where(or_(*(col(Customer.id).in_(ids) for ids in waiting)))
        )
    )
    for slug in store.slugs_of_kind(session, CustomerKind.CANARY):
        sealing = canary_seals.sealing_for(session, store.customer_by_slug(session, slug))
        if sealing is not None and sealing.orders:
            wanted.add(slug)
    return wanted


def _write_vendor(directory: Path, lab: Surroundings) -> None:
    certificate, key = lab.authority.server_credential()
    (directory / "serve.pem").write_bytes(certificate)
    (directory / "serve.key").touch(mode=0o600)
    (directory / "serve.key").write_bytes(key)
    (directory / CONFIG_NAME).write_text(
        f"""\
[vendor]
name = "{VENDOR}"
ops = ["{OPS}"]
instances = "distributed"

[isolation]
every_days = {ASKS_EVERY.days}

[serve]
port = 0
certificate = "serve.pem"
key = "serve.key"

{lab.of_apple}
{lab.of_mail}"""
    )


@contextmanager
def _deployed(lab: Surroundings) -> Iterator[DistributedDeployment]:
    deployment = DistributedDeployment(lab)
    try:
        deployment.start()
        yield deployment
    finally:
        deployment.close()


def distributed_stage(directory: Path, seed: int) -> Stage:
    """A stage whose deployment is distributed; ``directory`` is made."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    clock = FileClock.start(directory / CLOCK, START)
    return Stage(directory, seed, clock=clock, deploy=_deployed)


def deployment_of(stage: Stage) -> DistributedDeployment:
    """The distributed deployment of a stage."""
    if not isinstance(stage.deployment, DistributedDeployment):
        raise TypeError("this stage's deployment is not distributed")
    return stage.deployment


__all__ = ["DistributedDeployment", "deployment_of", "distributed_stage", "warnings_in"]
