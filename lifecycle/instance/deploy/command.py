"""A deploy target that is a command of the customer's own.

Everything it needs is in its environment; the key is not: it is behind a path there, of a file
descriptor or of a file with mode 0600 that is gone when the command ends. Nothing is ever in the
arguments, which every user of the machine can see.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from lifecycle.disk import disk_trouble
from lifecycle.errors import Refused, Unavailable, refuse
from lifecycle.instance.deploy.plan import About
from lifecycle.instance.deploy.sameness import require_same
from lifecycle.mdm_servers.server_certificate import ServerCertificate
from lifecycle.pki.pair import Form, Options, Pair, render
from lifecycle.pki.upload import read_upload

PASSED_ON = ("PATH", "HOME", "LANG", "TZ", "TMPDIR")
"""Of our own environment; the rest may hold secrets and is kept from the command."""
MAX_CHECK_BYTES = 1024 * 1024


class CommandStuck(Unavailable):
    """A deploy command did not end in its time, and was ended."""

    code = "deploy_command_stuck"


@dataclass(frozen=True)
class Command:
    """What is run.

    Attributes:
        deploy: the program and its arguments; no shell is between.
        check: a program that prints the certificate in use, as PEM; empty: the exit code of
            ``deploy`` is all there is.
        key_by_file: the key is behind the path of a file rather than of a file descriptor.
        environment: names of further variables of ours that are passed on.
        timeout: seconds.
        customer: its slug, for the environment.
    """

    deploy: tuple[str, ...]
    check: tuple[str, ...]
    key_by_file: bool
    environment: tuple[str, ...]
    timeout: float
    customer: str


class CommandTarget:
    """A ``Target`` that is a command.

    Args:
        about: what is known of it.
        command: what is run.
    """

    def __init__(self, about: About, command: Command) -> None:
        self._about = about
        self._command = command

    @property
    def about(self) -> About:
        """See ``Target.about``."""
        return self._about

    def deploy(self, pair: Pair) -> None:
        """See ``Target.deploy``.

        Raises:
            Refused: ``deploy_command_failed``, or as ``verify``.
            Unavailable: ``deploy_command_stuck``, ``disk_full``, ``disk_read_only``.
        """
        try:
            with tempfile.TemporaryDirectory(prefix="pushcert-") as folder:  # mode 0700
                self._run_with_files(Path(folder), pair)
        except OSError as error:
            why = f"could not be given its files ({error.strerror})"
            raise (
                disk_trouble(error, "The folder for temporary files")
                or self._failed(self._command.deploy, why)
            ) from None
        self.verify(pair)

    def verify(self, pair: Pair) -> None:
        """See ``Target.verify``.

        Raises:
            Refused: ``deploy_command_failed``, ``deploy_check_unreadable``,
                or as ``require_same``.
            Unavailable: ``deploy_command_stuck``.
        """
        if not self._command.check:
            return
        printed = self._run(self._command.check, self._environment(pair), printing=subprocess.PIPE)
        try:
            found = read_upload(printed).certificate
        except Refused as refused:
            raise refuse(
                "deploy_check_unreadable",
                f"What the check of “{self._about.name}” printed is no push certificate"
                f" ({refused.codes[0]}).",
                "Let it print the certificate that the server uses, as PEM, and nothing else.",
            ) from None
        require_same(
            ServerCertificate(str(found.topic), found.not_after, pem=found.pem),
            pair,
            f"The check of “{self._about.name}”",
        )

    def _run_with_files(self, folder: Path, pair: Pair) -> None:
        environment = {**self._environment(pair), **_public_files(folder, pair)}
        key = render(pair, Form.KEY, Options())
        with _key_path(folder, key, self._command.key_by_file) as (path, descriptor):
            environment["PUSHCERT_KEY"] = path
            self._run(self._command.deploy, environment, descriptor)

    def _environment(self, pair: Pair) -> dict[str, str]:
        names = (*PASSED_ON, *self._command.environment)
        ours = {name: os.environ[name] for name in names if name in os.environ}
        certificate = pair.certificate
        return ours | {
            "PUSHCERT_CUSTOMER": self._command.customer,
            "PUSHCERT_TARGET": self._about.name,
            "PUSHCERT_TOPIC": str(certificate.topic),
            "PUSHCERT_SERIAL": certificate.serial,
            "PUSHCERT_COMMON_NAME": certificate.common_name,
            "PUSHCERT_FINGERPRINT": certificate.fingerprint,
            "PUSHCERT_NOT_AFTER": certificate.not_after.isoformat(),
        }

    def _run(
        self,
        words: tuple[str, ...],
        environment: Mapping[str, str],
        descriptor: int | None = None,
        *,
        printing: int = subprocess.DEVNULL,
    ) -> bytes:
        # What it prints stays out of every error: it has the key, and may print it. A deploy
        # command may leave a server running, which would hold a pipe open: it gets none.
        try:
            process = subprocess.Popen(  # noqa: S603 - the operator's own command, no shell
                words,
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=printing,
                stderr=subprocess.DEVNULL,
                pass_fds=() if descriptor is None else (descriptor,),
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            raise self._failed(words, f"could not be started ({type(error).__name__})") from None
        try:
            printed, _ = process.communicate(timeout=self._command.timeout)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # and whatever it has started
            process.wait()
            raise CommandStuck(
                f"The command {words[0]} of “{self._about.name}” did not end within"
                f" {self._command.timeout:g} s.",
                "Run it by hand and see what it waits for, or raise timeout_seconds.",
            ) from None
        if process.returncode != 0:
            raise self._failed(words, f"ended with status {process.returncode}")
        return (printed or b"")[:MAX_CHECK_BYTES]

    def _failed(self, words: tuple[str, ...], why: str) -> Refused:
        return refuse(
            "deploy_command_failed",
            f"The command {words[0]} of “{self._about.name}” {why}.",
            "Let it write a log of its own, and see what it says there.",
        )


def _public_files(folder: Path, pair: Pair) -> dict[str, str]:
    found = {"PUSHCERT_CERTIFICATE": folder / "certificate.pem"}
    found["PUSHCERT_CERTIFICATE"].write_bytes(render(pair, Form.CERTIFICATE))
    if pair.intermediates:
        found["PUSHCERT_CHAIN"] = folder / "chain.pem"
        found["PUSHCERT_CHAIN"].write_bytes(render(pair, Form.CHAIN))
    return {name: str(path) for name, path in found.items()}


@contextlib.contextmanager
def _key_path(folder: Path, key: bytes, by_file: bool) -> Iterator[tuple[str, int | None]]:
    """The path under which the command finds the key, and the descriptor it must inherit."""
    if by_file or not hasattr(os, "memfd_create"):
        path = folder / "key.pem"
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(key)
        yield str(path), None
        return
    descriptor = os.memfd_create("pushcert-key")
    try:
        os.write(descriptor, key)
        yield f"/dev/fd/{descriptor}", descriptor
    finally:
        os.close(descriptor)
