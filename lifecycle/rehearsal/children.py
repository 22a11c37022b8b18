"""The processes of a rehearsal, as their parent holds them: told by lines, ended whatever comes."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from lifecycle.errors import Finding, InternalFault, Refused, Unavailable

ANSWER_SECONDS = 300
"""Nothing takes as long, however busy the machine is; what does has hung."""
END_SECONDS = 20


@dataclass(frozen=True, slots=True)
class Program:
    """What a child runs.

    Attributes:
        role: ``serve``, ``run`` or ``instance``; see ``lifecycle.rehearsal.process``.
        config, clock: files.
        log: where its stderr goes, appended.
    """

    role: str
    config: Path
    clock: Path
    log: Path

    @property
    def arguments(self) -> list[str]:
        """The command line; no secret is in it."""
        return [
            sys.executable,
            "-m",
            "lifecycle.rehearsal.process",
            self.role,
            "--config",
            str(self.config),
            "--clock",
            str(self.clock),
        ]


class Child:
    """A running child. Whoever starts one must ``end`` it.

    Its stdin is a pipe from this process alone, so that it ends with us even if we are killed.

    Args:
        program: what it runs.
        environment: added to ours.
    """

    def __init__(self, program: Program, environment: Mapping[str, str] | None = None) -> None:
        self.program = program
        with _appended(program.log) as log:
            self._process = subprocess.Popen(  # noqa: S603  (this very program)
                program.arguments,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env={**os.environ, **(environment or {})},
                start_new_session=True,  # Ctrl-C is for the parent, which ends its children
            )
        self._stdin, self._stdout = _both(self._process)
        self._lines: queue.Queue[bytes] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    @property
    def pid(self) -> int:
        """The number of its process."""
        return self._process.pid

    def ask(self, do: str, **more: str) -> dict[str, Any]:
        """Tells it something and waits for the answer; raises as ``answer``."""
        self.tell(do, **more)
        return self.answer()

    def tell(self, do: str, **more: str) -> None:
        """Tells it something; ``answer`` must be called for it once."""
        line = json.dumps({"do": do, **more}).encode() + b"\n"
        try:
            self._stdin.write(line)
            self._stdin.flush()
        except BrokenPipeError:
            raise self._fault("has ended") from None

    def answer(self) -> dict[str, Any]:
        """The next line that it says.

        Raises:
            Refused, Unavailable: what it was told to do was met with that.
            InternalFault: it has ended or does not answer; with the end of its log.
        """
        try:
            line = self._lines.get(timeout=ANSWER_SECONDS)
        except queue.Empty:
            raise self._fault("does not answer") from None
        if not line:
            raise self._fault("has ended")
        said: dict[str, Any] = json.loads(line)
        if "refused" in said:
            raise Refused(Finding(*finding) for finding in said["refused"])
        if "unavailable" in said:
            raise Unavailable(said["unavailable"])
        return said

    def kill(self) -> None:
        """Kills it (SIGKILL), as a machine does that loses its power."""
        self._process.kill()
        self._process.wait()
        self.let_go()

    def let_go(self) -> None:
        """Lets it finish what it has in hand, and end; ``end`` waits for that."""
        with suppress(BrokenPipeError):  # it has ended by itself
            self._stdin.close()

    def end(self) -> None:
        """Lets it go and waits; kills it if it does not end."""
        self.let_go()
        try:
            self._process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _read(self) -> None:
        with self._stdout as lines:
            for line in lines:
                self._lines.put(line)
        self._lines.put(b"")

    def _fault(self, what: str) -> InternalFault:
        last = self.program.log.read_text(errors="replace").splitlines()[-12:]
        return InternalFault(f"The {self.program.role} process {what}:\n" + "\n".join(last))


def _both(process: subprocess.Popen[bytes]) -> tuple[IO[bytes], IO[bytes]]:
    if process.stdin is None or process.stdout is None:
        raise TypeError("a process without pipes")
    return process.stdin, process.stdout


def _appended(path: Path) -> IO[bytes]:
    descriptor = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
    return os.fdopen(descriptor, "ab")
