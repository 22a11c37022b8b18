"""A sweep through a bad day: no wrong verdict, and an end.

    python -m bench.faults [--customers 5000]

A tenth of the connections is refused, a twentieth is taken and never answered, a twentieth is
closed after its first push, and pushes meet bursts of 429 and 503. Prints the verdicts, the
faults that struck and the time; fails if a verdict is wrong.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from rich.console import Console

from bench.isolation import free_port
from bench.population import populate
from lifecycle.clock import SystemClock
from lifecycle.config import load_config
from lifecycle.embedded import Embedded
from lifecycle.lab.faults import Fault
from lifecycle.lab.serve import Lab
from lifecycle.sweep.run import Choice, Outcome, sweep
from lifecycle.vendor.facts import Verdict


def bad_day(lab: Lab) -> None:
    """Sets the faults."""
    faults = lab.gateway.faults
    faults.rate(Fault.REFUSE, 0.10)
    faults.rate(Fault.MUTE, 0.05)
    faults.rate(Fault.GOAWAY_AFTER_FIRST, 0.05)
    faults.burst(Fault.TOO_MANY_REQUESTS, every=1000, length=30)
    faults.burst(Fault.SERVICE_UNAVAILABLE, every=1700, length=30)


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--customers", type=int, default=5000)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        directory, port = Path(folder), free_port()
        made = populate(directory, chosen.customers, apns_port=port, breach=3)
        config = directory / "config.toml"
        config.write_text(
            config.read_text()
            .replace("[apns]\n", "[apns]\ntimeout_seconds = 2.0\nbackoff_seconds = 0.1\n")
            .replace("[isolation]\n", "[isolation]\nattempts = 5\ndeadline_minutes = 20\n")
        )
        with Lab(directory / "lab", apns_port=port) as lab:
            bad_day(lab)
            with Embedded(load_config(config), SystemClock()) as embedded:
                outcome = sweep(embedded, Choice(actor="bench"))
            struck = {str(fault): count for fault, count in lab.gateway.faults.done.items()}
    show(outcome, struck)
    assert outcome.complete, "the sweep did not come to its end"
    assert {slug for slug, _ in outcome.breached} <= set(made.breached), "a wrong verdict"
    undecided = outcome.verdicts[Verdict.INCONCLUSIVE]
    assert len(outcome.breached) + undecided >= len(made.breached), "a wrong verdict"
    assert sum(outcome.verdicts.values()) == chosen.customers


def show(outcome: Outcome, struck: dict[str, int]) -> None:
    """What came of it."""
    console = Console(width=100)
    counts = ", ".join(f"{count} {verdict}" for verdict, count in outcome.verdicts.items())
    sure = outcome.verdicts[Verdict.ISOLATED] + outcome.verdicts[Verdict.BREACHED]
    console.print(f"{counts}; {sure} with a verdict, in {outcome.seconds:.0f} s")
    console.print(f"faults that struck: {struck}")


if __name__ == "__main__":
    main()
