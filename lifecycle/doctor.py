"""``doctor``: everything that a healthy deployment needs, one finding for each fault."""

from __future__ import annotations

import socket
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from lifecycle.config import Config
from lifecycle.embedded import Embedded
from lifecycle.errors import PushcertError
from lifecycle.vendor.audit import verify_log
from lifecycle.vendor.migrations import HEAD, current_revision
from lifecycle.vendor.outbox import failing

SOON = timedelta(days=45)


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """One line of the doctor's: what was looked at, whether it is well, and the remedy."""

    what: str
    well: bool
    message: str
    remedy: str = ""


def diagnose(embedded: Embedded, now: datetime, *, network: bool = True) -> Iterator[Diagnosis]:
    """Looks at everything; never raises for a fault it can name.

    Args:
        embedded: the deployment, opened.
        now: aware UTC.
        network: also see whether APNs and the mail server can be reached.
    """
    config = embedded.config
    yield Diagnosis("configuration", True, f"read from {config.base}")
    revision = current_revision(embedded.database.engine)
    if revision != HEAD:
        yield Diagnosis(
            "database", False, f"is at revision {revision}, not {HEAD}.", "Run `pushcert init`."
        )
        return
    yield Diagnosis("database", True, f"is at revision {HEAD}")
    yield from _signer(embedded, now)
    yield from _permissions(config)
    yield from _clock(embedded, now)
    yield from _audit(embedded)
    yield from _outbox(embedded)
    if network:
        yield _reachable("APNs", config.apns.host, config.apns.port)
        if config.smtp.host is not None:
            yield _reachable("mail server", config.smtp.host, config.smtp.port)
    if not config.vendor.ops:
        yield Diagnosis(
            "vendor ops",
            False,
            "no address is configured, so nobody hears of breaches and a lapsing signer.",
            "Set vendor.ops in config.toml.",
        )
    if config.smtp.host is None:
        yield Diagnosis(
            "mail server",
            False,
            "none is configured, so nobody is reminded.",
            "Set smtp.host in config.toml.",
        )


def _signer(embedded: Embedded, now: datetime) -> Iterator[Diagnosis]:
    try:
        record = embedded.signer.current()
    except (PushcertError, OSError) as error:
        yield Diagnosis("signer", False, f"cannot be read ({error}).", "Import it again.")
        return
    if record is None:
        yield Diagnosis(
            "signer",
            False,
            "there is no MDM signing certificate.",
            "Run `pushcert signer import --certificate FILE --key FILE`.",
        )
        return
    left = record.not_after - now
    text = f"{record.expires_first} ends on {record.not_after:%Y-%m-%d}"
    if left <= SOON:
        yield Diagnosis(
            "signer",
            False,
            f"{text}, in {max(left.days, 0)} days; requests cannot be signed after that.",
            "Get a new one from the developer portal and run `pushcert signer import`.",
        )
    else:
        yield Diagnosis("signer", True, f"{record.common_name}; {text}")
    try:
        embedded.signer.check_key()
    except (PushcertError, OSError) as error:
        yield Diagnosis("signing key", False, f"cannot be loaded: {error}", "Import it again.")
    else:
        yield Diagnosis("signing key", True, "can be loaded and fits the certificate")


def _permissions(config: Config) -> Iterator[Diagnosis]:
    loose = [
        path
        for folder in (config.path(config.signer.directory), config.path(config.vault.directory))
        for path in _private_paths(folder)
        if path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO)
    ]
    if not loose:
        yield Diagnosis("permissions", True, "keys and vaults are readable by their owner only")
    for path in loose:
        yield Diagnosis(
            "permissions",
            False,
            f"{path} is open to others.",
            f"Run `chmod {'700' if path.is_dir() else '600'} '{path}'`.",
        )


def _private_paths(folder: Path) -> Iterator[Path]:
    if folder.exists():
        yield folder
        yield from folder.rglob("*")


def _clock(embedded: Embedded, now: datetime) -> Iterator[Diagnosis]:
    with embedded.database.reading() as session:
        last = verify_log(session).last_at
    if last is not None and last > now + timedelta(minutes=5):
        yield Diagnosis(
            "clock",
            False,
            f"the host says {now:%Y-%m-%d %H:%M} UTC, yet the audit log goes on to"
            f" {last:%Y-%m-%d %H:%M}.",
            "Set the host's clock (NTP) before anything is sent or signed.",
        )
    else:
        yield Diagnosis("clock", True, f"{now:%Y-%m-%d %H:%M} UTC")


def _audit(embedded: Embedded) -> Iterator[Diagnosis]:
    with embedded.database.reading() as session:
        outcome = verify_log(session)
    if outcome.problem is None:
        yield Diagnosis("audit log", True, f"{outcome.entries} entries, whole")
    else:
        yield Diagnosis(
            "audit log",
            False,
            f"is not whole: {outcome.problem}",
            "Find out who changed the database, and restore it from a backup.",
        )


def _outbox(embedded: Embedded) -> Iterator[Diagnosis]:
    with embedded.database.reading() as session:
        stuck = failing(session)
    if not stuck:
        yield Diagnosis("outbox", True, "nothing is stuck")
    for row in stuck:
        yield Diagnosis(
            "outbox",
            False,
            f"'{row.subject}' to {', '.join(row.recipients)} failed {row.attempts} times"
            f" ({row.last_error}).",
            "Check the address and the mail server; it is tried again by itself.",
        )


def _reachable(what: str, host: str, port: int) -> Diagnosis:
    try:
        with socket.create_connection((host, port), timeout=5):
            return Diagnosis(what, True, f"{host}:{port} can be reached")
    except OSError as error:
        return Diagnosis(
            what,
            False,
            f"{host}:{port} cannot be reached ({error.strerror or error}).",
            "Open the firewall for outbound connections, or mend the address in config.toml.",
        )
