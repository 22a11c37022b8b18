"""``backup`` and ``restore``: the vendor's registry, out of harm's way and back."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.backup_keys import IdentityFile, PassphraseFrom, Recipients, encryption_of, opener_of
from cli.invocation import AsJson, actor, console, invocation, print_json
from cli.progress import working
from cli.upkeep import as_document, print_diagnosis, require_health
from lifecycle.errors import AttentionNeeded
from lifecycle.wording import counted

if TYPE_CHECKING:
    from datetime import datetime

    from lifecycle.diagnosis import Diagnosis
    from lifecycle.registry_backup import BackedUp
    from lifecycle.registry_restore import Restored
    from lifecycle.vendor.lost_time import TakenAsSent

BEFORE_BACKUP = "backup"
NAMED = 20
"""So many customers are named on a terminal; ``--json`` has all."""


def register(app: typer.Typer) -> None:
    """Adds these commands to the command line."""
    app.command()(backup)
    app.command()(restore)


def backup(
    ctx: typer.Context,
    file: Annotated[Path, typer.Argument(help="Where the backup goes; mode 0600.")],
    recipients: Recipients = None,
    passphrase_from: PassphraseFrom = None,
    keys: Annotated[
        bool,
        typer.Option(
            "--with-keys",
            help="The MDM signing key and the evidence key as well, as they are on the disk.",
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Writes an encrypted backup of the vendor's side while everything runs, and verifies it.

    It holds the registry and config.toml, and nothing of a vault. Exit code 4 when the backup is
    written and the registry in it is not as it was written.

    Example: pushcert backup /mnt/backup/registry.age
    """
    from lifecycle.registry_backup import back_up

    opened = invocation(ctx)
    with opened.vendor_side() as side:
        encryption = encryption_of(side.config, recipients, passphrase_from)
        with working("Backing up"):
            made = back_up(side, opened.config_file, file, encryption, keys=keys)
    _say_made(made, file, as_json)
    if made.findings:
        said = " ".join(str(finding) for finding in made.findings)
        raise AttentionNeeded(f"The backup is written; what is in it is not in order. {said}")


def _say_made(made: BackedUp, file: Path, as_json: bool) -> None:
    about = made.manifest
    if as_json:
        print_json(
            {
                "file": str(file),
                "made_at": about.made_at.isoformat(),
                "revision": about.revision,
                "customers": about.counts.get("customer", 0),
                "audit_entries": about.counts.get("audit", 0),
                "audit_head": about.audit_head,
                "files": sorted(about.files),
                "verified": True,
                "findings": [
                    {"code": f.code, "message": f.message, "remedy": f.remedy}
                    for f in made.findings
                ],
            }
        )
        return
    out = console()
    customers = counted(about.counts.get("customer", 0), "customer")
    entries = counted(about.counts.get("audit", 0), "audit entry", "audit entries")
    out.print(f"Wrote {file}, and verified it: {customers}, {entries}.", markup=False)
    out.print(f"Newest hash of the audit log: {about.audit_head}", markup=False)


def restore(
    ctx: typer.Context,
    file: Annotated[Path, typer.Argument(help="What `backup` wrote.")],
    identity: IdentityFile = None,
    passphrase_from: PassphraseFrom = None,
    lost_at: Annotated[
        str | None,
        typer.Option(
            "--lost-at",
            help="When the old deployment stopped (3h, 2026-11-24T05:00), or 'backup' if that was"
            " before the backup; else now. Reminders due until then count as sent.",
        ),
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Open and check the backup, and write nothing.")
    ] = False,
    offline: Annotated[
        bool, typer.Option("--offline", help="Afterwards try to reach nobody, as doctor has it.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Restores a backup into an empty place, and looks the deployment over as doctor does.

    Checks the audit log and every certificate first. The place is the folder of config.toml; where
    there is no config.toml yet, the backup's is put there. Exit code 4 when doctor finds something.

    Example: pushcert --config /srv/pushcert/config.toml restore registry.age --identity key.txt
    """
    from lifecycle.clock import SystemClock
    from lifecycle.registry_restore import restore as restore_from

    opened = invocation(ctx)
    config_file = opened.config_file
    clock = SystemClock()
    opener = opener_of(config_file, identity, passphrase_from)
    with working("Restoring"):
        done = restore_from(
            config_file,
            file,
            opener,
            clock,
            lost_until=None if lost_at is None else _instant(lost_at, clock.now()),
            actor=actor(),
            dry_run=check,
        )
    if not as_json:
        _say_restored(done, check)
    found = [] if check else _doctor(done, offline, as_json)
    if as_json:
        print_json(_document(done, found, check))
    require_health(found)


def _instant(text: str, now: datetime) -> datetime:
    from datetime import UTC, datetime

    from lifecycle.since import parse_since

    if text.strip() == BEFORE_BACKUP:
        return datetime.min.replace(tzinfo=UTC)
    return parse_since(text, now)


def _doctor(done: Restored, offline: bool, as_json: bool) -> list[Diagnosis]:
    from lifecycle.clock import SystemClock
    from lifecycle.doctor import diagnose
    from lifecycle.embedded import Embedded

    found = []
    with Embedded(done.config, SystemClock()) as embedded:
        for one in diagnose(embedded, embedded.clock.now(), network=not offline):
            found.append(one)
            if not as_json:
                print_diagnosis(one)
    return found


def _say_restored(done: Restored, check: bool) -> None:
    out = console()
    about = done.manifest
    customers = counted(about.counts.get("customer", 0), "customer")
    state = f"the state of {about.made_at:%Y-%m-%d %H:%M} UTC with {customers}"
    what = "Nothing was written. The backup is whole" if check else "Restored"
    out.print(f"{what}: {state}, every certificate and the audit log in order.", markup=False)
    for path in done.placed:
        out.print(f"made {path}", markup=False)
    if done.lost.is_empty:
        return
    until = f"{done.lost.until:%Y-%m-%d %H:%M} UTC"
    out.print(
        f"What happened between then and {until} is not known here: certificates that came in that"
        " time must be uploaded again.",
        markup=False,
    )
    if not done.taken:
        out.print("No reminder fell due in that time.")
        return
    messages = counted(len(done.taken), "message")
    verb = "falls" if len(done.taken) == 1 else "fall"
    out.print(
        f"{messages} that {verb} into it may have been sent, and will not be sent again:",
        markup=False,
    )
    for one in done.taken[:NAMED]:
        out.print(f"  {_in_a_line(one)}", markup=False)
    if len(done.taken) > NAMED:
        out.print(f"  and {len(done.taken) - NAMED:,} more; --json names all.", markup=False)
    out.print("Send one all the same with `pushcert remind --now SLUG`.", markup=False)


def _in_a_line(one: TakenAsSent) -> str:
    what = one.kind if one.rung is None else f"{one.kind} {one.rung}"
    again = (
        "no other follows by itself"
        if one.next_at is None
        else f"the next comes on {one.next_at:%Y-%m-%d}"
    )
    return f"{one.slug or 'vendor ops'}: {what}, due {one.due_at:%Y-%m-%d %H:%M} UTC; {again}"


def _document(done: Restored, found: list[Diagnosis], check: bool) -> dict[str, Any]:
    about, lost = done.manifest, done.lost
    return {
        "restored": not check,
        "made_at": about.made_at.isoformat(),
        "revision": about.revision,
        "customers": about.counts.get("customer", 0),
        "audit_entries": about.counts.get("audit", 0),
        "audit_head": about.audit_head,
        "lost_until": None if lost.is_empty else lost.until.isoformat(),
        "made": [str(path) for path in done.placed],
        "taken_as_sent": [
            {
                "slug": one.slug,
                "kind": one.kind,
                "rung": one.rung,
                "due_at": one.due_at.isoformat(),
                "next_at": None if one.next_at is None else one.next_at.isoformat(),
            }
            for one in done.taken
        ],
        "doctor": [as_document(one) for one in found],
    }
