"""The machines of a distributed rehearsal: a directory and a process each."""

from __future__ import annotations

import base64
from pathlib import Path

from lifecycle.config import CONFIG_NAME
from lifecycle.errors import InternalFault
from lifecycle.rehearsal.children import Child, Program


class InstanceMachine:
    """The machine that a customer's instance runs on. It can be switched off and on again.

    Args:
        slug: the customer's.
        directory: made; config.toml, the vault and the log are in it.
        config: the text of config.toml.
        clock: the file of the lab's clock.
    """

    def __init__(self, slug: str, directory: Path, config: str, clock: Path) -> None:
        self.slug = slug
        self.directory = directory
        directory.mkdir(mode=0o700, parents=True)
        file = directory / CONFIG_NAME
        file.write_text(config)
        self._program = Program("instance", file, clock, directory / "instance.log")
        self._child: Child | None = None
        self._joining = False

    @property
    def is_on(self) -> bool:
        """True while its process runs."""
        return self._child is not None

    @property
    def vault(self) -> Path:
        """Where its vault is."""
        return self.directory / "instance"

    def on(self) -> None:
        """Starts its process; does not wait until it is up."""
        if self._child is None:
            self._child = Child(self._program)

    def let_go(self) -> None:
        """Lets its process end; ``off`` waits for that."""
        if self._child is not None:
            self._child.let_go()

    def off(self) -> None:
        """Ends its process."""
        child, self._child = self._child, None
        if child is not None:
            child.end()

    def enrol(self, code: str) -> None:
        """Somebody there types the code of an invitation in; ``settled`` tells how it went."""
        self._running.tell("enrol", code=code)
        self._joining = True

    def settled(self) -> None:
        """Waits for the end of ``enrol``. Raises ``Refused``, ``Unavailable``."""
        if self._joining:
            self._joining = False
            self._running.answer()

    def tell_to_ask(self) -> None:
        """Lets it do its next round; ``heard`` must follow."""
        self.settled()
        self._running.tell("ask")

    def heard(self) -> list[str]:
        """What its log says about the round: events, and codes with those that warn."""
        return list(self._running.answer()["events"])

    def upload(self, data: bytes) -> tuple[str, str | None]:
        """Topic and setback. Raises ``Refused``, ``Unavailable``."""
        self.settled()
        said = self._running.ask("upload", file=base64.b64encode(data).decode())
        return said["topic"], said["setback"]

    def take_in(self, token_update: bytes) -> None:
        """A device's message reaches it."""
        self.settled()
        self._running.ask("devices", file=base64.b64encode(token_update).decode())

    @property
    def _running(self) -> Child:
        if self._child is None:
            raise InternalFault(f"The machine of {self.slug} is off.")
        return self._child


class VendorMachine:
    """The vendor's machine: ``serve`` and ``run``, two processes on one directory.

    Args:
        directory: with config.toml and a migrated database.
        clock: the file of the lab's clock.
    """

    def __init__(self, directory: Path, clock: Path) -> None:
        self.directory = directory
        file = directory / CONFIG_NAME
        self._serve_program = Program("serve", file, clock, directory / "serve.log")
        self._serve = Child(self._serve_program)
        try:
            self._run = Child(Program("run", file, clock, directory / "run.log"))
        except BaseException:
            self._serve.end()
            raise

    def port(self) -> int:
        """Where ``serve`` listens; waits until it does. Once for each start of it."""
        return int(str(self._serve.answer()["url"]).rpartition(":")[2])

    def tick(self) -> None:
        """``run`` does what is owed. Raises ``InternalFault`` if it met a defect."""
        defects = self._run.ask("tick")["defects"]
        if defects:
            raise InternalFault(f"Defects met by the worker: {'; '.join(defects)}.")

    def lose_server(self) -> None:
        """Kills ``serve`` (SIGKILL) and starts another; ``port`` must follow."""
        self._serve.kill()
        self._serve = Child(self._serve_program)

    @property
    def pids(self) -> dict[str, int]:
        """The numbers of its processes, by what they are."""
        return {"serve": self._serve.pid, "run": self._run.pid}

    def off(self) -> None:
        """Ends both."""
        try:
            self._serve.end()
        finally:
            self._run.end()
