"""A year on PostgreSQL in which everything is killed, cut and restarted, beside one undisturbed.

    python -m bench.chaos [--customers 5000] [--workers 4] [--step-days 1] [--seed N]

Both years are played by the real worker, outbox, desk and audit log, on simulated time; mail goes
to a real SMTP server. In the disturbed one workers are killed (SIGKILL) at random, connections are
cut by a proxy, answers to COMMIT are swallowed, and the server is stopped in immediate mode and
started again. At the end both have the same state, every message is at the mail server once, and
the audit chain is whole.

A worker that is killed between the mail server's "250" and noting it leaves a message of which
nobody can know; it goes out again under its Message-ID, as any mail program's would. Those are
counted apart: there may be no more of them than workers that were killed in that moment.
"""

from __future__ import annotations

import argparse
import base64
import os
import random
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import Encoding
from sqlalchemy import text
from sqlmodel import Session, col, select

from bench.chaos_worker import HURRY, Nursery, Shared, work_for_ever
from bench.cutting import CuttingProxy
from bench.keys import keys
from bench.postgres import PostgresServer
from lifecycle.errors import Unavailable
from lifecycle.pki.csr import build_csr
from lifecycle.pki.push_certificate import PushCertificate
from lifecycle.pki.upload import read_upload
from lifecycle.rehearsal.stage import START, Stage
from lifecycle.vendor import registry, store
from lifecycle.vendor.audit import verify_log
from lifecycle.vendor.database import Database
from lifecycle.vendor.desk import Desk
from lifecycle.vendor.mail import message_id
from lifecycle.vendor.models import (
    AuditEntry,
    Certificate,
    Customer,
    IsolationCheck,
    OutboxMessage,
    Renewal,
)
from lifecycle.wire.messages import Activation, CertificateSubmission, CsrSubmission, Evidence

T = TypeVar("T")
DAY = timedelta(days=1)
PATIENCE = (3, 10, 17, 30, 41, 44, 50)
"""Days from the hand-over of the request until somebody goes to the portal; some after the end."""


@dataclass(frozen=True, slots=True)
class Play:
    """What is played.

    Attributes:
        stops: how often the server is stopped in the disturbed year.
        minutes: after which a year is given up.
    """

    customers: int
    workers: int
    days: int
    step_days: int
    seed: int
    stops: int
    minutes: float


@dataclass
class Harm:
    """What was done to a year."""

    kills: int = 0
    in_hand: int = 0
    """Workers killed between handing a message over and noting it."""
    cuts: int = 0
    swallowed: int = 0
    stops: int = 0


@dataclass
class Year:
    """One year under way."""

    play: Play
    stage: Stage
    shared: Shared
    database: Database
    keys: dict[str, RSAPrivateKey]
    patience: dict[str, timedelta]
    harm: Harm = field(default_factory=Harm)
    failure: BaseException | None = None

    def desk(self, slug: str) -> Desk:
        """A customer's way to the vendor."""
        plane = self.stage.embedded
        return Desk(self.database, slug, self.shared, plane.trust, plane.notices)


def again(work: Callable[[], T]) -> T:
    """What an instance does when the vendor cannot be reached: the same, later."""
    while True:
        try:
            return work()
        except Unavailable:
            time.sleep(1 / HURRY)


def populate(year: Year) -> None:
    """Customers whose certificates end evenly over the year."""
    stage, count = year.stage, year.play.customers
    stage.clock.set(START - 364 * DAY)
    stage.import_signer(1200)
    for number, (slug, key) in enumerate(year.keys.items()):
        stage.clock.set(START - 363 * DAY + number * 362 * DAY / count)
        issued = stage.authority.issue_push_certificate(
            key.public_key(), f"com.apple.mgmt.External.{number:032x}"
        )
        new = registry.NewCustomer(slug, slug.title(), f"it@{slug}.example", f"push@{slug}.example")
        der = issued.public_bytes(Encoding.DER)
        with year.database.transaction() as session:
            customer = registry.add(session, new, at=stage.clock.now(), actor="ops")
            registry.adopt(
                session,
                customer,
                PushCertificate.from_der(der),
                at=stage.clock.now(),
                actor="ops",
            )


def settle(year: Year, deadline: float) -> None:
    """Waits until the workers have done everything that is owed now."""
    now = year.shared.now()

    def owed() -> int:
        with year.database.reading() as session:
            return int(
                session.execute(
                    text(
                        "SELECT (SELECT count(*) FROM customer WHERE next_action_at <= :now)"
                        " + (SELECT count(*) FROM outbox WHERE next_attempt_at <= :now)"
                    ),
                    {"now": now},
                ).scalar_one()
            )

    while again(owed):
        if year.failure is not None:
            raise year.failure
        if time.monotonic() > deadline:
            raise TimeoutError(f"{now:%Y-%m-%d} did not come to rest, seed {year.play.seed}")
        time.sleep(0.02)


def customers_act(year: Year) -> int:
    """Instances hand in what is wanted of them, and people go to the portal; how many acted."""
    now = year.shared.now()

    def waiting() -> list[tuple[str, str, datetime | None, bool]]:
        received = (
            select(Certificate.id)
            .where(Certificate.renewal_id == Renewal.id, Certificate.state == store.RECEIVED)
            .exists()
        )
        with year.database.reading() as session:
            return list(
                session.exec(
                    select(Customer.slug, Renewal.state, Renewal.delivered_at, received)
                    .join(Renewal)
                    .where(col(Renewal.state).in_(("requested", "delivered")))
                    .order_by(Customer.slug)
                )
            )

    acted = 0
    for slug, state, delivered_at, received in again(waiting):
        if state == "requested":
            acted += again(partial(hand_in_csr, year, slug))
        elif received:
            acted += again(partial(activate, year, slug))
        elif delivered_at is not None and delivered_at + year.patience[slug] <= now:
            again(partial(upload, year, slug))
            acted += again(partial(activate, year, slug))
    return acted + again(partial(probe, year))


def hand_in_csr(year: Year, slug: str) -> int:
    """The instance's CSR, if it is still wanted."""
    desk = year.desk(slug)
    wanted = desk.work().csr
    if wanted is None:
        return 0
    csr = build_csr(year.keys[slug], email=wanted.email, common_name=slug)
    desk.submit_csr(CsrSubmission(renewal_id=wanted.renewal_id, csr=base64.b64encode(csr.der)))
    return 1


def upload(year: Year, slug: str) -> None:
    """The portal renews under the same topic, and the admin uploads what it gives."""
    desk = year.desk(slug)
    if desk.work().request is None:
        return
    with year.database.reading() as session:
        active = store.active_certificate(session, store.customer_by_slug(session, slug))
    assert active is not None
    year.stage.clock.set(year.shared.now())
    issued = year.stage.authority.issue_push_certificate(year.keys[slug].public_key(), active.topic)
    pem = issued.public_bytes(Encoding.PEM).decode()
    # The same file again until it is there: the portal is not asked twice.
    again(lambda: desk.submit_certificate(CertificateSubmission(certificate=pem)))


def activate(year: Year, slug: str) -> int:
    """The instance takes the new certificate into use."""
    desk = year.desk(slug)
    received = desk.work().received
    if received is None:
        return 0
    fingerprint = read_upload(received.certificate.encode()).certificate.fingerprint
    desk.report(Activation(renewal_id=received.renewal_id, fingerprint=fingerprint))
    return 1


def probe(year: Year) -> int:
    """Instances answer what is wanted of them for isolation: they have no canary."""
    with year.database.reading() as session:
        wanted = session.exec(
            select(Customer.slug, IsolationCheck.id, Certificate.fingerprint)
            .join(IsolationCheck, col(IsolationCheck.customer_id) == col(Customer.id))
            .join(Certificate, col(Certificate.id) == col(IsolationCheck.certificate_id))
            .where(col(IsolationCheck.verdict).is_(None))
            .order_by(Customer.slug)
        ).all()
    for slug, check_id, fingerprint in wanted:
        assert check_id is not None
        evidence = Evidence(check_id=check_id, fingerprint=fingerprint, fault="no_canary")
        again(partial(year.desk(slug).report, evidence))
    return len(wanted)


class Disturber(threading.Thread):
    """Does harm at random until it is stopped; the same harm to the same seed, more or less."""

    def __init__(
        self,
        year: Year,
        server: PostgresServer,
        proxy: CuttingProxy,
        brood: list[int],
        hatch: Callable[[int], int],
    ) -> None:
        super().__init__(daemon=True)
        self._year, self._server, self._proxy = year, server, proxy
        self._brood, self._hatch = brood, hatch
        self._rng = random.Random(year.play.seed + 1)
        self._over = threading.Event()
        self.due_stops = 0

    def stop(self) -> None:
        """No more harm."""
        self._over.set()
        self.join()

    def run(self) -> None:
        """See ``threading.Thread``."""
        try:
            while not self._over.wait(self._rng.uniform(0.05, 0.6)):
                self._harm()
        except BaseException as error:  # noqa: BLE001 - a thread's end must not go unseen
            self._year.failure = error

    def _harm(self) -> None:
        harm = self._year.harm
        if harm.stops < self.due_stops:
            self._server.stop("immediate")
            self._over.wait(self._rng.uniform(0, 0.3))
            self._server.start()
            harm.stops += 1
            return
        match self._rng.randrange(3):
            case 0:
                self._kill(self._rng.randrange(len(self._brood)))
            case 1:
                harm.cuts += self._proxy.cut()
            case _:
                self._proxy.swallow = True

    def _kill(self, place: int) -> None:
        pid, harm = self._brood[place], self._year.harm
        os.kill(pid, signal.SIGSTOP)
        time.sleep(0.01)  # until it has stopped, and what it has in hand stays so
        harm.in_hand += self._year.shared.in_hand(place)
        self._year.shared.in_hand(place, False)
        os.kill(pid, signal.SIGKILL)
        harm.kills += 1
        self._brood[place] = self._hatch(place)


@contextmanager
def disturbed(disturber: Disturber | None) -> Iterator[None]:
    """Harm is done inside the block."""
    if disturber is None:
        yield
        return
    disturber.start()
    try:
        yield
    finally:
        disturber.stop()


def play_year(year: Year, disturber: Disturber | None, say: Callable[[str], None]) -> None:
    """Day after day: the workers work, the customers act, until nothing is left to do."""
    deadline = time.monotonic() + year.play.minutes * 60
    steps = range(0, year.play.days, year.play.step_days)
    with disturbed(disturber):
        for number, day in enumerate(steps):
            year.shared.set(START + day * DAY)
            if disturber is not None:
                disturber.due_stops = (number + 1) * year.play.stops // len(steps)
            settle(year, deadline)
            while customers_act(year):
                settle(year, deadline)
            if number % max(len(steps) // 10, 1) == 0:
                say(f"day {day}, {play_seconds(deadline, year):.0f} s")
        while disturber is not None and year.harm.stops < year.play.stops:
            time.sleep(0.05)
        settle(year, deadline)


def play_seconds(deadline: float, year: Year) -> float:
    """How long a year has been played."""
    return time.monotonic() - deadline + year.play.minutes * 60


def end_state(session: Session) -> dict[str, Any]:
    """Everything that must be equal, with names in place of numbers that the database gave."""
    slugs = {c.id: c.slug for c in session.exec(select(Customer))}
    place: Counter[str] = Counter()
    certificates, renewals = {}, {}
    by_age = select(Certificate).order_by(
        col(Certificate.customer_id), col(Certificate.recorded_at)
    )
    for row in session.exec(by_age):
        slug = slugs[row.customer_id]
        place[slug] += 1
        certificates[row.id] = (slug, place[slug], row.state, row.not_after)
    place.clear()
    opened = select(Renewal).order_by(col(Renewal.customer_id), col(Renewal.opened_at))
    for renewal in session.exec(opened):
        slug = slugs[renewal.customer_id]
        place[slug] += 1
        renewals[renewal.id] = (
            *(slug, place[slug], renewal.state, renewal.reason, renewal.opened_at),
            *(renewal.signed_at, renewal.delivered_at, renewal.ended_at),
        )
    messages = Counter(
        (
            *(row.kind, slugs.get(row.customer_id), row.rung, row.created_at),
            *(row.sent_at, row.given_up_at, row.last_error, row.subject),
        )
        for row in session.exec(select(OutboxMessage))
    )
    checks = Counter(
        (slugs[row.customer_id], row.verdict, row.concluded_at)
        for row in session.exec(select(IsolationCheck))
    )
    log = Counter(
        (row.at, row.actor, row.action, row.subject) for row in session.exec(select(AuditEntry))
    )
    return {
        "customers": {c.slug: c.next_action_at for c in session.exec(select(Customer))},
        "leases": [c.slug for c in session.exec(select(Customer)) if c.leased_to is not None],
        "certificates": sorted(certificates.values()),
        "renewals": sorted(renewals.values(), key=str),
        "messages": messages,
        "checks": checks,
        "audit log": log,
    }


@dataclass(frozen=True)
class Outcome:
    """How a year ended."""

    state: dict[str, Any]
    owed: frozenset[str]
    """Message-IDs of the rows that were sent."""
    arrived: Counter[str]
    """How often each came."""
    audit_problem: str | None
    harm: Harm
    seconds: float


def one_year(play: Play, *, harmed: bool, say: Callable[[str], None]) -> Outcome:
    """Plays a year from nothing."""
    shared = Shared()
    with tempfile.TemporaryDirectory(prefix="chaos-") as folder:
        directory = Path(folder) / "vendor"

        def work(order: str) -> None:
            place, url = order.split(" ", 1)
            work_for_ever(directory, url, shared, int(place))

        nursery = Nursery(work)  # before there are threads
        try:
            with PostgresServer() as server, CuttingProxy(server.socket) as proxy:
                return _played(play, shared, directory, nursery, server, proxy, harmed, say)
        finally:
            nursery.close()


def _played(
    play: Play,
    shared: Shared,
    directory: Path,
    nursery: Nursery,
    server: PostgresServer,
    proxy: CuttingProxy,
    harmed: bool,
    say: Callable[[str], None],
) -> Outcome:
    rng = random.Random(play.seed)
    slugs = [f"customer-{number:05}" for number in range(play.customers)]
    with Stage(directory, play.seed, database=server.create("chaos")).open() as stage:
        year = Year(
            play,
            stage,
            shared,
            Database(
                proxy.url("chaos") if harmed else server.url("chaos"),
                sleep=lambda seconds: time.sleep(seconds / HURRY),
            ),
            dict(zip(slugs, keys(play.customers), strict=True)),
            {slug: rng.choice(PATIENCE) * DAY for slug in slugs},
        )
        populate(year)
        say(f"{play.customers} customers")
        shared.set(START)
        brood: list[int] = []

        def hatch(place: int) -> int:
            return nursery.fork(f"{place} {proxy.url('chaos')}")

        began = time.monotonic()
        try:
            brood += [hatch(place) for place in range(play.workers)]
            disturber = Disturber(year, server, proxy, brood, hatch) if harmed else None
            play_year(year, disturber, say)
        finally:
            for pid in brood:
                os.kill(pid, signal.SIGKILL)
        seconds = time.monotonic() - began
        year.harm.swallowed = proxy.swallowed
        year.database.close()
        direct = Database(server.url("chaos"))
        with direct.reading() as session:
            problem = verify_log(session).problem
            owed = frozenset(
                message_id(row, "pushcert@vendor.example")
                for row in session.exec(select(OutboxMessage))
                if row.sent_at is not None
            )
            state = end_state(session)
        direct.close()
        arrived = Counter(str(message["Message-ID"]) for message in stage.mailbox.messages)
        said = None if problem is None else str(problem)
        return Outcome(state, owed, arrived, said, year.harm, seconds)


def faults(calm: Outcome, harmed: Outcome) -> list[str]:
    """Everything in which the disturbed year is not as it must be."""
    found = [
        f"{what} differ: {_difference(calm.state[what], harmed.state[what])}"
        for what in calm.state
        if calm.state[what] != harmed.state[what]
    ]
    for name, outcome in (("undisturbed", calm), ("disturbed", harmed)):
        if outcome.audit_problem is not None:
            found.append(f"{name}: {outcome.audit_problem}")
        missing, extra = outcome.owed - set(outcome.arrived), set(outcome.arrived) - outcome.owed
        if missing or extra:
            found.append(f"{name}: {len(missing)} messages never came, {len(extra)} are not owed")
    repeated = sum(count - 1 for count in harmed.arrived.values())
    if sum(calm.arrived.values()) != len(calm.arrived):
        found.append("undisturbed: messages came twice")
    if repeated > harmed.harm.in_hand:
        found.append(
            f"{repeated} messages came again; only {harmed.harm.in_hand} workers were killed"
            " with one in hand"
        )
    return found


def _difference(one: Any, other: Any) -> str:
    if isinstance(one, Counter):
        gone, new = one - other, other - one
        return (
            f"{sum(gone.values())} gone {list(gone)[:2]}, {sum(new.values())} new {list(new)[:2]}"
        )
    if isinstance(one, dict):
        odd = [(key, one[key], other.get(key)) for key in one if one[key] != other.get(key)]
        return f"{len(odd)}: {odd[:2]}"
    return str([pair for pair in zip(one, other, strict=False) if pair[0] != pair[1]][:2])


def _say(year: str, what: str) -> None:
    print(f"{year}: {what}", flush=True)


def main() -> None:
    """Plays both years, and says how they compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--customers", type=int, default=5000)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--days", type=int, default=365)
    parser.add_argument("--step-days", type=int, default=1)
    parser.add_argument("--stops", type=int, default=20)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--seed", type=int)
    given = parser.parse_args()
    seed = int(time.time()) if given.seed is None else given.seed
    print(f"seed {seed}", flush=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # nothing is left behind
    play = Play(
        given.customers,
        given.workers,
        given.days,
        given.step_days,
        seed,
        given.stops,
        given.minutes,
    )
    outcomes = []
    for harmed in (False, True):
        name = "disturbed" if harmed else "undisturbed"
        outcomes.append(one_year(play, harmed=harmed, say=partial(_say, name)))
    calm, harmed_year = outcomes
    harm = harmed_year.harm
    repeated = sum(count - 1 for count in harmed_year.arrived.values())
    print(
        f"undisturbed {calm.seconds:.0f} s, disturbed {harmed_year.seconds:.0f} s: {harm.kills}"
        f" workers killed, {harm.stops} stops of the server, {harm.cuts} connections cut,"
        f" {harm.swallowed} answers to COMMIT lost\n"
        f"{len(harmed_year.arrived)} messages at the mail server, {repeated} of them again, of"
        f" {harm.in_hand} workers killed with one in hand\n"
        f"{sum(calm.state['audit log'].values())} audit entries, chain whole:"
        f" {harmed_year.audit_problem is None}"
    )
    wrong = faults(calm, harmed_year)
    for fault in wrong:
        print(f"FAULT {fault}")
    print("pass" if not wrong else f"FAIL, seed {seed}")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
