"""A year of planes that are apart: real processes, TLS between, and every byte searched."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from sqlmodel import col, select

from lifecycle.pki.keys import key_to_pem
from lifecycle.rehearsal.children import Child, Program
from lifecycle.rehearsal.deployment import disclosures
from lifecycle.rehearsal.disclosure import Disclosure
from lifecycle.rehearsal.distributed import DistributedDeployment, deployment_of
from lifecycle.rehearsal.distributed_boundary import BACKUP, DistributedBoundary
from lifecycle.rehearsal.play import Wanted, distributed_year
from lifecycle.rehearsal.verdict import failures, totals
from lifecycle.rehearsal.year import Year
from lifecycle.vendor.models import Renewal

CUSTOMERS = 20
PATIENCE = 60


def processes(deployment: DistributedDeployment) -> set[int]:
    """The numbers of every process of the deployment."""
    instances = {m._child.pid for m in deployment.machines.values() if m._child is not None}
    return instances | set(deployment.vendor.pids.values())


def runs(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def test_twenty_instances_and_their_vendor_play_a_year_and_no_secret_gets_across(
    tmp_path: Path,
) -> None:
    with distributed_year(tmp_path / "lab", Wanted(CUSTOMERS, 400, seed=3)) as year:
        year.play()
        deployment = deployment_of(year.stage)
        pids = processes(deployment)
        assert len(pids) == 1 + CUSTOMERS + 2, "the canary's instance, the customers', the vendor's"
        assert all(map(runs, pids))
        assert deployment.boundary.unseen is None, "the memory of the vendor's processes is seen"
        assert list(failures(year)) == []
        assert year.seen.staged == year.seen.caught
        assert {str(act) for act in year.seen.staged} == {
            "breach",
            "breach healed",
            "creates a certificate instead of renewing",
            "every fault of the network",
            "instance invited again",
            "instance offline for weeks",
            "instance revoked",
            "outage",
            "renews with another customer's request",
            "server killed",
            "signer lapsed",
            "upload during an outage",
            "uploads another customer's certificate",
            "uploads last year's file",
            "worker killed",
        }
        sums = totals(year)
        # Everybody's first and second; but one never reacts. The canary tenant's as well.
        assert sums.renewals == 2 * (CUSTOMERS + 1) - 1
        assert sums.pushes > 1000
        recorded = list((tmp_path / "lab" / "recording").iterdir())
        assert sum(file.stat().st_size for file in recorded) > 1_000_000
        assert not any(b"content-encoding" in file.read_bytes().lower() for file in recorded)
    assert not any(map(runs, pids)), "no process is left"


@pytest.fixture(scope="module")
def year(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Year]:
    """Two customers' first days; nothing goes wrong, and every process still runs."""
    directory = tmp_path_factory.mktemp("days") / "lab"
    with distributed_year(directory, Wanted(2, 3, quiet=True)) as played:
        played.play()
        assert list(failures(played)) == []
        yield played


@pytest.fixture
def boundary(year: Year) -> DistributedBoundary:
    return deployment_of(year.stage).boundary


def found_in(boundary: DistributedBoundary) -> set[str]:
    return {Path(hit.where).name for hit in disclosures(boundary)}


@contextmanager
def planted(path: Path, data: bytes) -> Iterator[None]:
    before = path.read_bytes() if path.exists() else None
    path.write_bytes((before or b"") + data)
    try:
        yield
    finally:
        if before is None:
            path.unlink()
        else:
            path.write_bytes(before)


@pytest.mark.parametrize(
    "place", ["vendor/serve.log", "vendor/run.log", "vendor/config.toml", "recording/00001-x"]
)
def test_a_token_in_a_log_the_configuration_or_the_recording_is_found(
    year: Year, boundary: DistributedBoundary, place: str
) -> None:
    token = year.stage.lab.tokens[0].hex().encode()
    with planted(year.stage.directory / place, b"\n# token " + token + b"\n"):
        assert Path(place).name in found_in(boundary)


def test_a_token_in_the_database_is_found_there_and_in_the_backup(
    year: Year, boundary: DistributedBoundary
) -> None:
    database = year.stage.plane.database

    def write(message: str | None) -> None:
        with database.transaction() as session:
            renewal = session.exec(select(Renewal).order_by(col(Renewal.id))).first()
            assert renewal is not None
            renewal.blocked_message = message
            session.add(renewal)

    def scrub() -> None:
        with database.engine.connect() as connection:
            connection.exec_driver_sql("ROLLBACK")
            for statement in ("VACUUM", "PRAGMA wal_checkpoint(TRUNCATE)"):
                connection.exec_driver_sql(statement)

    write(year.stage.lab.tokens[0].hex())
    try:
        assert {"vendor.sqlite-wal", BACKUP} <= found_in(boundary)
    finally:
        write(None)
        scrub()


SecretOf = Callable[[Year], bytes]


def canarys_token(year: Year) -> bytes:
    (canary,) = (t for t in year.stage.lab.tokens if t == year._canary_token)
    return canary


def credential_of_acme(year: Year) -> bytes:
    secrets = deployment_of(year.stage).boundary.customers_secrets()
    return next(s.value for s in secrets if s.name == "credential of acme (signing)")


def key_of_acme(year: Year) -> bytes:
    secrets = deployment_of(year.stage).boundary.customers_secrets()
    return next(s.value for s in secrets if s.name == "key of acme (p)")


def vault_key_of_acme(year: Year) -> bytes:
    secrets = deployment_of(year.stage).boundary.customers_secrets()
    return next(s.value for s in secrets if s.name == "vault key of acme")


@pytest.mark.parametrize(
    "secret", [canarys_token, credential_of_acme, key_of_acme, vault_key_of_acme]
)
def test_every_kind_of_secret_is_looked_for(
    year: Year, boundary: DistributedBoundary, secret: SecretOf
) -> None:
    with planted(year.stage.directory / "recording" / "99999-from-instance", secret(year)):
        assert found_in(boundary) == {"99999-from-instance"}


def test_a_token_in_the_environment_of_a_vendors_process_is_found(
    year: Year, boundary: DistributedBoundary
) -> None:
    deployment = deployment_of(year.stage)
    program = replace(
        deployment.vendor._serve_program, log=year.stage.directory / "another-serve.log"
    )
    child = Child(program, {"APP_TOKEN": year.stage.lab.tokens[0].hex()})
    try:
        assert "url" in child.answer(), "it serves, and has only one fault"
        hits = _with_serve(year, boundary, child.pid)
    finally:
        child.end()
    assert "the environment of serve" in {hit.where for hit in hits}


def test_the_signing_key_in_the_memory_of_what_serves_is_found(
    year: Year, boundary: DistributedBoundary
) -> None:
    signing_key = next((year.stage.directory / "vendor" / "signer").rglob("signing.key"))
    code = (
        "import sys, pathlib; from lifecycle.pki.keys import load_private_key\n"
        "file = open(sys.argv[1], 'rb'); key = load_private_key(file.read(), None)\n"
        "print('ready', flush=True); input()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(signing_key)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        hits = _with_serve(year, boundary, process.pid)
        process.communicate(b"\n")
    assert {hit.where for hit in hits} == {
        "the memory of serve",
        "signing.key, open in serve",
        "the open files of serve",
    }
    assert {hit.secret for hit in hits if "memory" in hit.where} == {
        f"the MDM signing key ({part})" for part in "pqd"
    }


def _with_serve(year: Year, boundary: DistributedBoundary, pid: int) -> list[Disclosure]:
    """What is found when this process takes the place of ``serve``."""
    pids = {**deployment_of(year.stage).vendor.pids, "serve": pid}
    return disclosures(
        DistributedBoundary(year.stage.lab, year.stage.plane, boundary._vaults, pids)
    )


@pytest.mark.parametrize("place", ["instances/acme/signing.key", "recording/00001-from-vendor-x"])
def test_the_signing_key_with_an_instance_or_on_the_wire_is_found(
    year: Year, boundary: DistributedBoundary, place: str
) -> None:
    pem = key_to_pem(year.stage.lab.signing_keys[0], None)
    with planted(year.stage.directory / place, pem):
        assert found_in(boundary) == {Path(place).name}


def test_production_commands_have_no_clock_to_be_set() -> None:
    for command in (["serve"], ["run"], ["instance", "run"], ["instance", "init"]):
        shown = subprocess.run(
            [sys.executable, "-m", "cli", *command, "--help"],
            check=True,
            capture_output=True,
            text=True,
        )
        assert "--clock" not in shown.stdout
    assert "PUSHCERT_CLOCK" not in "".join(
        path.read_text() for folder in ("cli", "lifecycle") for path in Path(folder).rglob("*.py")
    )


def test_the_command_plays_reports_and_passes(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "cli", "lab", "run", "--distributed", "--json"]
    done = subprocess.run(
        [*command, "--customers", "1", "--days", "3", "--dir", str(tmp_path / "kept")],
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    document = json.loads(done.stdout)
    assert document["passed"] is True
    assert document["failures"] == []
    assert document["totals"]["renewals"] == 2
    assert (tmp_path / "kept" / "vendor" / "vendor.sqlite").exists()
    refused = subprocess.run([*command, "--customers", "65"], check=False, capture_output=True)
    assert refused.returncode == 2


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_whatever_ends_the_rehearsal_no_process_of_it_is_left(
    tmp_path: Path, end: signal.Signals
) -> None:
    code = (
        "import sys, time; from pathlib import Path\n"
        "from lifecycle.rehearsal.distributed import deployment_of\n"
        "from lifecycle.rehearsal.play import Wanted, distributed_year\n"
        "with distributed_year(Path(sys.argv[1]), Wanted(1, 1)) as year:\n"
        "    year._set_up()\n"
        "    deployment = deployment_of(year.stage)\n"
        "    deployment.look()\n"
        "    pids = [m._child.pid for m in deployment.machines.values()]\n"
        "    print(*pids, *deployment.vendor.pids.values(), flush=True)\n"
        "    time.sleep(600)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "lab")],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    ) as parent:
        assert parent.stdout is not None
        pids = [int(pid) for pid in parent.stdout.readline().split()]
        assert len(pids) == 4
        handles = [os.pidfd_open(pid) for pid in pids]
        parent.send_signal(end)
        parent.wait(PATIENCE)
    for pid, handle in zip(pids, handles, strict=True):
        _until_ended(handle)
        os.close(handle)
        assert not _alive(pid), f"{pid} is left"


def _until_ended(handle: int) -> None:
    import select as waiting

    assert waiting.select([handle], [], [], PATIENCE)[0], "a process did not end"


def _alive(pid: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


def test_a_child_that_dies_says_why(tmp_path: Path) -> None:
    from lifecycle.errors import InternalFault

    (tmp_path / "config.toml").write_text("[vendor]\nname = 1\n")
    program = Program("run", tmp_path / "config.toml", tmp_path / "clock", tmp_path / "run.log")
    child = Child(program)
    with pytest.raises(InternalFault, match=r"run process has ended:(.|\n)*vendor\.name"):
        child.ask("tick")
    child.end()
