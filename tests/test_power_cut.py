"""A registry and a vault whose writer is killed at any moment are whole (bench/power_cut.py)."""

from __future__ import annotations

from pathlib import Path

from bench.power_cut import campaign


def test_twenty_power_cuts_lose_nothing_and_leave_nothing_half(tmp_path: Path) -> None:
    tallies = campaign(tmp_path, 20, seed=3)
    assert {name: tally.cuts for name, tally in tallies.items()} == {"registry": 10, "vault": 10}
    assert all(tally.commits >= tally.cuts for tally in tallies.values())
    assert tallies["registry"].beside["-wal"] > 0
