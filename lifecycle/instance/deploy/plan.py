"""What is owed to a deploy target now, and why. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

FIRST_WAIT = timedelta(minutes=1)
LONGEST_WAIT = timedelta(hours=1)
DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class About:
    """What is known of a target without touching it.

    Attributes:
        name: as the configuration calls it.
        kind: ``files``, ``command``, ``nanomdm``, ``micromdm``, ``zentral``.
        place: where the pair goes, for people; without a secret.
        settings: a digest of everything configured about it; another one makes it owed again.
        needs: targets that must have the certificate first.
        recheck: how long a verification counts; None: for good.
    """

    name: str
    kind: str
    place: str
    settings: str
    needs: tuple[str, ...] = ()
    recheck: timedelta | None = DAY


class Step(StrEnum):
    """What is to be done with a target."""

    DEPLOY = "deploy"
    CHECK = "check"
    WAIT = "wait"
    NOTHING = "nothing"


@dataclass(frozen=True, slots=True)
class Record:
    """How a target stands, as the vault has it. All times are aware UTC.

    Attributes:
        target, kind: which one.
        settings: that it was last deployed with.
        fingerprint: of the certificate it has, as was verified; None: none yet.
        deployed_at, checked_at: when that was deployed, and last verified.
        wanted: the certificate that the last attempt was for.
        code, message: why that attempt failed; None: it did not.
        attempts: failed ones in a row.
        failing_since, attempted_at, next_at: of those; ``next_at`` also of the next check.
        told: the vendor knows all this.
    """

    target: str
    kind: str
    settings: str = ""
    fingerprint: str | None = None
    deployed_at: datetime | None = None
    checked_at: datetime | None = None
    wanted: str | None = None
    code: str | None = None
    message: str | None = None
    attempts: int = 0
    failing_since: datetime | None = None
    attempted_at: datetime | None = None
    next_at: datetime | None = None
    told: bool = False


@dataclass(frozen=True, slots=True)
class Decision:
    """What is owed to one target, and the reason as a clause."""

    about: About
    step: Step
    why: str


def decide(
    about: About,
    records: Mapping[str, Record],
    active: str | None,
    now: datetime,
    *,
    at_once: bool = False,
) -> Decision:
    """What is owed to a target.

    Args:
        about: the target.
        records: of all targets, by name.
        active: fingerprint of the active certificate; None: there is none.
        now: aware UTC.
        at_once: a person asks for it: neither a wait nor a fresh verification counts.
    """
    if active is None:
        return Decision(about, Step.NOTHING, "there is no active certificate")
    record = records.get(about.name)
    waiting = [name for name in about.needs if not _has(records.get(name), active)]
    if waiting:
        return Decision(about, Step.WAIT, f"{waiting[0]} must have the certificate first")
    step, why = _owed(about, record, records, active, now)
    if at_once and step is Step.NOTHING:
        step, why = Step.CHECK, "it is asked for"
    if step is Step.NOTHING or at_once or record is None:
        return Decision(about, step, why)
    failed = record.code is not None and record.wanted == active
    if failed and record.next_at is not None and record.next_at > now:
        at = f"{record.next_at:%Y-%m-%d %H:%M} UTC"
        return Decision(about, Step.WAIT, f"it failed ({record.code}) and is tried again at {at}")
    return Decision(about, step, why)


def wait_after(attempts: int) -> timedelta:
    """How long to wait after so many failed attempts in a row (1 or more)."""
    return min(LONGEST_WAIT, FIRST_WAIT * float(1 << min(attempts - 1, 10)))


def _owed(
    about: About,
    record: Record | None,
    records: Mapping[str, Record],
    active: str,
    now: datetime,
) -> tuple[Step, str]:
    if record is None or record.fingerprint is None:
        return Step.DEPLOY, "it has never been deployed"
    if record.fingerprint != active:
        return Step.DEPLOY, "another certificate is active"
    if record.settings != about.settings:
        return Step.DEPLOY, "its settings were changed"
    newer = [name for name in about.needs if _later(records.get(name), record)]
    if newer:
        return Step.DEPLOY, f"{newer[0]} was deployed again"
    if record.code is not None:
        return Step.CHECK, "its last check failed"
    if about.recheck is not None and (
        record.checked_at is None or record.checked_at + about.recheck <= now
    ):
        return Step.CHECK, "its last check is too long ago"
    return Step.NOTHING, "it has the active certificate"


def _has(record: Record | None, active: str) -> bool:
    return record is not None and record.fingerprint == active and record.code is None


def _later(other: Record | None, record: Record) -> bool:
    return (
        other is not None
        and other.deployed_at is not None
        and record.deployed_at is not None
        and other.deployed_at > record.deployed_at
    )
