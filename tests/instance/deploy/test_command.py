"""A command as a deploy target: it gets the key, and nobody else sees it."""

from __future__ import annotations

import json
import os
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from lifecycle.disk import DiskFull
from lifecycle.errors import Refused, Unavailable
from lifecycle.instance.deploy.command import Command, CommandTarget
from lifecycle.instance.deploy.plan import About
from lifecycle.pki.keys import load_private_key
from lifecycle.pki.pem import pem_blocks
from tests.small_disk import small_disk

if TYPE_CHECKING:
    from tests.instance.conftest import World

ABOUT = About("hook", "command", "hook", "settings")
TELL = """
import json, os, stat, sys
path = os.environ["PUSHCERT_KEY"]
json.dump({
    "argv": sys.argv,
    "environ": dict(os.environ),
    "key": open(path).read(),
    "key_twice": open(path).read(),
    "mode": stat.S_IMODE(os.stat(path).st_mode),
    "folder_mode": stat.S_IMODE(
        os.stat(os.path.dirname(os.environ["PUSHCERT_CERTIFICATE"])).st_mode
    ),
    "certificate": open(os.environ["PUSHCERT_CERTIFICATE"]).read(),
    "chain": open(os.environ["PUSHCERT_CHAIN"]).read(),
    "cmdline": open("/proc/self/cmdline").read(),
}, open(sys.argv[1], "w"))
print(open(path).read())
print(open(path).read(), file=sys.stderr)
"""


@pytest.fixture
def acme(world: World) -> World:
    world.renew()
    return world


def target(*words: str, **changes: Any) -> CommandTarget:
    settings: dict[str, Any] = {
        "deploy": words,
        "check": (),
        "key_by_file": False,
        "environment": (),
        "timeout": 20.0,
        "customer": "acme",
    }
    return CommandTarget(ABOUT, Command(**{**settings, **changes}))


def python(code: str, *arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-c", code, *arguments)


@pytest.mark.parametrize("by_file", [False, True])
def test_everything_is_in_the_environment_and_the_key_behind_a_path(
    acme: World,
    tmp_path: Path,
    by_file: bool,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PUSHCERT_VAULT_PASSPHRASE", "hunter2")
    monkeypatch.setenv("AWS_REGION", "eu-1")
    out, pair = tmp_path / "told.json", acme.pair()
    target(*python(TELL, str(out)), key_by_file=by_file, environment=("AWS_REGION",)).deploy(pair)
    told = json.loads(out.read_text())
    key = load_private_key(told["key"].encode(), None)
    assert key.public_key() == pair.key.public_key()
    assert told["key_twice"] == told["key"], "it can be read more than once"
    body = told["key"].split("\n")[3]
    assert body not in told["cmdline"]
    assert not any(body in value for value in told["environ"].values())
    environ = told["environ"]
    assert environ["PUSHCERT_TOPIC"] == pair.certificate.topic
    assert environ["PUSHCERT_SERIAL"] == pair.certificate.serial
    assert environ["PUSHCERT_NOT_AFTER"] == pair.certificate.not_after.isoformat()
    assert (environ["PUSHCERT_CUSTOMER"], environ["PUSHCERT_TARGET"]) == ("acme", "hook")
    assert environ["AWS_REGION"] == "eu-1"
    assert "hunter2" not in environ.values(), "secrets of ours are not passed on"
    assert told["certificate"] == pair.certificate.pem
    assert len(pem_blocks(told["chain"].encode())) == 2
    assert told["folder_mode"] == 0o700
    if by_file:
        assert told["mode"] == 0o600
    assert not Path(environ["PUSHCERT_CERTIFICATE"]).exists(), "gone with the command"
    assert not Path(environ["PUSHCERT_KEY"]).is_file() or not by_file
    said = capfd.readouterr()
    assert body not in said.out + said.err, "what it prints goes nowhere"


def test_no_shell_looks_at_the_words(acme: World, tmp_path: Path) -> None:
    marker = tmp_path / "owned"
    target(*python("import sys; assert sys.argv[1] == '; touch x'", "; touch x")).deploy(
        acme.pair()
    )
    assert not marker.exists()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (python("import sys; sys.exit(3)"), "ended with status 3"),
        (("/no/such/program",), "could not be started"),
    ],
)
def test_a_command_that_fails_is_refused(acme: World, words: tuple[str, ...], says: str) -> None:
    with pytest.raises(Refused, match=says) as refused:
        target(*words).deploy(acme.pair())
    assert refused.value.codes == ("deploy_command_failed",)


def test_a_command_that_hangs_is_ended_with_all_that_it_started(
    acme: World, tmp_path: Path
) -> None:
    pid = tmp_path / "pid"
    code = (
        "import subprocess, sys, time;"
        "p = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']);"
        f"open({str(pid)!r}, 'w').write(str(p.pid)); time.sleep(600)"
    )
    with pytest.raises(Unavailable) as stuck:
        target(*python(code), timeout=2.0).deploy(acme.pair())
    assert stuck.value.code == "deploy_command_stuck"
    child = int(pid.read_text())
    for _ in range(200):
        if not _runs(child):
            break
        time.sleep(0.01)
    assert not _runs(child)


def _runs(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def test_a_command_may_leave_a_server_running(acme: World, tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    code = (
        "import subprocess, sys;"
        "p = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']);"
        f"open({str(pid)!r}, 'w').write(str(p.pid))"
    )
    target(*python(code), timeout=30.0).deploy(acme.pair())
    child = int(pid.read_text())
    assert _runs(child)
    os.kill(child, 9)


class TestChecking:
    def printing(self, path: Path) -> tuple[str, ...]:
        return python(f"print(open({str(path)!r}).read())")

    def test_the_check_prints_the_certificate_that_is_in_use(
        self, acme: World, tmp_path: Path
    ) -> None:
        in_use = tmp_path / "in-use.pem"
        copy = (
            f"import os, shutil; shutil.copy(os.environ['PUSHCERT_CERTIFICATE'], {str(in_use)!r})"
        )
        made = target(*python(copy), check=self.printing(in_use))
        made.deploy(acme.pair())
        made.verify(acme.pair())

    @pytest.mark.parametrize(
        ("later", "code"), [(330, "deploy_other_expiry"), (0, "deploy_other_certificate")]
    )
    def test_another_certificate_is_found(
        self, acme: World, tmp_path: Path, later: int, code: str
    ) -> None:
        in_use = tmp_path / "in-use.pem"
        in_use.write_text(acme.pair().certificate.pem)
        acme.clock.advance(timedelta(days=later))
        acme.renew()
        with pytest.raises(Refused) as refused:
            target(*python(""), check=self.printing(in_use)).deploy(acme.pair())
        assert refused.value.codes == (code,)

    def test_a_check_that_prints_something_else_is_refused(self, acme: World) -> None:
        with pytest.raises(Refused) as refused:
            target(*python(""), check=python("print('all is well')")).deploy(acme.pair())
        assert refused.value.codes == ("deploy_check_unreadable",)


@pytest.mark.parametrize("by_file", [False, True])
def test_where_its_files_find_no_room_it_is_not_run_and_the_disk_is_named(
    acme: World, tmp_path: Path, by_file: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran = tmp_path / "ran"
    deploying = target(
        *python("open(__import__('sys').argv[1], 'w')", str(ran)), key_by_file=by_file
    )
    with small_disk(tmp_path / "disk") as disk:
        monkeypatch.setattr("tempfile.tempdir", str(disk.path))
        disk.fill()
        with pytest.raises(DiskFull, match="temporary files cannot be written: the disk is full"):
            deploying.deploy(acme.pair())
        assert not ran.exists()
        disk.make_room()
        deploying.deploy(acme.pair())
        assert ran.exists()
        assert list(disk.path.iterdir()) == []
