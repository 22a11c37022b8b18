"""``instance backup`` and ``instance restore``: a vault, out of harm's way and back."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.backup_keys import IdentityFile, PassphraseFrom, Recipients, encryption_of, opener_of
from cli.instance_setup import Customer
from cli.invocation import AsJson, console, invocation, print_json
from cli.progress import working
from lifecycle.errors import refuse
from lifecycle.wording import counted

if TYPE_CHECKING:
    from lifecycle.config import Config
    from lifecycle.instance.vault_backup import VaultRestored
    from lifecycle.passphrase import PassphraseSource


def add_to(instance: typer.Typer) -> None:
    """Adds these commands to ``instance``."""
    instance.command()(backup)
    instance.command()(restore)


def backup(
    ctx: typer.Context,
    file: Annotated[Path, typer.Argument(help="Where the backup goes; mode 0600.")],
    customer: Customer = None,
    recipients: Recipients = None,
    passphrase_from: PassphraseFrom = None,
    key: Annotated[
        bool,
        typer.Option(
            "--with-key",
            help="The file vault.key as well: then the backup's encryption is all that guards it.",
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Writes an encrypted backup of this instance's vault while it is in use, and verifies it.

    Keys and device tokens are in it sealed, as they are in the vault.

    Example: pushcert instance backup /mnt/backup/acme.age --customer acme
    """
    from lifecycle.clock import SystemClock
    from lifecycle.instance.vault_backup import back_up

    config = invocation(ctx).config()
    directory, _ = _vault_of(config, customer)
    encryption = encryption_of(config, recipients, passphrase_from)
    with working("Backing up"):
        made = back_up(directory, file, encryption, SystemClock().now(), key=key)
    about = made.manifest
    if made.needs_key:
        print(
            f"note: {directory / 'vault.key'} is not in it, and without that file nobody can open"
            " what is restored. Keep a copy of it in another place, or give --with-key.",
            file=sys.stderr,
        )
    if as_json:
        print_json(
            {
                "file": str(file),
                "made_at": about.made_at.isoformat(),
                "revision": about.revision,
                "certificates": about.counts.get("certificate", 0),
                "devices": about.counts.get("device", 0),
                "files": sorted(about.files),
                "verified": True,
            }
        )
        return
    certificates = counted(about.counts.get("certificate", 0), "certificate")
    devices = counted(about.counts.get("device", 0), "device")
    console().print(f"Wrote {file}, and verified it: {certificates}, {devices}.", markup=False)


def restore(
    ctx: typer.Context,
    file: Annotated[Path, typer.Argument(help="What `instance backup` wrote.")],
    customer: Customer = None,
    identity: IdentityFile = None,
    passphrase_from: PassphraseFrom = None,
    check: Annotated[
        bool, typer.Option("--check", help="Open and check the backup, and write nothing.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Restores a vault where there is none; checks every certificate, key and token first.

    Example: pushcert instance restore acme.age --customer acme --identity key.txt
    """
    from lifecycle.instance.vault_backup import restore as restore_from

    opened = invocation(ctx)
    directory, passphrase = _vault_of(opened.config(), customer)
    opener = opener_of(opened.config_file, identity, passphrase_from)
    with working("Restoring"):
        done = restore_from(directory, file, opener, passphrase, dry_run=check)
    _say(done, directory, check, as_json)


def _say(done: VaultRestored, directory: Path, check: bool, as_json: bool) -> None:
    about = done.manifest
    if as_json:
        print_json(
            {
                "restored": not check,
                "made_at": about.made_at.isoformat(),
                "revision": about.revision,
                "certificates": about.counts.get("certificate", 0),
                "devices": about.counts.get("device", 0),
                "sealed": None if done.sealed is None else done.sealed.code,
            }
        )
        return
    out = console()
    what = "Nothing was written. The backup is whole" if check else f"Restored {directory}"
    certificates = counted(about.counts.get("certificate", 0), "certificate")
    devices = counted(about.counts.get("device", 0), "device")
    out.print(
        f"{what}: the state of {about.made_at:%Y-%m-%d %H:%M} UTC with {certificates} and"
        f" {devices}.",
        markup=False,
    )
    if done.sealed is None:
        out.print("Every key and token in it can be opened.")
    else:
        print(
            "note: What is sealed was not looked at, because nothing here opens it."
            f" {done.sealed} [{done.sealed.code}]",
            file=sys.stderr,
        )


def _vault_of(config: Config, customer: str | None) -> tuple[Path, PassphraseSource | None]:
    """Where the vault is, or is to be, and what opens it; the vendor's registry is not asked."""
    from lifecycle.secret import secret_source

    if customer is None and config.instance.vendor is not None:
        return (
            config.path(config.instance.directory),
            secret_source(config, config.instance.passphrase),
        )
    if customer is None:
        raise refuse(
            "customer_not_named",
            "On this machine the instances are embedded, so it must be said which is meant.",
            "Give --customer SLUG; `pushcert customer list` has the slugs.",
        )
    from lifecycle.vendor.registry import SLUG

    if not SLUG.fullmatch(customer):
        raise refuse(
            "slug_malformed",
            f"“{customer[:40]}” is no customer's slug.",
            "`pushcert customer list` has the slugs.",
        )
    return (
        config.path(config.vault.directory) / customer,
        secret_source(config, config.vault.passphrase),
    )
