"""The machine that docs/installing.md speaks of: a root of its own, systemd, a container engine.

pushcert is installed there for real: a virtual environment, and the wheel of this checkout in it.
Its dependencies are the ones the tests run with, so that nothing is fetched. Services and
containers are processes, started with the very command that their unit or the Containerfile names,
and stopped with the signal that they would get; each must say that it runs, and end with 0. Options
of systemd's and podman's that nobody has thought of here are refused.

It has no editor: what is to be written there is taken from the page's own words. What it cannot
have either: other users (``sudo`` runs as who runs the tests), credentials that are encrypted,
images.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import signal
import subprocess
import sys
import sysconfig
import threading
from collections.abc import Sequence
from configparser import RawConfigParser
from pathlib import Path

PASSPHRASE = "a word"
"""What is typed where systemd asks for one; the variable ``PASS`` has it as well."""
RUNS = re.compile(r"event='tick'|^\{\"url\"")
"""What a service says when it does its work: `run` of its first tick, `serve` of its address."""
OPTIONS_OF_RUN = {"--rm": 0, "-d": 0, "--no-healthcheck": 0, "-v": 1, "-p": 1}

PROGRAMS = {
    # Nobody can become somebody else here, nor own a file as somebody else.
    "sudo": """\
[ "$1" = -u ] && shift 2
[ "$1" = install ] && set -- $(printf '%s\\n' "$@" | sed -e '/^-[og]$/,+1d')
exec "$@"
""",
    "systemd-sysusers": 'exec /usr/bin/systemd-sysusers --root="$ROOT" "$ROOT"/etc/sysusers.d/*\n',
    "systemd-ask-password": '[ "$1" = -n ] && [ $# = 2 ] && printf %s "$PASS"\n',
    "systemd-creds": """\
[ "$1" = encrypt ] && [ "$2" = --name=signer ] && [ "$3" = - ] && umask 077 && base64 > "$4"
""",
}


class Machine:
    """Where somebody installs.

    Args:
        root: holds its ``/opt``, ``/etc`` and ``/usr/local``; made.
        state: what is ``/var/lib/pushcert`` there.
        checkout: where the Containerfile and the page are.
    """

    def __init__(self, root: Path, state: Path, checkout: Path) -> None:
        self._root = root
        self._state = state
        self._checkout = checkout
        self._running: dict[str, subprocess.Popen[str]] = {}
        self._images: set[str] = set()
        self.programs = root / "programs"
        self.local = root / "usr" / "local" / "bin"
        self._units = root / "etc" / "systemd" / "system"
        for folder in (self.programs, self.local, self._units, root / "etc" / "sysusers.d"):
            folder.mkdir(parents=True)
        for name, script in PROGRAMS.items():
            (self.programs / name).write_text(f"#!/bin/bash -e\n{script}")
            (self.programs / name).chmod(0o755)
        self.environment = {"ROOT": str(root)}

    def here(self, command: str) -> str:
        """A command with this machine's paths in the place of the page's."""
        command = re.sub(r"(?<![\w.])/var/lib/pushcert(?![\w-])", str(self._state), command)
        return re.sub(r"(?<![\w.])(?=/(?:opt|etc|usr/local)/)", str(self._root), command)

    def dependencies(self) -> None:
        """What pushcert needs is to be found in the virtual environment that was made."""
        (packages,) = (self._root / "opt" / "pushcert").glob("lib/python*/site-packages")
        (packages / "theirs.pth").write_text(sysconfig.get_path("purelib"))

    def empty_environment(self) -> Path:
        """A virtual environment with nothing in it, made when it is first asked for."""
        place = self._root / "empty"
        if not place.exists():
            subprocess.run([sys.executable, "-m", "venv", str(place)], check=True)
        return place

    def play(self, command: str, environment: dict[str, str]) -> bool:
        """Does what systemd or the container engine would do; False if it is for neither."""
        words = shlex.split(command.removeprefix("sudo ").replace("\\\n", " "))
        if words[0] == "systemctl":
            self._systemctl(*words[1:], environment=environment)
        elif words[0] == "systemd-run":
            self._systemd_run(words[1:], environment)
        elif words[0] == "podman":
            self._podman(words[1], words[2:], environment)
        else:
            return False
        return True

    def stop(self) -> None:
        """Stops what still runs."""
        for name in list(self._running):
            self._end(name)

    def _systemctl(self, verb: str, *words: str, environment: dict[str, str]) -> None:
        if verb == "daemon-reload":
            units = [self._unit(file.stem) for file in self._units.glob("*.service")]
            assert units, "nothing was copied"
            for unit in units:
                self._run([*self._program(unit), "--help"], environment)
            return
        names = words[1:] if words[0] == "--now" else words
        for name in names:
            unit = self._unit(name)
            if verb in {"stop", "restart"}:
                self._end(name)
            if verb in {"start", "restart"} or (verb, words[0]) == ("enable", "--now"):
                self._begin(name, self._program(unit), environment | self._credentials(unit))
            elif verb == "edit":
                folder = self._units / f"{name}.service.d"
                folder.mkdir()
                (told,) = re.findall(r"`(\w+=[^`]+)` under `(\[\w+\])`", self._page())
                (folder / "override.conf").write_text(f"{told[1]}\n{self.here(told[0])}\n")
                self._tell_where_the_passphrase_is()
            else:
                assert verb == "stop", verb

    def _unit(self, name: str) -> dict[tuple[str, str], str]:
        parser = RawConfigParser(strict=False, allow_no_value=True)
        parser.optionxform = str  # type: ignore[assignment,method-assign]
        drop_in = self._units / f"{name}.service.d" / "override.conf"
        assert parser.read([self._units / f"{name}.service", drop_in]), f"no unit {name}"
        return {(part, key): text for part in parser.sections() for key, text in parser.items(part)}

    def _program(self, unit: dict[tuple[str, str], str]) -> list[str]:
        return shlex.split(self.here(unit["Service", "ExecStart"]))

    def _page(self) -> str:
        return (self._checkout / "docs" / "installing.md").read_text()

    def _credentials(self, unit: dict[tuple[str, str], str]) -> dict[str, str]:
        named = unit.get(("Service", "LoadCredentialEncrypted"))
        return {} if named is None else self._credential(named)

    def _credential(self, named: str) -> dict[str, str]:
        name, _, file = named.partition(":")
        folder = self._root / "run" / "credentials"
        folder.mkdir(parents=True, exist_ok=True)
        opened = subprocess.run(["base64", "-d", file], check=True, capture_output=True).stdout
        kept = folder / name
        kept.touch(mode=0o600)
        kept.write_bytes(opened)
        return {"CREDENTIALS_DIRECTORY": str(folder)}

    def _tell_where_the_passphrase_is(self) -> None:
        config = self._state / "config.toml"
        before = config.read_text()
        mine = '[signer]\npassphrase = "env:PASS"\n'
        assert mine in before
        (block,) = re.findall(r"^```toml\n(\[signer\]\n.+?)^```", self._page(), re.M | re.S)
        config.write_text(before.replace(mine, block))

    def _systemd_run(self, words: Sequence[str], environment: dict[str, str]) -> None:
        asked = argparse.ArgumentParser(allow_abbrev=False)
        for flag in ("--pty", "--wait", "--collect"):
            asked.add_argument(flag, action="store_true", required=True)
        asked.add_argument("--uid", required=True)
        asked.add_argument("-p", required=True)
        asked.add_argument("command", nargs=argparse.REMAINDER)
        given = asked.parse_args(words)
        kind, _, named = given.p.partition("=")
        assert kind == "LoadCredentialEncrypted"
        self._run(given.command, environment | self._credential(named))

    def _podman(self, verb: str, words: Sequence[str], environment: dict[str, str]) -> None:
        image = _containerfile(self._checkout / "packaging" / "Containerfile")
        if verb == "build":
            asked = argparse.ArgumentParser(allow_abbrev=False)
            asked.add_argument("--format", choices=["docker"], required=True)
            asked.add_argument("-f", type=Path, required=True)
            asked.add_argument("-t", required=True)
            asked.add_argument("context", type=Path)
            given = asked.parse_args(words)
            assert (self._checkout / given.f).is_file()
            assert (self._checkout / given.context / "pyproject.toml").is_file()
            self._images.add(given.t)
            return
        assert verb == "run"
        options, command = _options(list(words))
        assert command[0] in self._images, "it was not built"
        (mount,) = options["-v"]
        volume, _, mounted = mount.partition(":")
        assert mounted == str(self._state), "nothing is kept anywhere else"
        kept = self._root / "volumes" / volume
        kept.mkdir(mode=0o700, parents=True, exist_ok=True)
        inside = environment | {"PUSHCERT_CONFIG": f"{kept}/config.toml"}
        told = [str(kept) if word == mounted else word for word in command[1:]] or image["CMD"]
        # A container has all ports to itself; here they are shared with whatever else runs.
        free = ["--port", "0"] if told[0] == "serve" else []
        whole = [*image["ENTRYPOINT"], *told, *free]
        if "-d" in options:
            self._begin(shlex.join(whole), whole, inside)
        else:
            self._run(whole, inside)

    def _run(self, command: Sequence[str], environment: dict[str, str]) -> None:
        done = subprocess.run(
            command, env=environment, cwd=self._state, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"

    def _begin(self, name: str, command: Sequence[str], environment: dict[str, str]) -> None:
        assert name not in self._running, f"{name} runs already"
        process = subprocess.Popen(
            command,
            env=environment,
            cwd=self._state,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._running[name] = process
        assert process.stdout is not None
        silent = threading.Timer(60, process.kill)
        silent.start()
        said = []
        for line in process.stdout:
            said.append(line)
            if RUNS.search(line):
                break
        else:
            raise AssertionError(f"{name} ended before it said that it runs\n{''.join(said)}")
        silent.cancel()

    def _end(self, name: str) -> None:
        process = self._running.pop(name)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
        assert process.returncode == 0, name


def _containerfile(file: Path) -> dict[str, list[str]]:
    text = file.read_text()
    return {
        what: re.findall(r'"([^"]+)"', re.findall(rf"^{what} (\[.+\])$", text, re.MULTILINE)[-1])
        for what in ("ENTRYPOINT", "CMD")
    }


def _options(words: list[str]) -> tuple[dict[str, list[str]], list[str]]:
    found: dict[str, list[str]] = {}
    while words[0].startswith("-"):
        name = words.pop(0)
        assert name in OPTIONS_OF_RUN, f"does podman run know {name}?"
        found[name] = [words.pop(0) for _ in range(OPTIONS_OF_RUN[name])]
    return found, words


def on_the_path(*folders: Path) -> str:
    """The search path with these before everything, and the tests' own pushcert after them."""
    theirs = str(Path(sys.executable).parent)
    return os.pathsep.join([*map(str, folders), theirs, os.environ["PATH"]])
