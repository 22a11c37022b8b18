"""What starting costs: ``--help`` beside ``import typer``, ``report`` beside ``import sqlmodel``.

    python -m bench.cli [--customers 100] [--rounds 10]

Each run is a process of its own; all are interleaved, medians, CPU seconds of the process and
wall-clock seconds. Nothing else should be running: the shares of two runs side by side differ.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench.isolation import free_port
from bench.population import populate


@dataclass(frozen=True, slots=True)
class Contender:
    """A command, and what it is measured against (None: it is a reference)."""

    name: str
    command: tuple[str, ...]
    reference: str | None = None
    at_most: float = 0.0


def contenders(config: Path) -> tuple[Contender, ...]:
    """What is run in each round, in this order."""
    python = sys.executable
    pushcert = (python, "-m", "cli", "--config", str(config))
    return (
        Contender("import typer", (python, "-c", "import typer")),
        Contender("pushcert --help", (*pushcert, "--help"), "import typer", 1.6),
        Contender("import sqlmodel", (python, "-c", "import sqlmodel")),
        Contender("pushcert report", (*pushcert, "report"), "import sqlmodel", 1.5),
        Contender("pushcert customer list", (*pushcert, "customer", "list"), "import sqlmodel"),
    )


def import_signer(directory: Path) -> None:
    """Every vendor has one, and the report reads its chain."""
    config, lab = directory / "config.toml", directory / "lab"
    config.write_text(config.read_text() + f'\n[trust]\nextra = ["{lab / "apple-ca.pem"}"]\n')
    signing = lab / "signing.pem", lab / "signing.key"
    subprocess.run(
        (
            *(sys.executable, "-m", "cli", "--config", str(config)),
            *("signer", "import", "--certificate", str(signing[0]), "--key", str(signing[1])),
        ),
        check=True,
        stdout=subprocess.DEVNULL,
    )


def measure(command: tuple[str, ...]) -> tuple[float, float]:
    """CPU and wall-clock seconds of one run."""
    began, before = time.perf_counter(), _cpu_of_children()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return _cpu_of_children() - before, time.perf_counter() - began


def _cpu_of_children() -> float:
    # To the microsecond; `os.times` counts hundredths, and `import typer` takes five of them.
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    return spent.ru_utime + spent.ru_stime


def main() -> None:
    """Measures, and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--customers", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=10)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder) / "deployment"
        populate(directory, given.customers, apns_port=free_port())
        import_signer(directory)
        all_of_them = contenders(directory / "config.toml")
        seen: dict[str, list[tuple[float, float]]] = {one.name: [] for one in all_of_them}
        for one in all_of_them:
            measure(one.command)  # compiled files and caches are there for everybody
        for _ in range(given.rounds):
            for one in all_of_them:
                seen[one.name].append(measure(one.command))
    show(all_of_them, seen)


def show(all_of_them: tuple[Contender, ...], seen: dict[str, list[tuple[float, float]]]) -> None:
    """The table: medians, the ratio to the reference, and how far the rounds' ratios spread.

    The spread is of the CPU seconds, round by round: of each round's command to the same
    round's reference, the least and the most.
    """
    table = Table("", "CPU s", "wall s", "CPU ×", "wall ×", "rounds (CPU ×)", "at most")
    middle = {
        name: tuple(statistics.median(column) for column in zip(*runs, strict=True))
        for name, runs in seen.items()
    }
    for one in all_of_them:
        cpu, wall = middle[one.name]
        if one.reference is None:
            table.add_row(one.name, f"{cpu:.3f}", f"{wall:.3f}", "1.00", "1.00", "")
            continue
        base_cpu, base_wall = middle[one.reference]
        pairs = zip(seen[one.name], seen[one.reference], strict=True)
        ratios = sorted(run[0] / reference[0] for run, reference in pairs)
        table.add_row(
            one.name,
            f"{cpu:.3f}",
            f"{wall:.3f}",
            f"{cpu / base_cpu:.2f}",
            f"{wall / base_wall:.2f}",
            f"{ratios[0]:.2f} to {ratios[-1]:.2f}",
            f"{one.at_most}" if one.at_most else "",
        )
    Console().print(table)


if __name__ == "__main__":
    main()
