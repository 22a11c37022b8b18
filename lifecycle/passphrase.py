"""Where a passphrase comes from: an environment variable, a file or a command.

Never a command-line argument: those are seen by every user of the machine and kept in shell
histories. Shared by the vendor's signer and the instance's vault. No passphrase, and nothing
a command printed, ever appears in an error, a log or a ``repr``.
"""

from __future__ import annotations

import os
import shlex
import stat
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from lifecycle.errors import refuse
from lifecycle.secret_bytes import SecretBytes

MAX_PASSPHRASE_BYTES = 4096
COMMAND_TIMEOUT_SECONDS = 30.0
CREDENTIALS = "CREDENTIALS_DIRECTORY"
"""Set by systemd for a service with ``LoadCredential=``: the folder of its credentials
(systemd.exec(5)). No other variable is looked at in a path."""


@dataclass(frozen=True, slots=True)
class FromEnvironment:
    """The passphrase is the value of an environment variable."""

    variable: str


@dataclass(frozen=True, slots=True)
class FromFile:
    """The passphrase is the content of a file that only its owner can read."""

    path: Path


@dataclass(frozen=True, slots=True)
class FromCommand:
    """The passphrase is what a command prints, e.g. ``pass show pushcert``; no shell is used."""

    command: str


@dataclass(frozen=True, slots=True)
class Held:
    """A passphrase this process already holds: resolved once for many vaults, or typed in."""

    value: bytes = field(repr=False)


PassphraseSource = FromEnvironment | FromFile | FromCommand | Held


def parse_source(text: str) -> PassphraseSource:
    """A source as the configuration writes it: ``env:NAME``, ``file:PATH`` or ``command:…``.

    A path may begin with ``$CREDENTIALS_DIRECTORY``: what systemd loaded for this service.

    Raises:
        Refused: ``passphrase_source_unknown``; the text is not repeated, because it may be
            the passphrase itself.
    """
    kind, _, rest = text.strip().partition(":")
    rest = rest.strip()
    if rest:
        match kind:
            case "env":
                return FromEnvironment(rest)
            case "file":
                return FromFile(_credential(rest) or _from_home(rest))
            case "command":
                return FromCommand(rest)
    raise refuse(
        "passphrase_source_unknown",
        "The setting for a passphrase does not name a source.",
        "Write env:NAME, file:PATH or command:PROGRAM ARGUMENTS; not the passphrase itself.",
    )


def _credential(path: str) -> Path | None:
    """A path below systemd's folder, or None for any other; outside a service it stays as it is,
    and the file is missing."""
    name = path.removeprefix(f"${CREDENTIALS}/")
    folder = os.environ.get(CREDENTIALS)
    return None if name == path or folder is None else Path(folder) / name


def _from_home(path: str) -> Path:
    """``~`` is the user's folder; where there is no such user it stays, and the file is missing."""
    try:
        return Path(path).expanduser()
    except (RuntimeError, ValueError):  # ValueError: a NUL in the name
        return Path(path)


def resolve(source: PassphraseSource | None) -> SecretBytes | None:
    """The passphrase, without the line end that editors and commands put behind it.

    Args:
        source: where it comes from; None means that there is none.

    Returns:
        The passphrase, never empty; None only if ``source`` is None.

    Raises:
        Refused: ``passphrase_missing``, ``passphrase_file_too_open``,
            ``passphrase_command_failed``, ``passphrase_too_long``.
    """
    match source:
        case None:
            return None
        case Held(value):
            where, found = "The passphrase that was given", value
        case FromEnvironment(variable):
            where, found = f"The environment variable {variable}", _environment(variable)
        case FromFile(path):
            where, found = f"The file {path}", _file(path)
        case FromCommand(command):
            where, found = "What the passphrase command printed", _command(command)
    return SecretBytes(_checked(where, found))


def _checked(where: str, found: bytes) -> bytes:
    if len(found) > MAX_PASSPHRASE_BYTES:
        raise refuse(
            "passphrase_too_long",
            f"{where} is longer than {MAX_PASSPHRASE_BYTES} bytes.",
            "Check that the source holds the passphrase and nothing else.",
        )
    passphrase = found.removesuffix(b"\n").removesuffix(b"\r")
    if not passphrase:
        raise refuse("passphrase_missing", f"{where} is empty.", "Put the secret there.")
    return passphrase


def _environment(variable: str) -> bytes:
    value = os.environb.get(os.fsencode(variable))
    if value is None:
        raise refuse(
            "passphrase_missing",
            f"The environment variable {variable} is not set.",
            f"Set {variable} where pushcert is started.",
        )
    return value


def _file(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            if mode & 0o077 and not _is_credential(path):
                raise refuse(
                    "passphrase_file_too_open",
                    f"{path} can be read by others (mode {mode:04o}).",
                    f"chmod 0600 {shlex.quote(str(path))}",
                )
            return file.read(MAX_PASSPHRASE_BYTES + 3)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        why = error.strerror if isinstance(error, OSError) else "there is no such path"
        raise refuse(
            "passphrase_missing",
            f"The passphrase file {path} cannot be read ({why}).",
            "Create it with mode 0600, or name the right file.",
        ) from None


def _is_credential(path: Path) -> bool:
    # Where systemd lets the service's user in by an ACL, the mode shows the ACL's mask as the
    # group's rights (0440), though nobody else can read the file.
    folder = os.environ.get(CREDENTIALS)
    return folder is not None and path.parent == Path(folder)


def _command(command: str) -> bytes:
    # What the command printed stays out of every error: it may be the passphrase, or half.
    try:
        words = shlex.split(command)
        done = subprocess.run(  # noqa: S603 - the operator's own command, without a shell
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=COMMAND_TIMEOUT_SECONDS,
            check=True,
        )
    except (OSError, ValueError, IndexError):
        why = "could not be started"
    except subprocess.TimeoutExpired:
        why = f"did not finish within {COMMAND_TIMEOUT_SECONDS:.0f} s"
    except subprocess.CalledProcessError as error:
        why = f"ended with status {error.returncode}"
    else:
        return done.stdout
    raise refuse(
        "passphrase_command_failed",
        f"The passphrase command {why}.",
        "Run it by hand as the user that runs pushcert and see what it says.",
    ) from None
