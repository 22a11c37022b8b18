"""``doctor``: everything that a healthy deployment needs, one finding for each fault."""

from __future__ import annotations

import shutil
import socket
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from sqlmodel import col, func, select

from lifecycle.config import Config
from lifecycle.embedded import Embedded
from lifecycle.errors import PushcertError
from lifecycle.evidence_key import load_evidence_key
from lifecycle.secret import secret_source
from lifecycle.vendor.audit import verify_log
from lifecycle.vendor.facts import OPEN_STATES
from lifecycle.vendor.migrations import HEAD, current_revision
from lifecycle.vendor.models import Bounce, Customer, Renewal
from lifecycle.vendor.template_check import check_templates
from lifecycle.vendor.undelivered import failing

SOON = timedelta(days=45)
OVERDUE = timedelta(days=1)
"""A scheduler that is at work leaves nothing undone for so long."""
STUCK_AFTER = timedelta(days=2)
LITTLE_ROOM = 256 * 2**20


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """One line of the doctor's: what was looked at, whether it is well, and the remedy.

    Attributes:
        notice: it is no fault, and somebody should know it; ``well`` is True then.
    """

    what: str
    well: bool
    message: str
    remedy: str = ""
    notice: bool = False


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
    yield from _registry(embedded, now)
    yield from _evidence_key(config)
    yield from _templates(config)
    yield _room(config)
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


def _registry(embedded: Embedded, now: datetime) -> Iterator[Diagnosis]:
    """What the registry says about the deployment: nothing ticks, mail bounces, nobody knows."""
    with embedded.database.reading() as session:
        waiting = session.exec(
            select(func.min(Customer.next_action_at)).where(col(Customer.next_action_at) <= now)
        ).one()
        bounces = session.exec(select(Bounce).order_by(col(Bounce.address))).all()
        unknown = session.exec(
            select(func.count())
            .select_from(Customer)
            .where(col(Customer.apple_account).is_(None), col(Customer.offboarded_at).is_(None))
        ).one()
        stuck = session.exec(
            select(func.count())
            .select_from(Renewal)
            .where(
                col(Renewal.state).in_(OPEN_STATES),
                col(Renewal.blocked_at) < now - STUCK_AFTER,
            )
        ).one()
    if waiting is not None and waiting < now - OVERDUE:
        yield Diagnosis(
            "scheduler",
            False,
            f"what was due on {waiting:%Y-%m-%d %H:%M} UTC has not been looked at.",
            "Start `pushcert run`, or let a timer call `pushcert tick`.",
        )
    else:
        yield Diagnosis("scheduler", True, "nothing is overdue")
    for bounce in bounces:
        yield Diagnosis(
            "contacts",
            False,
            f"{bounce.address} has been refused since {bounce.at:%Y-%m-%d}: {bounce.why}",
            "Correct it with `pushcert customer edit SLUG --email ADDRESS` (or --remove-contact).",
        )
    if stuck:
        yield Diagnosis(
            "renewals",
            False,
            f"{stuck} have been held up for more than {STUCK_AFTER.days} days.",
            "See `pushcert report` for why, and who must act.",
        )
    if unknown:
        yield Diagnosis(
            "Apple Accounts",
            True,
            f"of {unknown} customers the Apple Account is not known.",
            "Find them with `pushcert report --who`; without it nobody can renew.",
            notice=True,
        )


def _evidence_key(config: Config) -> Iterator[Diagnosis]:
    path = config.path(config.evidence.key)
    if not path.exists():
        yield Diagnosis(
            "evidence key",
            False,
            f"there is no {path}, so isolation runs cannot be signed.",
            "Run `pushcert init`; it makes one.",
        )
        return
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        yield Diagnosis(
            "evidence key", False, f"{path} is open to others.", f"Run `chmod 600 '{path}'`."
        )
        return
    try:
        load_evidence_key(path, secret_source(config, config.evidence.passphrase))
    except PushcertError as error:
        yield Diagnosis(
            "evidence key", False, f"cannot be loaded: {error}", "Restore it from its backup."
        )
    else:
        yield Diagnosis("evidence key", True, "can be loaded")


def _templates(config: Config) -> Iterator[Diagnosis]:
    if config.vendor.templates is None:
        return
    findings = check_templates(config.path(config.vendor.templates))
    for finding in findings:
        yield Diagnosis(
            "templates",
            not finding.refuses,
            finding.message,
            finding.remedy,
            notice=not finding.refuses,
        )
    if not findings:
        yield Diagnosis("templates", True, "your own templates give every letter")


def _room(config: Config) -> Diagnosis:
    free = shutil.disk_usage(config.base).free
    said = f"{free // 2**20} MiB are free in {config.base}"
    if free >= LITTLE_ROOM:
        return Diagnosis("disk", True, said)
    return Diagnosis("disk", False, f"only {said}.", "Make room: the database and vaults grow.")


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
