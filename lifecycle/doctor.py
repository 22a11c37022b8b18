"""``doctor``: everything that a healthy deployment needs, one finding for each fault."""

from __future__ import annotations

import shutil
import stat
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

from lifecycle.config import Config
from lifecycle.diagnosis import Diagnosis, of_fault
from lifecycle.doctor_reach import diagnose_reach
from lifecycle.doctor_records import diagnose_records
from lifecycle.embedded import Embedded
from lifecycle.errors import PushcertError
from lifecycle.evidence_key import load_evidence_key
from lifecycle.pki.certificates import certificate_name, parse_certificates
from lifecycle.pki.chain import complete_chain
from lifecycle.secret import secret_source
from lifecycle.vendor import store
from lifecycle.vendor.audit import verify_log
from lifecycle.vendor.migrations import HEAD, current_revision
from lifecycle.vendor.signer import SignerRecord
from lifecycle.vendor.template_check import check_templates
from lifecycle.wording import counted

SOON = timedelta(days=45)
LITTLE_ROOM = 256 * 2**20
AGAIN = "Import it again with `pushcert signer import --certificate FILE --key FILE`."


def diagnose(embedded: Embedded, now: datetime, *, network: bool = True) -> Iterator[Diagnosis]:
    """Looks at everything; never raises for a fault it can name.

    Args:
        embedded: the deployment, opened.
        now: aware UTC.
        network: also see whether APNs, the mail server and the channels can be used.
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
    yield from _log(embedded, now)
    yield from diagnose_records(embedded, now)
    yield from _evidence_key(config)
    yield from _templates(config)
    yield _room(config)
    if network:
        yield from diagnose_reach(config, embedded.gateway)
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
        yield of_fault("signer", error, AGAIN, "cannot be read: ")
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
            f"{text}, in {counted(max(left.days, 0), 'day')};"
            " requests cannot be signed after that.",
            "Get a new one from the developer portal and run `pushcert signer import`.",
        )
    else:
        yield Diagnosis("signer", True, f"{record.common_name}; {text}")
    try:
        embedded.signer.check_key()
    except (PushcertError, OSError) as error:
        yield of_fault("signing key", error, AGAIN, "cannot be loaded: ")
    else:
        yield _signing_key(embedded)
    yield _chain(embedded, record, now)


def _signing_key(embedded: Embedded) -> Diagnosis:
    """The key works here and now; what the worker last met may be another thing."""
    token = embedded.signer.token()
    where = "can be loaded" if token is None else "is in its token, can be used"
    said = f"{where} and fits the certificate"
    with embedded.database.reading() as session:
        signer = store.current_signer(session)
    if signer is None or signer.unavailable_since is None:
        return Diagnosis("signing key", True, said)
    return Diagnosis(
        "signing key",
        False,
        f"{said}; the worker could not use it since {signer.unavailable_since:%Y-%m-%d %H:%M} UTC"
        f" ({signer.unavailable_why}).",
        "Run `pushcert signer check`, and see that the worker has the same PIN and module.",
    )


def _chain(embedded: Embedded, record: SignerRecord, now: datetime) -> Diagnosis:
    """Whether the chain in force reaches a root that is trusted today; dates are the signer's."""
    leaf, *others = parse_certificates(record.chain_pem.encode())
    chain, findings = complete_chain(leaf, embedded.trust, others, at=now)
    if chain is None:
        wrong = " ".join(finding.message for finding in findings)
        return Diagnosis("chain", False, wrong, " ".join(f.remedy for f in findings) or AGAIN)
    ends = certificate_name(chain.certificates[-1])
    through = counted(len(chain.certificates), "certificate")
    return Diagnosis("chain", True, f"{through}, up to {ends}")


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


def _log(embedded: Embedded, now: datetime) -> Iterator[Diagnosis]:
    """The audit log is read once, for what it says and for the clock that it was written by."""
    with embedded.database.reading() as session:
        outcome = verify_log(session)
    last = outcome.last_at
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
    if outcome.problem is None:
        yield Diagnosis("audit log", True, f"{counted(outcome.entries, 'entry', 'entries')}, whole")
    else:
        yield Diagnosis(
            "audit log",
            False,
            f"is not whole: {outcome.problem}",
            "Find out who changed the database, and restore it from a backup.",
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
        yield of_fault("evidence key", error, "Restore it from its backup.", "cannot be loaded: ")
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
