"""The units are what systemd takes for sound and tight, and pushcert works under their rules."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import typer.main

from cli.main import app
from tests.deployment import Deployment, deployment
from tests.packaging.confined import settings

ROOT = Path(__file__).resolve().parents[2]
UNITS = ROOT / "packaging" / "systemd"
SERVICES = sorted(UNITS.glob("*.service"))
CONFINED = Path(__file__).with_name("confined.py")
PROGRAM = "/opt/pushcert/bin/pushcert"
MOST_EXPOSED = 2.0
SYSTEM_UNITS = Path("/usr/lib/systemd/system")


def names(units: list[Path]) -> list[str]:
    return [unit.name for unit in units]


@pytest.fixture(scope="session")
def systemd_analyze() -> str:
    found = shutil.which("systemd-analyze")
    if found is None:
        pytest.skip("systemd-analyze is not installed; it judges the units")
    return found


@pytest.fixture(scope="session")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The root of a machine on which pushcert is installed as docs/installing.md says."""
    if not SYSTEM_UNITS.is_dir():
        pytest.skip("systemd's own units are not installed; ours refer to them")
    root = tmp_path_factory.mktemp("machine")
    shutil.copytree(SYSTEM_UNITS, root / "usr/lib/systemd/system", symlinks=True)
    installed = root / "etc/systemd/system"
    installed.mkdir(parents=True)
    for unit in (*SERVICES, *UNITS.glob("*.timer")):
        shutil.copy(unit, installed)
    program = root / PROGRAM.lstrip("/")
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    return root


@pytest.mark.parametrize("unit", [*names(SERVICES), "pushcert-tick.timer"])
def test_systemd_finds_nothing_wrong_with_a_unit(
    systemd_analyze: str, machine: Path, unit: str
) -> None:
    done = subprocess.run(
        [systemd_analyze, "verify", f"--root={machine}", "--man=no", unit],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_systemd_finds_what_is_wrong_with_a_unit(systemd_analyze: str, machine: Path) -> None:
    broken = machine / "etc/systemd/system/broken.service"
    sound = UNITS / "pushcert-run.service"
    broken.write_text(sound.read_text().replace("ProtectSystem=strict", "ProtectSystem=rather"))
    done = subprocess.run(
        [systemd_analyze, "verify", f"--root={machine}", "--man=no", broken.name],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Failed to parse protect system value" in done.stderr


@pytest.mark.parametrize("unit", names(SERVICES))
def test_a_service_is_hardly_exposed(systemd_analyze: str, machine: Path, unit: str) -> None:
    done = subprocess.run(
        [systemd_analyze, "security", "--offline=true", "--no-pager", f"--root={machine}", unit],
        capture_output=True,
        text=True,
        check=True,
    )
    overall = re.search(r"Overall exposure level for \S+: ([\d.]+)", done.stdout)
    assert overall is not None, done.stdout
    assert float(overall[1]) <= MOST_EXPOSED, done.stdout


def has_command(words: list[str]) -> bool:
    """Whether the command line has this command."""
    found: Any = typer.main.get_command(app)
    for word in words:
        if word not in found.commands:
            return False
        found = found.commands[word]
    return True


@pytest.mark.parametrize("unit", SERVICES, ids=names(SERVICES))
def test_a_service_starts_a_command_that_there_is(unit: Path) -> None:
    (line,) = settings(unit, "ExecStart")
    program, option, config, *words = line.split()
    (state,) = settings(unit, "StateDirectory")
    assert (program, option, config) == (PROGRAM, "--config", f"/var/lib/{state}/config.toml")
    if words != ["instance", "serve"]:  # comes with the setup page
        assert has_command(words)


def test_all_services_are_hardened_alike() -> None:
    def hardening(unit: Path) -> list[str]:
        text = unit.read_text().split("# Nothing but its own state")[1].split("[Install]")[0]
        lines = [line for line in text.splitlines() if "=" in line and not line.startswith("#")]
        return [line for line in lines if not line.startswith("MemoryDenyWriteExecute")]

    assert len({tuple(hardening(unit)) for unit in SERVICES}) == 1
    assert len(hardening(SERVICES[0])) > 25


def test_what_serves_customers_sees_neither_the_signing_key_nor_a_vault() -> None:
    (hidden,) = settings(UNITS / "pushcert-serve.service", "InaccessiblePaths")
    assert hidden.split() == ["-/var/lib/pushcert/signer", "-/var/lib/pushcert/instances"]


def test_the_two_planes_run_as_two_users() -> None:
    users = {unit.name: settings(unit, "User")[0] for unit in SERVICES}
    ours = {name: user for name, user in users.items() if "instance" not in name}
    theirs = {name: user for name, user in users.items() if "instance" in name}
    assert set(ours.values()) == {"pushcert"}
    assert set(theirs.values()) == {"pushcert-instance"}


def test_systemd_makes_the_users_that_the_services_run_as(tmp_path: Path) -> None:
    sysusers = shutil.which("systemd-sysusers")
    if sysusers is None:
        pytest.skip("systemd-sysusers is not installed; it makes the users")
    (tmp_path / "etc").mkdir()
    file = UNITS / "pushcert.sysusers"
    subprocess.run([sysusers, f"--root={tmp_path}", str(file)], check=True, capture_output=True)
    made = {line.split(":")[0] for line in (tmp_path / "etc/passwd").read_text().splitlines()}
    assert made == {settings(unit, "User")[0] for unit in SERVICES}


# What follows runs the command line under a unit's rules. systemd-analyze is what knows which
# system calls are in which group.


@pytest.fixture
def vendor(tmp_path: Path) -> Iterator[Deployment]:
    with deployment(tmp_path) as made:
        yield made


def confined(unit: str, vendor: Deployment, *words: str) -> list[str]:
    """The command line that runs ``pushcert`` as the unit would."""
    pushcert = [sys.executable, "-m", "cli", "--config", str(vendor.config), *words]
    return [sys.executable, str(CONFINED), str(UNITS / unit), *pushcert]


@contextmanager
def started(command: list[str], until: str) -> Iterator[str]:
    """Starts a process, gives the line that has ``until`` in it, and ends it with SIGTERM."""
    process = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert process.stdout is not None
    said = []
    try:
        for line in process.stdout:
            said.append(line)
            if until in line:
                break
        assert until in said[-1], "".join(said)
        yield said[-1]
    finally:
        process.send_signal(signal.SIGTERM)
        rest, _ = process.communicate(timeout=60)
    assert process.returncode == 0, "".join(said) + rest


@pytest.mark.usefixtures("systemd_analyze")
def test_everything_that_is_owed_is_done_under_the_units_rules(vendor: Deployment) -> None:
    vendor.settle("acme")
    vendor.add("birch")
    done = subprocess.run(
        confined("pushcert-tick.service", vendor, "tick", "--json"),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    tick = json.loads(done.stdout)
    assert tick["faults"] == []
    assert tick["failed"] == 0
    assert vendor.json("customer", "show", "birch")["renewal"]["state"] == "delivered"
    assert any("birch" in str(mail["To"]) for mail in vendor.mailbox.messages)
    pushed = subprocess.run(
        confined("pushcert-run.service", vendor, "verify", "acme", "--json"),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert pushed.returncode == 0, pushed.stderr
    assert json.loads(pushed.stdout)[0]["verdict"] == "isolated"


@pytest.mark.usefixtures("systemd_analyze")
def test_the_worker_runs_and_stops_under_the_units_rules(vendor: Deployment) -> None:
    vendor.settle()
    with started(confined("pushcert-run.service", vendor, "run"), "event='tick'"):
        pass


@pytest.mark.usefixtures("systemd_analyze")
def test_an_instance_asks_the_server_both_under_their_units_rules(
    vendor: Deployment, tmp_path: Path
) -> None:
    vendor.config.write_text(
        '[vendor]\ninstances = "distributed"\n' + vendor.config.read_text() + "[serve]\nport = 0\n"
    )
    vendor.run("init", str(vendor.directory))
    vendor.import_signer()
    vendor.add("acme")
    vendor.run("tick")
    code = vendor.json("customer", "invite", "acme")["code"]
    with started(confined("pushcert-serve.service", vendor, "serve"), '"url"') as line:
        url = json.loads(line)["url"]
        assert httpx.get(f"{url}/healthz").json() == {"status": "ok"}
        theirs = Deployment(tmp_path / "instance", vendor.lab, vendor.mailbox)
        theirs.directory.mkdir()
        theirs.run("instance", "init", str(theirs.directory), "--vendor", url, "--code", code)
        with started(confined("pushcert-instance.service", theirs, "instance", "run"), "csr"):
            pass
    assert vendor.json("customer", "show", "acme")["renewal"]["state"] == "csr_received"


@pytest.mark.usefixtures("systemd_analyze")
@pytest.mark.parametrize(
    ("unit", "code", "error"),
    [
        ("pushcert-run.service", "import socket; socket.socket(16, 3)", "Address family"),
        ("pushcert-run.service", "import os; os.chroot('/tmp')", "not permitted"),
        ("pushcert-run.service", "import os; os.nice(1)", "not permitted"),
        ("pushcert-serve.service", "import mmap; mmap.mmap(-1, 4096, prot=7)", "not permitted"),
    ],
)
def test_what_a_unit_forbids_cannot_be_done_in_these_tests(
    unit: str, code: str, error: str
) -> None:
    done = subprocess.run(
        [sys.executable, str(CONFINED), str(UNITS / unit), sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
    )
    assert error in done.stderr
