"""Runs over many customers: every one once, whatever happens on the way."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from bench.faults import bad_day
from lifecycle.errors import Refused
from lifecycle.lab.faults import Fault
from lifecycle.sweep.run import Choice, sweep
from lifecycle.vendor.facts import Verdict

Fleets = Callable[..., Any]


def test_every_customer_is_checked_once_and_a_breach_is_named_and_alerted_once(
    fleet_of: Fleets,
) -> None:
    fleet = fleet_of(30, breach=1)
    for _ in range(2):
        outcome = fleet.sweep()
        assert outcome.complete
        assert fleet.checked_once(outcome.run_id)
        assert outcome.verdicts == {
            Verdict.ISOLATED: 29,
            Verdict.BREACHED: 1,
            Verdict.INCONCLUSIVE: 0,
        }
        ((slug, why),) = outcome.breached
        assert (slug,) == fleet.made.breached
        assert "foreign_token" in why
    alerts = fleet.rows("SELECT subject FROM outbox WHERE kind = 'breach'")
    assert len(alerts) == 1
    connections = {topic for topic, _ in fleet.lab.gateway.counts}
    assert len(connections) == 31  # each customer's topic, and the canary tenant's


def test_the_quick_way_and_the_thorough_way_give_the_same_verdicts(fleet_of: Fleets) -> None:
    fleet = fleet_of(4, breach=1)
    quick = fleet.sweep()
    answers = "SELECT customer_id, verdict, why FROM isolation_check WHERE {} ORDER BY 1"
    for slug in fleet.made.slugs:
        fleet.embedded.verify(slug)

    def told(where: str) -> list[tuple[object, object]]:
        return [(c, v) for c, v, _ in fleet.rows(answers.format(where))]

    assert told(f"run_id = '{quick.run_id}'") == told("run_id IS NULL")


def test_a_run_that_was_stopped_is_taken_up_where_it_stood(fleet_of: Fleets) -> None:
    fleet = fleet_of(250, isolation={"in_flight": 8})
    asked = itertools.count()
    first = fleet.sweep(stop=lambda: next(asked) > 3)
    assert not first.complete
    assert 0 < first.left < 250
    assert sum(first.verdicts.values()) + first.left == 250
    before = dict(
        fleet.rows(
            "SELECT customer_id, concluded_at FROM isolation_check WHERE verdict IS NOT NULL"
        )
    )
    second = fleet.sweep(resume=True)
    assert second.run_id == first.run_id
    assert second.complete
    assert fleet.checked_once(first.run_id)
    after = dict(fleet.rows("SELECT customer_id, concluded_at FROM isolation_check"))
    assert before.items() <= after.items()
    with pytest.raises(Refused) as refused:
        fleet.sweep(resume=True)
    assert refused.value.codes == ("no_unfinished_run",)


def test_a_run_that_was_killed_is_taken_up_where_it_stood(fleet_of: Fleets) -> None:
    fleet = fleet_of(250, isolation={"in_flight": 8})
    command = [sys.executable, "-m", "cli", "--config", "config.toml", "verify", "--all"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    killed = subprocess.Popen(command, cwd=fleet.made.directory, env=environment)
    judged = "SELECT COUNT(*) FROM isolation_check WHERE verdict IS NOT NULL"
    while killed.poll() is None:
        if fleet.rows(judged)[0][0]:
            killed.send_signal(signal.SIGKILL)
            break
    killed.wait()
    ((done,),) = fleet.rows(judged)
    assert 0 < int(str(done)) < 250
    assert fleet.sweep(resume=True).complete
    ((run_id,),) = fleet.rows("SELECT id FROM isolation_run")
    assert fleet.checked_once(str(run_id))


def children(pid: int) -> tuple[int, ...]:
    listed = Path(f"/proc/{pid}/task/{pid}/children")
    if not listed.exists():
        pytest.skip("this system does not list the children of a process")
    return tuple(int(child) for child in listed.read_text().split())


@pytest.mark.parametrize("which", ["first", "forked"])
def test_a_worker_that_dies_takes_no_customer_with_it(
    fleet_of: Fleets, monkeypatch: pytest.MonkeyPatch, which: str
) -> None:
    fleet = fleet_of(150, isolation={"in_flight": 8, "workers": 2}, apns={"backoff_seconds": 0.01})
    started = []
    original = subprocess.Popen

    def start(*given: Any, **options: Any) -> Any:
        started.append(original(*given, **options))
        return started[-1]

    monkeypatch.setattr(subprocess, "Popen", start)
    asked = itertools.count()

    def kill_one() -> bool:
        if next(asked) == 3:
            (child,) = children(started[0].pid) if which == "forked" else (started[0].pid,)
            os.kill(child, signal.SIGKILL)
        return False

    outcome = fleet.sweep(stop=kill_one)
    assert len(started) == 2
    assert outcome.complete
    assert outcome.verdicts[Verdict.ISOLATED] == 150
    assert fleet.checked_once(outcome.run_id)


def no_verdict_is_wrong(fleet: Any) -> None:
    """A sweep through the faults that are set, and one once they are over.

    Chance may strike one customer in every try; then there is no verdict, but never a wrong one.
    """
    outcome = fleet.sweep()
    assert outcome.complete
    assert fleet.checked_once(outcome.run_id)
    found = fleet.verdicts(outcome.run_id)
    undecided = {slug for slug, verdict in found.items() if verdict == Verdict.INCONCLUSIVE}
    breached = {slug for slug, verdict in found.items() if verdict == Verdict.BREACHED}
    assert breached | (undecided & set(fleet.made.breached)) == set(fleet.made.breached)
    assert outcome.verdicts[Verdict.ISOLATED] > len(found) / 2  # they did not all give up
    fleet.lab.gateway.faults.clear()
    after = fleet.sweep()
    assert {slug for slug, _ in after.breached} == set(fleet.made.breached)
    assert after.verdicts[Verdict.INCONCLUSIVE] == 0


def test_faults_on_the_way_make_no_wrong_verdict(fleet_of: Fleets) -> None:
    fleet = fleet_of(
        120,
        breach=2,
        apns={"backoff_seconds": 0.01, "timeout_seconds": 1.0},
        isolation={"attempts": 6, "in_flight": 16},
    )
    for fault, share in {
        Fault.DROP: 0.03,
        Fault.STALL: 0.01,
        Fault.GOAWAY: 0.03,
        Fault.TOO_MANY_REQUESTS: 0.03,
        Fault.SERVICE_UNAVAILABLE: 0.03,
        Fault.SHUTDOWN: 0.02,
    }.items():
        fleet.lab.gateway.faults.rate(fault, share)
    no_verdict_is_wrong(fleet)


def test_where_nobody_answers_the_run_ends_and_says_so(fleet_of: Fleets) -> None:
    fleet = fleet_of(6, apns={"backoff_seconds": 0.01}, isolation={"attempts": 2})
    fleet.lab.gateway.faults.outage = True
    outcome = fleet.sweep()
    assert outcome.complete
    assert outcome.unanswered == 6
    assert outcome.verdicts[Verdict.INCONCLUSIVE] == 6


def test_since_leaves_out_who_has_a_newer_verdict(fleet_of: Fleets) -> None:
    fleet = fleet_of(5)
    began = datetime.now(UTC) - timedelta(minutes=1)
    fleet.embedded.verify(fleet.made.slugs[0])
    outcome = sweep(fleet.embedded, Choice(since=began, actor="test"))
    assert outcome.complete
    assert sum(outcome.verdicts.values()) == 4


def test_nobody_who_is_paused_or_a_canary_is_checked(fleet_of: Fleets) -> None:
    fleet = fleet_of(3)
    with fleet.embedded.database.transaction() as session:
        session.connection().exec_driver_sql(
            "UPDATE customer SET paused_at = created_at WHERE slug = 'customer-000002'"
        )
    outcome = fleet.sweep()
    assert sum(outcome.verdicts.values()) == 2


def test_the_command_line_says_it_all(fleet_of: Fleets) -> None:
    fleet = fleet_of(5, breach=1)
    command = [sys.executable, "-m", "cli", "--config", "config.toml", "verify", "--all", "--json"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        command, cwd=fleet.made.directory, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 4, done.stderr
    said = json.loads(done.stdout)
    assert said["complete"]
    assert said["verdicts"] == {"isolated": 4, "breached": 1, "inconclusive": 0}
    assert [row["slug"] for row in said["breached"]] == list(fleet.made.breached)
    assert fleet.made.breached[0] in done.stderr
    tokens = [token.hex() for token, _, _ in fleet.lab.gateway.devices.all()]
    stored = (
        b"".join(path.read_bytes() for path in fleet.made.directory.glob("vendor.sqlite*"))
        + done.stdout.encode()
        + done.stderr.encode()
    )
    assert not [t for t in tokens if t.encode() in stored or bytes.fromhex(t) in stored]


def test_refused_mute_and_closed_connections_and_bursts_make_no_wrong_verdict(
    fleet_of: Fleets,
) -> None:
    fleet = fleet_of(
        150,
        breach=2,
        apns={"backoff_seconds": 0.01, "timeout_seconds": 1.0},
        isolation={"attempts": 5, "in_flight": 16},
    )
    bad_day(fleet.lab)
    fleet.lab.gateway.faults.burst(Fault.SERVICE_UNAVAILABLE, every=200, length=20)
    no_verdict_is_wrong(fleet)
    struck = fleet.lab.gateway.faults.done
    assert all(struck[f] for f in (Fault.REFUSE, Fault.MUTE, Fault.GOAWAY_AFTER_FIRST))
    assert struck[Fault.SERVICE_UNAVAILABLE] >= 20
