"""The two ways in which a year is played: on one machine, and on many."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from lifecycle.rehearsal.stage import Stage
from lifecycle.rehearsal.timeline import Line
from lifecycle.rehearsal.year import Year

ONCE_A_DAY = (6,)
"""When a distributed year looks, UTC: with all its processes it has no time for more."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """The year that is wanted.

    Attributes:
        customers, days: how many.
        seed: fixes what happens.
        quiet: nothing goes wrong.
        tell: gets every line of the timeline at once.
        progress: told how many days have passed.
    """

    customers: int
    days: int
    seed: int = 1
    quiet: bool = False
    tell: Callable[[Line], None] = lambda _: None
    progress: Callable[[int], None] = lambda _: None


@contextmanager
def embedded_year(directory: Path, wanted: Wanted) -> Iterator[Year]:
    """A year of the embedded deployment, to be played; closed at the end of the block."""
    with Stage(directory, wanted.seed).open() as stage:
        yield Year(
            stage,
            wanted.customers,
            wanted.days,
            quiet=wanted.quiet,
            tell=wanted.tell,
            progress=wanted.progress,
        )


@contextmanager
def distributed_year(directory: Path, wanted: Wanted) -> Iterator[Year]:
    """A year of the distributed deployment; every process has ended after the block."""
    from lifecycle.rehearsal.apart import Apart
    from lifecycle.rehearsal.distributed import deployment_of, distributed_stage

    with distributed_stage(directory, wanted.seed).open() as stage:
        yield Year(
            stage,
            wanted.customers,
            wanted.days,
            quiet=wanted.quiet,
            hours=ONCE_A_DAY,
            more=Apart(deployment_of(stage)),
            tell=wanted.tell,
            progress=wanted.progress,
        )
