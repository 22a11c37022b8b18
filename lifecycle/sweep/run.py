"""``verify --all``: a run over every customer that is owed a check.

The vendor's side, in this process: which customers, the verdicts, the alert. The instances'
side, in the workers: vaults, keys, probes. Between them go job numbers and evidence, as bytes.
Memory does not grow with the number of customers: they are ordered, probed, judged and forgotten.
"""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

from lifecycle.apns.pace import Ceiling
from lifecycle.apns.retry import RetryPolicy
from lifecycle.config import Config
from lifecycle.instance.vaults import Vaults
from lifecycle.secret import secret_source
from lifecycle.sweep.pool import Pool, Returned, cores
from lifecycle.sweep.settings import Settings
from lifecycle.vendor import store, sweeps
from lifecycle.vendor.evidence import conclude_all, worth_another_try
from lifecycle.vendor.facts import CustomerKind, Verdict
from lifecycle.vendor.models import IsolationRun
from lifecycle.vendor.sweeps import Job
from lifecycle.vendor_side import VendorSide
from lifecycle.wire.messages import Evidence

BATCH = 100
"""Checks that are ordered, and judged, in one transaction."""
PATIENCE = 0.5
"""Seconds after which what has come is judged, though it fills no batch."""
AGAIN_AFTER = 10
"""Times ``apns.backoff_seconds`` before the second try of a check; then twice as long."""
MOST_WAITING = 1000
"""Checks that wait for another try, beyond which no new ones are begun: they would meet the
same trouble."""
NAMED = 50
"""Customers that a summary names."""


@dataclass(frozen=True, slots=True)
class Choice:
    """Which run.

    Attributes:
        resume: take up the newest unfinished one.
        since: else begin one, without customers whose last verdict is as new as this.
        actor: who asks.
    """

    resume: bool = False
    since: datetime | None = None
    actor: str = "worker"


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is.

    Attributes:
        done, total: customers, of those that it owed when it began, or was taken up.
        waiting: for another try.
    """

    done: int
    total: int
    waiting: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a run.

    Attributes:
        run_id: see ``IsolationRun``.
        complete: every customer has its verdict.
        left: how many have none.
        verdicts: how many of each, over the whole run.
        breached: slug and why, the first ``NAMED``.
        inconclusive: slug and why, the first ``NAMED`` that this process met.
        unanswered: checks that came to no verdict in all their tries, because of the network or
            of APNs.
        seconds: that it took this process.
    """

    run_id: str
    complete: bool
    left: int
    verdicts: Mapping[Verdict, int]
    breached: tuple[tuple[str, str], ...]
    inconclusive: tuple[tuple[str, str], ...]
    unanswered: int
    seconds: float


class _Run:
    """The state of a run in this process."""

    def __init__(self, side: VendorSide, run: IsolationRun, monotonic: Callable[[], float]):
        self.side = side
        self.run = run
        self.attempts: dict[int, int] = {}
        self.waiting: list[tuple[float, int, Job]] = []
        self.results: dict[int, Evidence] = {}
        self.judged_at = monotonic()
        self.ordered: list[Job] = []
        self.after = 0
        self.exhausted = False
        self.done = 0
        self.unanswered = 0
        self.inconclusive: list[tuple[str, str]] = []
        self._monotonic = monotonic
        self._tries = side.config.isolation.attempts

    def next_jobs(self, room: int) -> list[Job]:
        """Tries that are due again, else customers that have not had one."""
        now = self._monotonic()
        jobs: list[Job] = []
        while self.waiting and self.waiting[0][0] <= now and len(jobs) < room:
            jobs.append(heapq.heappop(self.waiting)[2])
        if jobs or len(self.waiting) >= MOST_WAITING:
            return jobs
        if not self.ordered and not self.exhausted:
            self._order()
        jobs, self.ordered = self.ordered[:room], self.ordered[room:]
        return jobs

    def _order(self) -> None:
        with self.side.database.transaction() as session:
            self.ordered = sweeps.order(
                session, self.run, after=self.after, limit=BATCH, at=self.side.clock.now()
            )
        self.exhausted = not self.ordered
        self.after = self.ordered[-1].customer_id if self.ordered else self.after

    def take(self, returned: Returned) -> None:
        """Evidence that has come, or a worker that died over it."""
        job = returned.job
        evidence = (
            Evidence(check_id=job.check_id, fingerprint="0" * 64, fault="prober_died")
            if returned.evidence is None
            else Evidence.model_validate_json(returned.evidence)
        )
        tried = self.attempts.pop(job.check_id, 0) + 1
        again = returned.evidence is None or worth_another_try(evidence)
        if again and tried < self._tries:
            self.attempts[job.check_id] = tried
            backoff = self.side.config.apns.backoff_seconds
            due = self._monotonic() + backoff * AGAIN_AFTER * 2 ** (tried - 1)
            heapq.heappush(self.waiting, (due, job.check_id, job))
        else:
            self.unanswered += again
            self.results[job.customer_id] = evidence

    def judge(self, *, now_or_never: bool = False) -> None:
        """Stores verdicts once there are enough, or they have waited long enough."""
        since = self._monotonic() - self.judged_at
        if not self.results or not (
            now_or_never or len(self.results) >= BATCH or since >= PATIENCE
        ):
            return
        with self.side.database.transaction() as session:
            made = conclude_all(session, self.results, self.side.notices, self.side.clock.now())
        self.results.clear()
        self.judged_at = self._monotonic()
        self.done += len(made)
        for conclusion in made:
            if conclusion.verdict is Verdict.INCONCLUSIVE and len(self.inconclusive) < NAMED:
                self.inconclusive.append((conclusion.slug, conclusion.why))
        if any(conclusion.verdict is Verdict.BREACHED for conclusion in made):
            self.side.send_mail()  # nobody waits for the end of a sweep to hear of a breach


def sweep(
    side: VendorSide,
    choice: Choice,
    *,
    progress: Callable[[Progress], None] = lambda _: None,
    stop: Callable[[], bool] = lambda: False,
    monotonic: Callable[[], float] = time.monotonic,
) -> Outcome:
    """Checks every customer that the run owes a check.

    Args:
        side: the vendor's.
        choice: which run.
        progress: told as it goes.
        stop: asked all the time; once True nothing new is begun, what is under way is judged
            and stored, and the run can be taken up later.
        monotonic: seconds.

    Raises:
        Refused: ``no_unfinished_run``.
        Unavailable: the database cannot be used.
        InternalFault: the workers die again and again.
    """
    config = side.config
    began = monotonic()
    deadline = began + config.isolation.deadline_minutes * 60
    with side.database.transaction() as session:
        if choice.resume:
            run = sweeps.unfinished(session)
        else:
            now = side.clock.now()
            run = sweeps.begin(session, at=now, actor=choice.actor, since=choice.since)
        total = sweeps.owed(session, run)
    state = _Run(side, run, monotonic)
    workers = config.isolation.workers or cores()
    workers = max(1, min(workers, -(-total // config.isolation.in_flight)))
    capacity = workers * config.isolation.in_flight
    with Pool(_settings(side), workers) as pool:
        while True:
            over = stop() or monotonic() >= deadline
            if not over:
                _fill(pool, state, capacity)
            idle = not pool.under_way
            if idle and (over or (state.exhausted and not state.waiting)):
                break
            for returned in pool.returned(PATIENCE):
                state.take(returned)
            state.judge()
            progress(Progress(state.done, total, len(state.waiting)))
    state.judge(now_or_never=True)
    progress(Progress(state.done, total, len(state.waiting)))
    return _conclude(side, choice, state, monotonic() - began)


def _fill(pool: Pool, state: _Run, capacity: int) -> None:
    while (room := capacity - pool.under_way) > 0:
        jobs = state.next_jobs(room)
        if not jobs:
            return
        pool.send(jobs)
        if len(jobs) < room and state.waiting:
            return


def _conclude(side: VendorSide, choice: Choice, state: _Run, seconds: float) -> Outcome:
    run_id = state.run.id
    with side.database.transaction() as session:
        left = sweeps.owed(session, state.run)
        if left == 0:
            sweeps.finish(session, run_id, at=side.clock.now(), actor=choice.actor)
        counts = sweeps.verdicts(session, run_id)
        breached = sweeps.breached(session, run_id, NAMED)
    side.send_mail()
    return Outcome(
        run_id,
        left == 0,
        left,
        counts,
        tuple(breached),
        tuple(state.inconclusive),
        state.unanswered,
        seconds,
    )


def _settings(side: VendorSide) -> Settings:
    config: Config = side.config
    canaries: tuple[str, ...] | None = None
    if config.isolation.other_tenant != "ring":
        with side.database.reading() as session:
            canaries = tuple(store.slugs_of_kind(session, CustomerKind.CANARY))
    apns = config.apns
    each = config.isolation.connections_per_second_to_one_address
    return Settings(
        Vaults(
            config.path(config.vault.directory),
            secret_source(config, config.vault.passphrase),
            canaries,
        ),
        apns.host,
        apns.port,
        None if apns.ca_file is None else config.path(apns.ca_file),
        apns.proxy,
        # Tries of one push are few: the sweep itself comes back to a check, later.
        RetryPolicy(
            attempts=min(2, apns.attempts),
            base=apns.backoff_seconds,
            timeout=apns.timeout_seconds,
            deadline=2 * apns.timeout_seconds,
        ),
        Ceiling(config.isolation.connections_per_second, each),
        side.clock,
    )
