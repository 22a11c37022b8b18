"""Runs every harness as a process of its own, and prints one table.

    python -m fuzz.campaign --executions 10000000 --seed 1

Each process has libFuzzer's limits: one second for an input, 500 MB of memory. A harness gets its
share of the executions by weight, and ``LEAST`` at least. A crash, a hang or too much memory stops
the process and is a finding: the input is kept, and the harness goes on with another seed, until it
has its executions or has been stopped ``TRIES`` times, or twice by the same cause. A hang is only
one if the input takes that long again: the machine may have been busy.

Ends with 1 if there was a finding. With ``--table FILE`` the counts are kept in a file and added to
what an earlier part of the same campaign left there.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from fuzz.harness import CORPUS, ROOT, names

LEAST = 200_000
"""Executions of each harness in a whole campaign."""
TRIES = 20
SECONDS = 1
MEGABYTES = 500
_WEIGHT = re.compile(r"^WEIGHT = (\d+)$", re.MULTILINE)
_UNITS = re.compile(r"stat::number_of_executed_units: (\d+)")
_PEAK = re.compile(r"stat::peak_rss_mb:\s+(\d+)")
_COVERED = re.compile(r"cov: (\d+) ft: (\d+)")
_ARTIFACT = re.compile(r"Test unit written to (\S+)")
_CAUSE = re.compile(r"=== Uncaught Python exception: ===\n(.+)")

_WALL_ALONE = 9
_REPLAY = f"""
import sys, time
from pathlib import Path
from fuzz.harness import load
one = load(sys.argv[1]).one
data, limit = Path(sys.argv[2]).read_bytes(), float(sys.argv[3])
one(b"")
worked, waited = time.process_time(), time.monotonic()
one(data)
if time.process_time() - worked > limit:
    sys.exit(1)
sys.exit({_WALL_ALONE} if time.monotonic() - waited > limit else 0)
"""


@dataclass
class Tally:
    """What a harness has done so far.

    Attributes:
        executions: inputs that were run.
        coverage: edges that were reached, at the most.
        features: as libFuzzer counts them, at the most.
        findings: inputs that crashed, hung or took too much memory.
        peak_mb: memory of the process, at the most.
        seconds: of wall time.
    """

    executions: int = 0
    coverage: int = 0
    features: int = 0
    findings: int = 0
    peak_mb: int = 0
    seconds: float = 0.0


def weight_of(name: str) -> int:
    """The harness's weight, read from its text: importing it would take the parsers' memory."""
    found = _WEIGHT.search((ROOT / "fuzz" / "harnesses" / f"{name}.py").read_text())
    return int(found[1]) if found else 1


def shares(executions: int, least: int, chosen: Iterable[str]) -> dict[str, int]:
    """How many executions each harness gets: ``least``, and its part of the rest by weight."""
    weights = {name: weight_of(name) for name in chosen}
    rest = max(0, executions - least * len(weights))
    total = sum(weights.values())
    return {name: least + -(-rest * weight // total) for name, weight in weights.items()}


def run(
    name: str, executions: int, seed: int, until: float, kept: Path, grown: Path | None = None
) -> Tally:
    """Runs one harness until it has its executions, or ``until`` (monotonic seconds) has come.

    Args:
        kept: where inputs with findings go.
        grown: where inputs that reach more are kept for the next part; None: nowhere.
    """
    tally = Tally()
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        corpus = (grown or Path(folder) / "corpus") / name
        corpus.mkdir(parents=True, exist_ok=True)
        causes: list[str] = []
        for attempt in range(TRIES):
            left, seconds = executions - tally.executions, int(until - time.monotonic())
            if left <= 0 or seconds <= 0:
                break
            began = time.monotonic()
            said = _process(name, left, seed + attempt, seconds, corpus, Path(folder))
            tally.seconds += time.monotonic() - began
            _note(tally, said)
            artifact = _ARTIFACT.search(said)
            if artifact is None:
                if "stat::number_of_executed_units" not in said:
                    raise SystemExit(f"{name} did not run:\n{said[-2000:]}")
                break
            if _is_finding(name, Path(artifact[1]), said, kept):
                tally.findings += 1
                causes.append(_cause(said, Path(artifact[1])))
                if causes.count(causes[-1]) > 1:
                    break
    return tally


def _process(
    name: str, executions: int, seed: int, seconds: int, corpus: Path, folder: Path
) -> str:
    done = subprocess.run(
        [
            *(sys.executable, "-W", "ignore", "-m", "fuzz.run", name),
            *(f"-runs={executions}", f"-seed={seed}", f"-max_total_time={seconds}"),
            *(f"-timeout={SECONDS}", f"-rss_limit_mb={MEGABYTES}", "-print_final_stats=1"),
            *(f"-artifact_prefix={folder}/", str(corpus), str(CORPUS / name)),
        ],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    return done.stdout.decode(errors="replace")


def _note(tally: Tally, said: str) -> None:
    tally.executions += sum(int(found) for found in _UNITS.findall(said))
    for edges, features in _COVERED.findall(said):
        tally.coverage = max(tally.coverage, int(edges))
        tally.features = max(tally.features, int(features))
    tally.peak_mb = max([tally.peak_mb, *(int(found) for found in _PEAK.findall(said))])


def _is_finding(name: str, artifact: Path, said: str, kept: Path) -> bool:
    if artifact.name.startswith("timeout-") and not _hangs(name, artifact):
        print(f"{name}: slow once, not again (the machine was busy)", flush=True)
        return False
    kept.mkdir(parents=True, exist_ok=True)
    shutil.copy(artifact, kept / f"{name}-{artifact.name}")
    print(f"{name}: {_cause(said, artifact)} ({kept / f'{name}-{artifact.name}'})", flush=True)
    return True


def _cause(said: str, artifact: Path) -> str:
    found = _CAUSE.search(said)
    return found[1].strip()[:100] if found else artifact.name.partition("-")[0]


def _hangs(name: str, artifact: Path) -> bool:
    """Whether an input takes more than ``SECONDS`` again: of CPU time, or each of three times."""
    command = [sys.executable, "-W", "ignore", "-c", _REPLAY, name, str(artifact), str(SECONDS)]
    for _ in range(3):
        try:
            took = subprocess.run(command, cwd=ROOT, timeout=60, check=False).returncode
        except subprocess.TimeoutExpired:
            return True
        if took != _WALL_ALONE:
            return took != 0
    return True


def add(known: dict[str, Tally], more: dict[str, Tally]) -> None:
    """Adds what one part of a campaign did to the parts before it."""
    for name, new in more.items():
        old = known.setdefault(name, Tally())
        old.executions += new.executions
        old.findings += new.findings
        old.seconds += new.seconds
        for field in ("coverage", "features", "peak_mb"):
            setattr(old, field, max(getattr(old, field), getattr(new, field)))


def table(tallies: dict[str, Tally]) -> str:
    """The printed table, with the total in its last line."""
    head = f"{'harness':<18}{'executions':>12}{'edges':>8}{'features':>10}{'findings':>10}"
    lines = [f"{head}{'peak MB':>9}{'seconds':>9}"]
    for name, one in sorted(tallies.items()):
        lines.append(
            f"{name:<18}{one.executions:>12,}{one.coverage:>8,}{one.features:>10,}"
            f"{one.findings:>10}{one.peak_mb:>9}{one.seconds:>9.0f}"
        )
    total = _sum(tallies)
    lines.append(
        f"{'total':<18}{total.executions:>12,}{'':>8}{'':>10}{total.findings:>10}"
        f"{total.peak_mb:>9}{total.seconds:>9.0f}"
    )
    return "\n".join(lines)


def _sum(tallies: dict[str, Tally]) -> Tally:
    total: dict[str, Tally] = {}
    for one in tallies.values():
        add(total, {"total": one})
    return total.get("total", Tally())


def main() -> None:
    """Runs a campaign, or a part of one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--executions", type=int, required=True, help="of all harnesses together")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--least", type=int, default=LEAST, help="executions of each harness")
    parser.add_argument("--seconds-cap", type=int, default=24 * 3600, help="for the whole run")
    parser.add_argument("--only", nargs="*", default=names(), help="these harnesses alone")
    parser.add_argument("--table", type=Path, help="add to the counts in this file")
    parser.add_argument("--kept", type=Path, default=Path("fuzz-findings"))
    parser.add_argument("--grown", type=Path, help="keep what reaches more, for the next part")
    given = parser.parse_args()
    print(f"seed {given.seed}", flush=True)
    until = time.monotonic() + given.seconds_cap
    tallies: dict[str, Tally] = {}
    if given.table and given.table.exists():
        known = json.loads(given.table.read_text())
        tallies = {name: Tally(**one) for name, one in known.items()}
    found = 0
    for name, executions in shares(given.executions, given.least, given.only).items():
        done = run(name, executions, given.seed, until, given.kept, given.grown)
        print(f"{name}: {done.executions:,} in {done.seconds:.0f} s", flush=True)
        found += done.findings
        add(tallies, {name: done})
        if given.table:
            given.table.write_text(json.dumps({n: asdict(t) for n, t in tallies.items()}))
    print(table(tallies))
    if time.monotonic() >= until:
        print(f"ended after {given.seconds_cap} s, before all executions were made")
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
