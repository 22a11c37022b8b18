"""Carries out what is owed to the deploy targets of an instance, and tells the vendor."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from lifecycle.clock import Clock
from lifecycle.errors import PushcertError, Refused, Unavailable
from lifecycle.instance.deploy.plan import Decision, Record, Step, decide, wait_after
from lifecycle.instance.deploy.target import Target
from lifecycle.instance.export import active_pair
from lifecycle.instance.vault import Vault
from lifecycle.pki.chain import TrustStore
from lifecycle.pki.pair import Pair
from lifecycle.wire.link import VendorLink
from lifecycle.wire.messages import Deployment

MAX_MESSAGE = 1000


@dataclass(frozen=True, slots=True)
class Deployed:
    """What became of one target.

    Attributes:
        target, kind, place: which one.
        outcome: ``deployed``, ``verified``, ``failed``, ``waiting``, ``up_to_date``, ``removed``.
        why: the reason, or the fault with its remedy.
        code: of the fault.
        temporary: the fault may go by itself.
    """

    target: str
    kind: str
    place: str
    outcome: str
    why: str
    code: str | None = None
    temporary: bool = False

    @property
    def sentence(self) -> str:
        """The same for a person."""
        return f"{self.target}: {self.outcome.replace('_', ' ')}; {self.why}"


class Deployer:
    """The deploy targets of one instance.

    Args:
        vault: the instance's vault, open.
        link: the line to the vendor, who is told.
        targets: in the order of the configuration; a target comes after those it needs.
        clock: tells the time.
        trust: where the intermediates of the certificate come from.
    """

    def __init__(
        self,
        vault: Vault,
        link: VendorLink,
        targets: Sequence[Target],
        clock: Clock,
        trust: TrustStore,
    ) -> None:
        self._vault = vault
        self._link = link
        self._targets = tuple(targets)
        self._clock = clock
        self._trust = trust
        self._pair: Pair | None = None

    def plan(self) -> tuple[Decision, ...]:
        """What is owed to each target now; changes nothing."""
        records, active, now = self._vault.deployments.all(), self._active(), self._clock.now()
        return tuple(decide(target.about, records, active, now) for target in self._targets)

    def run(self, only: Iterable[str] = (), *, at_once: bool = False) -> tuple[Deployed, ...]:
        """Does what is owed. A target that fails holds up no other, except those that need it.

        Args:
            only: names of targets; empty: all.
            at_once: a person asks: no wait counts, and what is up to date is checked.

        Raises:
            Unavailable: the vault cannot be used.
            Refused: likewise.
        """
        wanted = frozenset(only)
        records, active = self._vault.deployments.all(), self._active()
        done = [] if wanted else self._forget(records)
        if active is None:
            return tuple(done)
        for target in self._targets:
            if wanted and target.about.name not in wanted:
                continue
            now = self._clock.now()
            decision = decide(target.about, records, active, now, at_once=at_once)
            record = records.get(target.about.name)
            if decision.step in (Step.WAIT, Step.NOTHING):
                done.append(_left(decision))
                if record is not None and not record.told:
                    self._tell(record)
                continue
            before = record or Record(target.about.name, target.about.kind)
            after, outcome = self._carry_out(target, decision, before, active, now)
            self._vault.deployments.keep(after)
            records[after.target] = after
            done.append(outcome)
            self._tell(after)
        return tuple(done)

    def _carry_out(
        self, target: Target, decision: Decision, before: Record, active: str, now: datetime
    ) -> tuple[Record, Deployed]:
        about = target.about
        attempt = replace(before, kind=about.kind, wanted=active, attempted_at=now, told=False)
        try:
            brought = self._bring(target, decision, replace(before, attempted_at=now))
        except PushcertError as fault:
            after = _failed(attempt, fault, now)
            outcome = Deployed(
                *(about.name, about.kind, about.place, "failed", str(fault), after.code),
                temporary=isinstance(fault, Unavailable),
            )
            return after, outcome
        after = replace(
            attempt,
            settings=about.settings,
            fingerprint=active,
            deployed_at=now if brought else before.deployed_at,
            checked_at=now,
            code=None,
            message=None,
            attempts=0,
            failing_since=None,
            next_at=None if about.recheck is None else now + about.recheck,
        )
        said = "deployed" if brought else "verified"
        return after, Deployed(about.name, about.kind, about.place, said, decision.why)

    def _bring(self, target: Target, decision: Decision, begun: Record) -> bool:
        """True if the pair was brought there, False if it was there already."""
        pair = self._opened()
        if decision.step is Step.CHECK and _has_it(target, pair):
            return False
        # Before anything is done there: a vault on a full disk could not keep that it was done,
        # and it would be done again at every look.
        self._vault.deployments.keep(begun)
        target.deploy(pair)
        return True

    def _opened(self) -> Pair:
        # The key is opened once a run, and only if a target wants it.
        if self._pair is None or self._pair.certificate.fingerprint != self._active():
            self._pair = active_pair(self._vault, self._trust, self._clock.now())
        return self._pair

    def _active(self) -> str | None:
        held = self._vault.active()
        return None if held is None else held.certificate.fingerprint

    def _forget(self, records: dict[str, Record]) -> list[Deployed]:
        """Removes the records of targets that are gone from the configuration."""
        known = {target.about.name for target in self._targets}
        done = []
        for record in [r for r in records.values() if r.target not in known]:
            if self._tell(record, removed=True):
                self._vault.deployments.forget(record.target)
                del records[record.target]
            done.append(Deployed(record.target, record.kind, "", "removed", "not configured"))
        return done

    def _tell(self, record: Record, *, removed: bool = False) -> bool:
        """Tells the vendor; what could not be told now is told at the next run."""
        if record.wanted is None or record.attempted_at is None:
            return True
        try:
            self._link.report(
                Deployment(
                    target=record.target,
                    target_kind=record.kind,
                    fingerprint=record.wanted,
                    code=record.code,
                    message=record.message,
                    at=record.attempted_at,
                    again_at=record.next_at,
                    removed=removed,
                )
            )
        except Unavailable:
            return False
        except Refused:
            return True  # a vendor of an earlier version knows no deployments
        if not removed:
            self._vault.deployments.keep(replace(record, told=True))
        return True


def _has_it(target: Target, pair: Pair) -> bool:
    """False also where the target cannot say: bringing the pair again tells why."""
    try:
        target.verify(pair)
    except Refused:
        return False
    return True


def _failed(attempt: Record, fault: PushcertError, now: datetime) -> Record:
    attempts = attempt.attempts + 1
    return replace(
        attempt,
        code=fault.codes[0] if isinstance(fault, Refused) else fault.code,
        message=str(fault)[:MAX_MESSAGE],
        attempts=attempts,
        failing_since=attempt.failing_since or now,
        next_at=now + wait_after(attempts),
    )


def _left(decision: Decision) -> Deployed:
    about = decision.about
    outcome = "waiting" if decision.step is Step.WAIT else "up_to_date"
    return Deployed(about.name, about.kind, about.place, outcome, decision.why)
