"""``vendor``: the vendor's books as a whole."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from cli.invocation import console, invocation
from lifecycle.errors import refuse

vendor = typer.Typer(
    no_args_is_help=True,
    help="The vendor's books as a whole. Example: pushcert vendor export --out books.json",
)


def register(app: typer.Typer) -> None:
    """Adds these commands to the command line."""
    app.add_typer(vendor, name="vendor")


@vendor.callback()
def books() -> None:
    """The vendor's books as a whole. Example: pushcert vendor export --out books.json"""


@vendor.command()
def export(
    ctx: typer.Context,
    out: Annotated[
        Path | None, typer.Option("--out", help="Write to this file, mode 0600; else to stdout.")
    ] = None,
) -> None:
    """Writes the whole registry as one JSON document, for whatever comes after pushcert.

    Customers, certificates, renewals, verdicts, deploy targets, signing certificates and the audit
    log; no secret. Its form is docs/vendor-export.schema.json.

    Example: pushcert vendor export --out books.json
    """
    from lifecycle.vendor.books import as_text

    with invocation(ctx).vendor_side() as side:
        parts = as_text(side.database, side.config.vendor.name, side.clock.now())
        if out is None:
            for part in parts:
                print(part, end="")
            return
        new = out.with_name(f".{out.name}.new")
        try:
            descriptor = os.open(new, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.writelines(parts)
            new.replace(out)
        except OSError as error:
            raise refuse(
                "file_unwritable",
                f"{out} cannot be written ({error.strerror}).",
                "Choose another place with --out.",
            ) from None
    console().print(f"Wrote {out}.", markup=False)
