"""The container's recipe, judged by its instructions: there is no registry here to build it from.

What can be tried without one is: that what it copies is enough to build the wheel, and that its
health check tells a server that answers from one that does not.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from lifecycle.lab import Authority, LabClock
from lifecycle.lab.authority import SINCE
from tests.building import build

ROOT = Path(__file__).resolve().parents[2]
RECIPE = ROOT / "packaging" / "Containerfile"
HEALTHCHECK = ROOT / "packaging" / "healthcheck.py"


@dataclass(frozen=True)
class Instruction:
    """One instruction: its name and what stands behind it, on one line."""

    name: str
    rest: str


def stages() -> list[list[Instruction]]:
    """The instructions by stage; the first stage begins with its ``FROM``."""
    text = re.sub(r"^#.*\n", "", RECIPE.read_text(), flags=re.MULTILINE)
    lines = [line for line in re.sub(r"\\\n", " ", text).splitlines() if line.strip()]
    found: list[list[Instruction]] = []
    for line in lines:
        name, _, rest = line.strip().partition(" ")
        if name == "FROM":
            found.append([])
        if found:
            found[-1].append(Instruction(name, " ".join(rest.split())))
    return found


def named(name: str, stage: list[Instruction]) -> list[str]:
    return [instruction.rest for instruction in stage if instruction.name == name]


def test_what_builds_stays_behind_and_the_base_is_slim_and_of_a_fixed_version() -> None:
    build_stage, image = stages()
    assert named("FROM", build_stage)[0].endswith("-slim AS build")
    assert named("FROM", image) == ["docker.io/library/python:${PYTHON}-slim"]
    assert re.search(r"^ARG PYTHON=3\.\d+$", RECIPE.read_text(), re.MULTILINE)
    assert not any("pip install" in run for run in named("RUN", image))
    assert "--from=build /opt/pushcert /opt/pushcert" in named("COPY", image)


def test_it_does_not_run_as_root_and_owns_nothing_but_its_data() -> None:
    _, image = stages()
    order = [instruction.name for instruction in image]
    assert named("USER", image) == ["10001:10001"]
    assert order.index("USER") > max(place for place, name in enumerate(order) if name == "COPY")
    assert "--mode=0700 /var/lib/pushcert" in named("RUN", image)[0]
    assert named("VOLUME", image) == named("WORKDIR", image) == ["/var/lib/pushcert"]


def test_it_starts_pushcert_itself_so_that_sigterm_reaches_it() -> None:
    _, image = stages()
    assert json.loads(named("ENTRYPOINT", image)[0]) == ["pushcert"]
    assert json.loads(named("CMD", image)[0])[0] == "serve"
    assert named("STOPSIGNAL", image) == ["SIGTERM"]


def test_its_health_is_what_healthz_says() -> None:
    _, image = stages()
    (check,) = named("HEALTHCHECK", image)
    program = json.loads(check.partition(" CMD ")[2])[-1]
    assert f"packaging/healthcheck.py {program}" in named("COPY", image)
    assert "/healthz" in HEALTHCHECK.read_text()


def test_nothing_is_fetched_but_packages_and_no_secret_is_in_it() -> None:
    for stage in stages():
        assert not named("ADD", stage)
        assert not any(re.search(r"curl|wget|apt", run) for run in named("RUN", stage))
        settings = " ".join(named("ENV", stage) + named("ARG", stage))
        assert not re.search(r"pass|secret|token|key", settings, re.IGNORECASE)


def test_what_it_copies_is_enough_to_build_the_wheel(tmp_path: Path) -> None:
    build_stage, _ = stages()
    tree = tmp_path / "src"
    tree.mkdir()
    for copy in named("COPY", build_stage):
        *what, where = copy.split()
        for name in what:
            if (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, tree / where)
            else:
                shutil.copy(ROOT / name, tree / where)
    inside = build(tree, "wheel", tmp_path / "in-the-container")
    outside = build(ROOT, "wheel", tmp_path / "outside")
    assert inside.read_bytes() == outside.read_bytes()


@contextmanager
def serving(folder: Path, more: str = "") -> Iterator[Path]:
    """``pushcert serve`` on a free port that its configuration names; gives that file."""
    config = folder / "config.toml"
    config.write_text("[serve]\nport = 0\n" + more)
    pushcert = [sys.executable, "-m", "cli", "--config", str(config)]
    subprocess.run([*pushcert, "init", str(folder)], cwd=ROOT, check=True, capture_output=True)
    process = subprocess.Popen([*pushcert, "serve"], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        url = json.loads(process.stdout.readline())["url"]
        config.write_text(f"[serve]\nport = {url.rpartition(':')[2]}\n{more}")
        yield config
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)


def healthy(config: Path) -> bool:
    done = subprocess.run(
        [sys.executable, str(HEALTHCHECK)],
        cwd=config.parent,
        env={**os.environ, "PUSHCERT_CONFIG": str(config), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode == 0) == (done.stderr == ""), done.stderr
    return done.returncode == 0


@pytest.mark.parametrize("tls", [False, True], ids=["http", "https"])
def test_the_health_check_tells_a_server_that_answers_from_one_that_has_ended(
    tmp_path: Path, tls: bool
) -> None:
    more = ""
    if tls:
        certificate, key = Authority(LabClock(SINCE)).server_credential()
        (tmp_path / "serve.pem").write_bytes(certificate)
        (tmp_path / "serve.key").write_bytes(key)
        more = 'certificate = "serve.pem"\nkey = "serve.key"\n'
    with serving(tmp_path, more) as config:
        assert healthy(config)
    assert not healthy(config)


def test_without_a_configuration_there_is_no_health(tmp_path: Path) -> None:
    assert not healthy(tmp_path / "none.toml")
