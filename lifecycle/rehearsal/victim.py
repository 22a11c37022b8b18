"""A worker that is killed at a write boundary: run as a process of its own by the rehearsal.

Example: ``python -m lifecycle.rehearsal.victim DIR 2027-11-20T06:00:00+00:00 5`` ticks the
deployment in DIR at that instant and is killed (SIGKILL) at the fifth boundary it reaches.
Exits with 0 when the tick has fewer boundaries than that.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from lifecycle.config import CONFIG_NAME, load_config
from lifecycle.embedded import Embedded
from lifecycle.vendor_plane import VendorPlane


@dataclass(frozen=True, slots=True)
class StoppedClock:
    """A clock that stands still."""

    instant: datetime

    def now(self) -> datetime:
        """The instant at which it stands."""
        return self.instant


class Killer:
    """A write observer that kills its own process at the n-th boundary. Nothing is cleaned up.

    Args:
        at: the boundary's number, from 1; 0 kills nothing and only counts.
    """

    def __init__(self, at: int) -> None:
        self._at = at
        self.seen: list[str] = []

    def reached(self, boundary: str) -> None:
        """Counts, and kills."""
        self.seen.append(boundary)
        if len(self.seen) == self._at:
            os.kill(os.getpid(), signal.SIGKILL)


def main(directory: Path, now: datetime, kill_at: int) -> None:
    """Ticks once, and is killed at the given boundary."""
    config = load_config(directory / CONFIG_NAME)
    kind = VendorPlane if config.vendor.instances == "distributed" else Embedded
    with kind(config, StoppedClock(now), observer=Killer(kill_at)) as plane:
        plane.tick()


def lose(directory: Path, now: datetime, kill_at: int) -> bool:
    """Runs ``main`` in a process of its own; True if that was killed, False if it came through."""
    done = subprocess.run(  # noqa: S603  (this very program)
        [sys.executable, "-m", __name__, str(directory), now.isoformat(), str(kill_at)],
        check=False,
        capture_output=True,
    )
    return done.returncode == -signal.SIGKILL


if __name__ == "__main__":
    main(Path(sys.argv[1]), datetime.fromisoformat(sys.argv[2]), int(sys.argv[3]))
