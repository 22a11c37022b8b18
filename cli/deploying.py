"""``instance deploy``, ``adopt`` and ``export``: the pair on its way in and out of an instance."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.instance_setup import Customer, one_instance
from cli.invocation import AsJson, console, print_json, read_file, say_notes
from lifecycle.errors import AttentionNeeded, Unavailable, refuse

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lifecycle.instance.deploy.deployer import Deployed
    from lifecycle.instance.deploy.plan import Decision

PassphraseFrom = Annotated[
    str | None,
    typer.Option("--passphrase-from", help="env:NAME, file:PATH or command:…"),
]
MAX_FOLDER = 1000
"""So many files of a folder are looked at; no folder of certificates has more."""


def add_to(instance: typer.Typer) -> None:
    """Adds these commands to an instance's."""
    instance.command()(deploy)
    instance.command()(adopt)
    instance.command()(export)


def deploy(
    ctx: typer.Context,
    targets: Annotated[
        list[str] | None, typer.Argument(help="Only these targets of config.toml.")
    ] = None,
    customer: Customer = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what is owed to each target, and do nothing.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Brings the active certificate and its key to the deploy targets, and verifies each.

    It is done by itself after a renewal, and again until it works; this does it now. Exit code
    4 when a target needs somebody, 5 when one was not to be reached.

    Example: pushcert instance deploy --customer acme --dry-run
    """
    with one_instance(ctx, customer) as one, one.vault() as vault, one.deployer() as deployer:
        vault.require_active()
        decisions = deployer.plan()
        _require_targets([d.about.name for d in decisions], targets or [])
        if dry_run:
            _say_plan([d for d in decisions if not targets or d.about.name in targets], as_json)
            return
        done = deployer.run(targets or (), at_once=True)
    _say_done(done, as_json)


def _require_targets(known: list[str], wanted: list[str]) -> None:
    if not known:
        raise refuse(
            "deploy_no_target",
            "No deploy target is configured for this instance.",
            "Write a table [deploy.NAME] into config.toml; see docs/deploying.md.",
        )
    unknown = [name for name in wanted if name not in known]
    if unknown:
        raise refuse(
            "deploy_target_unknown",
            f"There is no deploy target “{unknown[0]}” for this instance.",
            f"There are: {', '.join(known)}.",
        )


def _say_plan(decisions: Sequence[Decision], as_json: bool) -> None:
    if as_json:
        print_json(
            [
                {
                    "target": one.about.name,
                    "kind": one.about.kind,
                    "place": one.about.place,
                    "step": str(one.step),
                    "why": one.why,
                }
                for one in decisions
            ]
        )
        return
    for one in decisions:
        console().print(f"{one.about.name}: {one.step} ({one.why})", markup=False)
        console().print(f"  {one.about.kind}: {one.about.place}", markup=False)


def _say_done(done: Sequence[Deployed], as_json: bool) -> None:
    if as_json:
        print_json(
            [
                {
                    "target": one.target,
                    "kind": one.kind,
                    "place": one.place,
                    "outcome": one.outcome,
                    "code": one.code,
                    "why": one.why,
                }
                for one in done
            ]
        )
    else:
        for one in done:
            if one.outcome != "failed":
                console().print(one.sentence, markup=False)
    failed = [one for one in done if one.outcome == "failed"]
    if not failed:
        return
    said = " ".join(f"{one.target}: {one.why} [{one.code}]" for one in failed)
    if all(one.temporary for one in failed):
        raise Unavailable(said)
    raise AttentionNeeded(said)


def adopt(
    ctx: typer.Context,
    folder: Annotated[
        Path | None,
        typer.Argument(help="A folder with both, such as mdmctl's mdm-certificates."),
    ] = None,
    customer: Customer = None,
    certificate: Annotated[
        Path | None, typer.Option("--certificate", help="The push certificate in use.")
    ] = None,
    key: Annotated[
        Path | None, typer.Option("--key", help="Its private key, PEM or DER, encrypted or not.")
    ] = None,
    p12: Annotated[
        Path | None, typer.Option("--p12", help="Both in one PKCS#12 file (.p12, .pfx).")
    ] = None,
    passphrase: PassphraseFrom = None,
    as_json: AsJson = False,
) -> None:
    """Takes over the certificate and key that are in use, so that the next renewal keeps the topic.

    For a customer that comes from elsewhere. The vendor's registry is told the public part.

    Example: pushcert instance adopt mdm-certificates --customer acme --passphrase-from env:MDMCTL
    """
    from lifecycle.instance.adoption import find_pair
    from lifecycle.passphrase import parse_source, resolve

    files = _files_to_adopt(folder, certificate, key, p12)
    secret = None if passphrase is None else resolve(parse_source(passphrase))
    found = find_pair(files, secret)
    with one_instance(ctx, customer) as one, one.agent() as agent:
        held, notes = agent.adopt_pair(found.key, found.upload)
    adopted = held.certificate
    if as_json:
        print_json(
            {
                "topic": str(adopted.topic),
                "serial": adopted.serial,
                "not_after": adopted.not_after.isoformat(),
                "fingerprint": adopted.fingerprint,
                "certificate_file": found.certificate_file,
                "key_file": found.key_file,
            }
        )
    else:
        console().print(
            f"{customer or 'This instance'} goes on with {adopted.common_name}, serial"
            f" {adopted.serial}, until {adopted.not_after:%Y-%m-%d}, from"
            f" {found.certificate_file}.",
            markup=False,
        )
    say_notes(notes)
    print(
        f"note: {found.key_file} holds the key as well; keep it in a safe place or delete it.",
        file=sys.stderr,
    )


def _files_to_adopt(
    folder: Path | None, certificate: Path | None, key: Path | None, p12: Path | None
) -> dict[str, bytes]:
    pair = certificate is not None or key is not None
    if sum((folder is not None, pair, p12 is not None)) != 1:
        raise typer.BadParameter("give a folder, --certificate with --key, or --p12")
    if p12 is not None:
        return {str(p12): read_file(p12)}
    if folder is None:
        if certificate is None or key is None:
            raise typer.BadParameter("--certificate and --key go together")
        return {str(path): read_file(path) for path in dict.fromkeys((certificate, key))}
    if not folder.is_dir():
        raise refuse(
            "folder_missing",
            f"{folder} is no folder.",
            "Name the folder that the files are in, or the files with --certificate and --key.",
        )
    paths = [path for path in sorted(folder.iterdir()) if path.is_file()]
    return {path.name: read_file(path) for path in paths[:MAX_FOLDER]}


def stored_devices(folder: Path) -> list[Path]:
    """The TokenUpdate messages below the folder of NanoMDM's file storage."""
    from lifecycle.instance.device_files import STORED

    return sorted(folder.rglob(STORED))


def export(
    ctx: typer.Context,
    out: Annotated[Path, typer.Option("--out", help="Where it goes; mode 0600.")],
    customer: Customer = None,
    p12: Annotated[bool, typer.Option("--p12", help="Both as PKCS#12.")] = False,
    pem: Annotated[
        bool, typer.Option("--pem", help="Certificate and key in one PEM file.")
    ] = False,
    certificate: Annotated[
        bool, typer.Option("--certificate", help="The certificate alone, as PEM.")
    ] = False,
    chain: Annotated[
        bool, typer.Option("--chain", help="The certificate and its intermediates, as PEM.")
    ] = False,
    key: Annotated[bool, typer.Option("--key", help="The private key alone, as PEM.")] = False,
    pkcs1: Annotated[
        bool, typer.Option("--pkcs1", help="The key as RSA PRIVATE KEY, for older software.")
    ] = False,
    legacy: Annotated[
        bool, typer.Option("--legacy", help="PKCS#12 with Triple DES and SHA-1, for older readers.")
    ] = False,
    passphrase: Annotated[
        str | None,
        typer.Option("--passphrase-from", help="env:NAME, file:PATH or command:…; --p12 needs it."),
    ] = None,
) -> None:
    """Writes the active certificate with its private key, for the customer's other software.

    Example: pushcert instance export --customer acme --pem --out acme-push.pem
    """
    from lifecycle.instance.export import active_pair, save
    from lifecycle.passphrase import parse_source, resolve
    from lifecycle.pki.pair import Form, KeyFormat, Options, Pkcs12Encryption, render

    chosen = {
        Form.P12: p12,
        Form.PEM: pem,
        Form.CERTIFICATE: certificate,
        Form.CHAIN: chain,
        Form.KEY: key,
    }
    if sum(chosen.values()) != 1:
        raise typer.BadParameter("give one of --p12, --pem, --certificate, --chain and --key")
    form = next(form for form, wanted in chosen.items() if wanted)
    options = Options(
        passphrase=None if passphrase is None else resolve(parse_source(passphrase)),
        key_format=KeyFormat.PKCS1 if pkcs1 else KeyFormat.PKCS8,
        encryption=Pkcs12Encryption.LEGACY if legacy else Pkcs12Encryption.MODERN,
    )
    with one_instance(ctx, customer) as one, one.vault() as vault:
        pair = active_pair(vault, one.trust, one.clock.now())
        save(out, render(pair, form, options))
    warning = " It holds a private key: keep it to yourself." if form.is_secret else ""
    console().print(f"Wrote {out}.{warning}", markup=False)
