"""What one run of the command line was given, and how it shows what it found."""

from __future__ import annotations

import json
import os
import stat
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO

import typer

from lifecycle.errors import Refused, refuse

if TYPE_CHECKING:
    from rich.console import Console

    from lifecycle.config import Config
    from lifecycle.embedded import Embedded
    from lifecycle.errors import Finding
    from lifecycle.vendor_plane import VendorPlane
    from lifecycle.vendor_side import VendorSide

MAX_FILE = 20 * 1024 * 1024
"""No certificate, CSR or key is anywhere near this size."""
MAX_LIST = 1024 * 1024 * 1024
"""Nor is a list of ten million customers."""
PIECE = 2**20
"""Bytes of a file that are read together."""

NOBODY_SIGNED_IN = 2**32 - 1
"""The login uid of a process that did not begin with somebody signing in (credentials(7))."""

AsJson = Annotated[bool, typer.Option("--json", help="One JSON document on stdout, no more.")]


@dataclass(frozen=True, slots=True)
class Invocation:
    """The shared options, and what commands open by them."""

    config_option: Path | None
    debug: bool

    @property
    def config_file(self) -> Path:
        """The configuration file that this run uses."""
        from lifecycle.config import CONFIG_VARIABLE, find_config

        return find_config(self.config_option, os.environ.get(CONFIG_VARIABLE))

    def config(self) -> Config:
        """The configuration. Raises ``Refused`` when it is missing or wrong."""
        from lifecycle.config import load_config

        return load_config(self.config_file)

    @contextmanager
    def vendor_side(self) -> Iterator[VendorSide]:
        """The vendor's plane, on the configured database. Raises ``Refused``, ``Unavailable``."""
        from lifecycle.clock import SystemClock
        from lifecycle.vendor.migrations import require_current
        from lifecycle.vendor_side import VendorSide

        config = self.config()
        with VendorSide(config, SystemClock()) as side:
            require_current(side.database.engine)
            yield side

    @contextmanager
    def vendor_plane(self) -> Iterator[VendorPlane]:
        """The vendor's plane with its signer; with the embedded instances where there are any.

        Raises ``Refused``, ``Unavailable``.
        """
        from lifecycle.clock import SystemClock
        from lifecycle.vendor.migrations import require_current

        config = self.config()
        configure_log()
        if config.vendor.instances == "distributed":
            from lifecycle.vendor_plane import VendorPlane

            plane = VendorPlane(config, SystemClock())
        else:
            from lifecycle.embedded import Embedded

            plane = Embedded(config, SystemClock())
        with plane:
            require_current(plane.database.engine)
            yield plane

    @contextmanager
    def embedded(self) -> Iterator[Embedded]:
        """Both planes, opened on the configured database. Raises ``Refused``, ``Unavailable``."""
        from lifecycle.clock import SystemClock
        from lifecycle.embedded import Embedded
        from lifecycle.vendor.migrations import require_current

        config = self.config()
        configure_log()
        with Embedded(config, SystemClock()) as embedded:
            require_current(embedded.database.engine)
            yield embedded


def invocation(ctx: typer.Context) -> Invocation:
    """The invocation of the running command."""
    found = ctx.find_root().obj
    if not isinstance(found, Invocation):
        raise TypeError("the command was run without its root")
    return found


def actor() -> str:
    """Who runs the command, for the audit log.

    The kernel remembers who signed in, also behind ``sudo`` (its login uid), and lets nobody
    change it; where it knows nobody (containers, cron), the environment says.
    """
    import getpass

    signed_in = _signed_in()
    if signed_in is not None:
        return f"operator:{signed_in}"
    try:
        return f"operator:{getpass.getuser()}"
    except (KeyError, OSError):
        return f"operator:uid {os.getuid()}"


def _signed_in() -> str | None:
    import pwd

    try:
        number = int(Path("/proc/self/loginuid").read_text())
        return None if number == NOBODY_SIGNED_IN else pwd.getpwuid(number).pw_name
    except (OSError, ValueError, KeyError):
        return None


def read_file(path: Path, most: int = MAX_FILE) -> bytes:
    """The bytes of a file that a person named, or of standard input for ``-``.

    Args:
        most: how many bytes it may have.

    Raises:
        Refused: it cannot be read or is far too large to be what it should be.
    """
    if str(path) == "-":
        data = sys.stdin.buffer.read(most + 1)
    else:
        try:
            with path.open("rb") as file:
                data = file.read(most + 1)
        except OSError as error:
            raise _unreadable(path, error) from None
    if len(data) > most:
        raise _too_large(path, most)
    return data


@contextmanager
def opened_file(path: Path, most: int) -> Iterator[BinaryIO]:
    """The same of a file that is read bit by bit, as often as wanted.

    What gives its bytes only once (standard input, a pipe) is copied to a file that has no name.

    Raises:
        Refused: as ``read_file``.
        Unavailable: the disk is full or read-only.
    """
    if str(path) == "-":
        with _copied(path, sys.stdin.buffer, most) as copy:
            yield copy
        return
    try:
        file = path.open("rb")
    except OSError as error:
        raise _unreadable(path, error) from None
    with file:
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode):
            with _copied(path, file, most) as copy:
                yield copy
        elif found.st_size > most:
            raise _too_large(path, most)
        else:
            yield file


@contextmanager
def _copied(path: Path, source: BinaryIO, most: int) -> Iterator[BinaryIO]:
    from lifecycle.disk import naming_disk_trouble
    from lifecycle.spool import temporary_file, temporary_folder

    left = most
    with temporary_file() as copy:
        try:
            with naming_disk_trouble(temporary_folder()):
                while piece := source.read(PIECE):
                    left -= len(piece)
                    if left < 0:
                        raise _too_large(path, most)
                    copy.write(piece)
                copy.flush()
        except OSError as error:
            raise _unreadable(path, error) from None
        yield copy


def _unreadable(path: Path, error: OSError) -> Refused:
    return refuse(
        "file_unreadable",
        f"{path} cannot be read ({error.strerror}).",
        "Check the path and the permissions.",
    )


def _too_large(path: Path, most: int) -> Refused:
    return refuse(
        "file_too_large",
        f"{path} is larger than {most // 2**20} MiB; nothing of this kind is.",
        "Pick the right file.",
    )


def write_file(path: Path, data: bytes, mode: int = 0o644) -> None:
    """Writes a file whole or not at all (a rename), with its mode right from the start.

    Raises:
        Refused: the folder cannot be written to.
    """
    write_pieces(path, (data,), mode)


def write_pieces(path: Path, pieces: Iterable[bytes], mode: int = 0o644) -> None:
    """The same of a file that is never whole in memory."""
    new = path.with_name(f".{path.name}.new")
    try:
        descriptor = os.open(new, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, mode)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.writelines(pieces)
            new.replace(path)
        except BaseException:
            new.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise refuse(
            "file_unwritable",
            f"{path} cannot be written ({error.strerror}).",
            "Choose another place with --out.",
        ) from None


def put_pieces(path: Path | None, pieces: Iterable[bytes]) -> None:
    """Writes a file as ``write_pieces`` does, or, where there is no path, to standard output."""
    if path is not None:
        write_pieces(path, pieces)
        return
    sys.stdout.flush()
    for piece in pieces:
        sys.stdout.buffer.write(piece)


def print_json(document: Mapping[str, Any] | Sequence[Any]) -> None:
    """One JSON document on stdout."""
    print(json.dumps(document, indent=2, ensure_ascii=False, default=str))


def print_json_ending(document: Mapping[str, Any], name: str, items: Iterable[Any]) -> None:
    """The same of a document whose last value, under ``name``, is a list that is never whole in
    memory."""
    empty = json.dumps({**document, name: []}, indent=2, ensure_ascii=False, default=str)
    print(empty.removesuffix("[]\n}"), end="")
    for piece in json_list(items, "  "):
        print(piece, end="")
    print("\n}")


def json_list(items: Iterable[Any], indent: str = "") -> Iterator[str]:
    """A list as ``print_json`` writes it, which is never whole in memory."""
    before, line = "[", f"\n{indent}  "
    for item in items:
        text = json.dumps(item, indent=2, ensure_ascii=False, default=str)
        yield before + line + text.replace("\n", line)
        before = ","
    yield "[]" if before == "[" else f"\n{indent}]"


def console(*, stderr: bool = False) -> Console:
    """A console that respects NO_COLOR and non-terminals; 80 columns where it has no width."""
    from rich.console import Console

    return Console(stderr=stderr, highlight=False, soft_wrap=not sys.stdout.isatty())


def say_notes(findings: Sequence[Finding]) -> None:
    """Notes about an input that was used all the same, on stderr."""
    for finding in findings:
        if not finding.refuses:
            print(f"note: {finding} [{finding.code}]", file=sys.stderr)


def configure_log() -> None:
    """Log lines go to stderr, as key=value, without secrets (``lifecycle.redaction``)."""
    from lifecycle.log_lines import configure

    configure()
