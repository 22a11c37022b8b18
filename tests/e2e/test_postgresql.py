"""The command line on PostgreSQL: set up, filled, looked at, and ticked by several at once."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from bench.postgres import PostgresServer


@pytest.fixture
def deployment(tmp_path: Path, postgres: PostgresServer) -> Path:
    """A folder whose config.toml names a bare database."""
    url = postgres.create("e2e")
    (tmp_path / "config.toml").write_text(
        f'[vendor]\ndatabase = "{url}"\ninstances = "distributed"\nops = ["ops@v.example"]\n'
    )
    run(tmp_path, "init", str(tmp_path))
    return tmp_path


def start(directory: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "cli", "--config", str(directory / "config.toml"), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(directory: Path, *arguments: str, expect: int = 0) -> str:
    process = start(directory, *arguments)
    output, errors = process.communicate()
    assert process.returncode == expect, errors
    return output if expect == 0 else errors


def test_a_registry_on_postgresql_from_init_to_the_report(
    deployment: Path, postgres: PostgresServer
) -> None:
    rows = "".join(f"customer-{n},Customer {n},it@c{n}.example\n" for n in range(40))
    (deployment / "customers.csv").write_text(f"slug,name,email\n{rows}")
    assert "40" in run(deployment, "customer", "import", str(deployment / "customers.csv"))
    ticks = [start(deployment, "tick", "--json") for _ in range(3)]
    done = [json.loads(tick.communicate()[0]) for tick in ticks]
    assert all(tick.returncode == 0 for tick in ticks)
    assert sum(one["actions"].get("OpenRenewal", 0) for one in done) == 40
    report = json.loads(run(deployment, "report", "--json"))
    assert len(report["customers"]) == 40
    assert {row["renewal_state"] for row in report["customers"]} == {"requested"}
    csv = run(deployment, "report", "--format", "csv").splitlines()
    assert [line.split(",")[1] for line in csv[1:]] == [r["slug"] for r in report["customers"]]
    # Each was added, its renewal opened, and blocked: no instance has enrolled.
    assert json.loads(run(deployment, "audit", "verify", "--json"))["entries"] == 3 * 40
    run(deployment, "customer", "edit", "--all", "--language", "de")
    run(deployment, "customer", "pause", "customer-1", "customer-2", "--reason", "on hold")
    assert run(deployment, "customer", "list").count("customer-") >= 40
    postgres.drop("e2e")
    assert "cannot be used just now" in run(deployment, "customer", "list", expect=5)
