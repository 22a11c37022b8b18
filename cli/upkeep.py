"""``init`` and ``doctor``: setting a deployment up, and finding out what ails it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.invocation import AsJson, console, invocation, print_json, write_file
from lifecycle.errors import AttentionNeeded
from lifecycle.wording import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lifecycle.diagnosis import Diagnosis


def register(app: typer.Typer) -> None:
    """Adds these commands to the command line."""
    app.command()(init)
    app.command()(doctor)


def init(
    directory: Annotated[Path, typer.Argument(help="Where config.toml and the data go.")] = Path(),
) -> None:
    """Makes config.toml, the database and the directories; safe to repeat.

    Run it again after an upgrade: it migrates the database.

    Example: pushcert init /var/lib/pushcert
    """
    from lifecycle.config import CONFIG_NAME, load_config
    from lifecycle.evidence import ensure_evidence_key
    from lifecycle.registry_database import configured_password
    from lifecycle.vendor.migrations import upgrade

    out = console()
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    file = directory / CONFIG_NAME
    if not file.exists():
        write_file(file, _template().encode(), 0o600)
        out.print(f"made {file}", markup=False)
    config = load_config(file)
    for folder in (config.path(config.signer.directory), config.path(config.vault.directory)):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    upgrade(config.database_url, password=configured_password(config))
    ensure_evidence_key(config)
    out.print(f"database ready: {config.vendor.database}", markup=False)
    out.print(
        f"Next: set vendor.name, vendor.ops and smtp in {file},"
        " then pushcert signer import --certificate FILE --key FILE",
        markup=False,
    )


def _template() -> str:
    from importlib.resources import files

    packaged = files("lifecycle").joinpath("config.example.toml")
    if packaged.is_file():
        return packaged.read_text()
    return (Path(__file__).parent.parent / "config.example.toml").read_text()


def doctor(
    ctx: typer.Context,
    offline: Annotated[
        bool, typer.Option("--offline", help="Try to reach nobody: not APNs, not the mail server.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Checks everything that renewals depend on; one line each, with the remedy.

    Exit code 4 when something needs a person.

    Example: pushcert doctor
    """
    from lifecycle.clock import SystemClock
    from lifecycle.doctor import diagnose
    from lifecycle.embedded import Embedded

    run = invocation(ctx)
    found = []
    with Embedded(run.config(), SystemClock()) as embedded:
        for one in diagnose(embedded, embedded.clock.now(), network=not offline):
            found.append(one)
            if not as_json:
                print_diagnosis(one)  # at once: what is to be reached may take its time
    if as_json:
        print_json([as_document(one) for one in found])
    require_health(found)


def require_health(found: Sequence[Diagnosis]) -> None:
    """Raises ``AttentionNeeded`` where a diagnosis is not well."""
    bad = sum(not d.well for d in found)
    if bad:
        verb = "needs" if bad == 1 else "need"
        raise AttentionNeeded(f"{bad} of {counted(len(found), 'check')} {verb} attention.")


def as_document(one: Diagnosis) -> dict[str, Any]:
    """A diagnosis, for ``--json``."""
    return {
        "what": one.what,
        "well": one.well,
        "notice": one.notice,
        "message": one.message,
        "remedy": one.remedy,
    }


def print_diagnosis(one: Diagnosis) -> None:
    """A diagnosis, as a line for people."""
    from rich.text import Text

    mark = Text("BAD ", style="bold red")
    if one.well:
        mark = Text("note ", style="yellow") if one.notice else Text("ok  ", style="green")
    console().print(mark + Text(f"{one.what}: {one.message} {one.remedy}".rstrip(), style=""))
