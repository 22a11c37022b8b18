"""Who can open a backup, as options and configuration say; shared by both planes' commands."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.invocation import read_file
from lifecycle.errors import refuse

if TYPE_CHECKING:
    from lifecycle.backup.encryption import Encryption, Opener
    from lifecycle.config import Config
    from lifecycle.passphrase import PassphraseSource

Recipients = Annotated[
    list[str] | None,
    typer.Option("--recipient", help="An age public key (age1…) that can open it; may repeat."),
]
PassphraseFrom = Annotated[
    str | None,
    typer.Option("--passphrase-from", help="env:NAME, file:PATH or command:PROGRAM."),
]
IdentityFile = Annotated[
    Path | None,
    typer.Option("--identity", help="The file of age-keygen with the secret key; - for stdin."),
]
_COMMENT = "#"


def encryption_of(
    config: Config, recipients: list[str] | None, passphrase_from: str | None
) -> Encryption:
    """For whom a backup is encrypted: what was typed goes before what is configured.

    Raises:
        Refused: ``backup_without_key``, ``passphrase_source_unknown``, what ``resolve`` raises,
            ``backup_recipient_malformed``.
    """
    from lifecycle.backup.encryption import ForRecipients, UnderPassphrase, require_recipients
    from lifecycle.passphrase import parse_source
    from lifecycle.secret import secret_source

    if recipients and passphrase_from is not None:
        raise typer.BadParameter("give --recipient or --passphrase-from, not both")
    chosen = tuple(recipients or ())
    source = None if passphrase_from is None else parse_source(passphrase_from)
    if not chosen and source is None:
        chosen = config.backup.recipients
        source = secret_source(config, config.backup.passphrase)
    if chosen:
        require_recipients(chosen)
        return ForRecipients(chosen)
    if source is not None:
        return UnderPassphrase(_text(source))
    if sys.stdin.isatty():
        asked = typer.prompt("Passphrase", hide_input=True, confirmation_prompt=True)
        return UnderPassphrase(str(asked))
    raise refuse(
        "backup_without_key",
        "Nothing says who is to be able to open the backup, and none is written in the clear.",
        "Set backup.recipients or backup.passphrase in config.toml, or give --recipient or"
        " --passphrase-from.",
    )


def opener_of(config_file: Path, identity: Path | None, passphrase_from: str | None) -> Opener:
    """What may open a backup; each is asked for only if the backup needs it."""
    from lifecycle.backup.encryption import Opener

    def passphrase() -> str | None:
        from lifecycle.config import load_config
        from lifecycle.passphrase import parse_source
        from lifecycle.secret import secret_source

        if passphrase_from is not None:
            return _text(parse_source(passphrase_from))
        if config_file.exists():
            config = load_config(config_file)
            source = secret_source(config, config.backup.passphrase)
            if source is not None:
                return _text(source)
        if sys.stdin.isatty():
            return str(typer.prompt("Passphrase", hide_input=True))
        return None

    def identities() -> tuple[str, ...]:
        if identity is None:
            return ()
        lines = read_file(identity).decode(errors="replace").splitlines()
        found = (line.strip() for line in lines)
        return tuple(line for line in found if line and not line.startswith(_COMMENT))

    return Opener(passphrase, identities)


def _text(source: PassphraseSource) -> str:
    from lifecycle.passphrase import resolve

    found = resolve(source) or b""
    try:
        return found.decode()
    except UnicodeDecodeError:
        raise refuse(
            "backup_passphrase_not_text",
            "The passphrase for the backup is no text in UTF-8.",
            "Choose another one; age takes text.",
        ) from None
