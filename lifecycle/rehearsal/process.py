"""The processes of a rehearsal: a vendor's two and a customer's one, as they run in production.

    python -m lifecycle.rehearsal.process serve|run|instance --config FILE --clock FILE

Each is put together as ``pushcert serve``, ``pushcert run`` and ``pushcert instance run`` put
theirs together; but the clock is the lab's, and the waits are the rehearsal's: a process does
its next round when it is told to, by a line on stdin, and says on stdout that it has. It ends
when stdin does, so none of them outlives whoever started it.
"""

from __future__ import annotations

import base64
import json
import os
import random
import signal
import sys
import threading
from argparse import ArgumentParser
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lifecycle.config import Config, load_config
from lifecycle.errors import Refused, Unavailable
from lifecycle.lab.clock import FileClock
from lifecycle.log_lines import configure

if TYPE_CHECKING:
    from structlog.typing import EventDict, WrappedLogger

    from lifecycle.standalone import Standalone

Command = dict[str, Any]


def main(arguments: list[str]) -> None:
    """Runs one process until its stdin ends (``serve``: or SIGTERM)."""
    parser = ArgumentParser(prog="python -m lifecycle.rehearsal.process")
    parser.add_argument("role", choices=("serve", "run", "instance"))
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--clock", type=Path, required=True)
    given = parser.parse_args(arguments)
    config, clock = load_config(given.config), FileClock(given.clock)
    match given.role:
        case "serve":
            serve(config, clock)
        case "run":
            run(config, clock)
        case _:
            instance(config, clock)


def serve(config: Config, clock: FileClock) -> None:
    """As ``pushcert serve``; prints the same line when it is ready."""
    from lifecycle.serve.app import build_app
    from lifecycle.serve.listen import announce, listen
    from lifecycle.serve.served import Served, listening
    from lifecycle.vendor.migrations import require_current

    def end_with_stdin() -> None:
        sys.stdin.read()
        os.kill(os.getpid(), signal.SIGTERM)

    configure()
    with Served(config, clock) as served:
        require_current(served.database.engine)
        threading.Thread(target=end_with_stdin, daemon=True).start()
        listen(build_app(served), listening(config), ready=announce)


def run(config: Config, clock: FileClock) -> None:
    """As ``pushcert run``; ``{"do": "tick"}`` stands for the scheduler's interval."""
    from lifecycle.scheduler import look
    from lifecycle.turns import one_run
    from lifecycle.vendor.migrations import require_current
    from lifecycle.vendor_plane import VendorPlane

    configure()
    with VendorPlane(config, clock) as plane, one_run(config):
        require_current(plane.database.engine)
        for _ in _commands():
            done = look(plane)
            _answer(
                {
                    "customers": done.work.customers,
                    "faults": done.work.faults,
                    "defects": done.work.defects,
                }
            )


def instance(config: Config, clock: FileClock) -> None:
    """As ``pushcert instance run``, and what a person does beside it: see ``_Instance``."""
    from lifecycle.asking import ask_until_stopped
    from lifecycle.standalone import Standalone

    with Standalone(config, clock, sleep=_no_wait) as alone:
        told = _Instance(alone)
        configure(told.note)
        if not told.wait(0):
            ask_until_stopped(alone, told.wait, random.SystemRandom(), told.asked)


class _Instance:
    """An instance that is told when to ask; in between, people do this and that to it.

    ``ask`` goes on with the loop of ``instance run`` for one round. ``enrol`` (``code``),
    ``upload`` (``file``), ``devices`` (``file``) and ``rotate`` are the commands of that name.
    """

    def __init__(self, alone: Standalone) -> None:
        self._alone = alone
        self._commands = _commands()
        self._events: list[str] = []

    def wait(self, seconds: float) -> bool:  # noqa: ARG002  (the rehearsal says how long)
        """In the place of a wait: True when it is enough."""
        for command in self._commands:
            if command["do"] == "ask":
                return False
            try:
                _answer(self._done(command))
            except Refused as refused:
                _answer({"refused": [[f.code, f.message, f.remedy] for f in refused.findings]})
            except Unavailable as fault:
                _answer({"unavailable": str(fault)})
        return True

    def asked(self) -> None:
        """A round is over; tells what the log says about it."""
        events, self._events = self._events, []
        _answer({"events": events})

    def note(self, _logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
        """Sees what is logged."""
        if method in ("warning", "error", "exception", "critical"):
            codes = event.get("codes") or [event.get("code", "")]
            self._events.append(f"{event['event']} {' '.join(codes)}".strip())
        else:
            self._events.append(str(event["event"]))
        return event

    def _done(self, command: Command) -> Command:
        alone = self._alone
        match command["do"]:
            case "enrol":
                alone.make_vault()
                return {"customer": alone.enrol(command["code"]).customer}
            case "upload":
                outcome = alone.upload(base64.b64decode(command["file"]))
                setback = None if outcome.setback is None else outcome.setback.message
                return {"topic": str(outcome.certificate.topic), "setback": setback}
            case "devices":
                with alone.vault() as vault:
                    vault.import_devices(base64.b64decode(command["file"]), alone.clock.now())
                return {}
            case "rotate":
                return {"credential": alone.change_keys()}
            case other:
                raise ValueError(f"nothing is known of '{other}'")


def _commands() -> Iterator[Command]:
    for line in sys.stdin:
        yield json.loads(line)


def _answer(document: Command) -> None:
    print(json.dumps(document), flush=True)


def _no_wait(_seconds: float) -> None:
    """Between attempts to reach the vendor nothing would change: time stands still."""


if __name__ == "__main__":
    main(sys.argv[1:])
