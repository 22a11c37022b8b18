"""``instance``: the customer's plane, on this machine."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from cli import deploying, instance_backups, instance_setup, setup_page
from cli.instance_setup import Customer, one_instance
from cli.invocation import AsJson, console, print_json, read_file, say_notes, write_file
from lifecycle.errors import AttentionNeeded, Unavailable, refuse

instance = typer.Typer(
    no_args_is_help=True,
    help="A customer's MDM instance: its vault, devices and pushes. On the instance's own machine"
    " commands need no --customer. Example: pushcert instance push UDID --customer acme",
)
device = typer.Typer(
    no_args_is_help=True,
    help="The devices an instance knows."
    " Example: pushcert instance device import TokenUpdate.plist --customer acme",
)


def register(app: typer.Typer) -> None:
    """Adds these commands to the command line."""
    instance_setup.add_to(instance)
    instance.command()(setup_page.serve)
    instance.add_typer(device, name="device")
    deploying.add_to(instance)
    instance_backups.add_to(instance)
    app.add_typer(instance, name="instance")


@instance.command()
def csr(ctx: typer.Context, customer: Customer = None) -> None:
    """Makes the key and CSR that the open renewal waits for, and hands the CSR in.

    Example: pushcert instance csr --customer acme
    """
    with one_instance(ctx, customer) as one, one.agent() as agent:
        outcome = agent.step()
    for done in outcome.done:
        console().print(done.sentence, markup=False)
    if not outcome.done:
        console().print("Nothing is wanted of this instance now.")


@instance.command()
def request(
    ctx: typer.Context,
    out: Annotated[Path, typer.Option("--out", help="Where the request goes.")],
    customer: Customer = None,
) -> None:
    """Saves the signed request that waits to be taken to Apple's portal.

    Example: pushcert instance request --customer acme --out acme-request.txt
    """
    with one_instance(ctx, customer) as one, one.agent() as agent:
        found = agent.request()
    if found is None:
        raise refuse(
            "no_request_outstanding",
            "No signed request waits for this instance.",
            "It comes when the renewal is due and your vendor has signed it; or start one with"
            " `pushcert renew SLUG` at the vendor's.",
        )
    write_file(out, found.request.encode())
    console().print(f"Wrote {out}.", markup=False)


@instance.command()
def upload(
    ctx: typer.Context,
    file: Annotated[Path, typer.Argument(help="The certificate from the portal; - for stdin.")],
    accept_new_topic: Annotated[
        str | None,
        typer.Option(
            "--accept-new-topic",
            help="The new topic, typed out: every enrolled device must enrol again.",
        ),
    ] = None,
    customer: Customer = None,
) -> None:
    """Takes in the certificate that the portal issued: checks it, tries it, activates it.

    Refused (exit code 3) with everything that is wrong, and nothing changed, when the file is
    not what this renewal needs.

    Example: pushcert instance upload MDM_Example.pem --customer acme
    """
    if customer is not None:
        from cli.renewals import upload as upload_for

        upload_for(ctx, customer, file, accept_new_topic)
        return
    data = read_file(file)
    with one_instance(ctx, None) as one:
        outcome = one.upload(data, accept_new_topic)
    say_notes(outcome.notes)
    certificate = outcome.certificate
    if not outcome.activated:
        console().print(
            "The certificate is accepted. The old one stays active until a test push with the"
            " new one succeeds; that is tried again by itself."
        )
        return
    until = f"{certificate.not_after:%Y-%m-%d %H:%M} UTC"
    console().print(f"{certificate.common_name} is active until {until}.", markup=False)


@device.command("import")
def import_devices(
    ctx: typer.Context,
    file: Annotated[
        Path,
        typer.Argument(
            help="TokenUpdate property list, CSV, NanoMDM's webhook events or database dump, or"
            " the folder of its file storage."
        ),
    ],
    customer: Customer = None,
    as_json: AsJson = False,
) -> None:
    """Takes in devices: a TokenUpdate message, a CSV list, or what NanoMDM has of them.

    A CSV list has the columns udid,token,push_magic and, if it likes, topic. Devices of another
    topic in NanoMDM's files are another customer's, and left out.

    Example: pushcert instance device import TokenUpdate.plist --customer acme
    """
    stored = [read_file(path) for path in deploying.stored_devices(file)] if file.is_dir() else None
    data = read_file(file) if stored is None else b""
    with one_instance(ctx, customer) as one, one.vault() as vault:
        now = one.clock.now()
        if stored is None:
            done = vault.import_devices(data, now)
        else:
            done = vault.import_stored_devices(stored, now)
    if as_json:
        print_json(
            {
                "added": list(done.added),
                "updated": list(done.updated),
                "left_out": done.left_out,
            }
        )
        return
    left = f" {done.left_out} of other topics, or no longer enrolled." if done.left_out else ""
    console().print(f"{len(done.added)} added, {len(done.updated)} updated.{left}")


@device.command("list")
def list_devices(ctx: typer.Context, customer: Customer = None, as_json: AsJson = False) -> None:
    """Lists the devices, with fingerprints instead of tokens.

    Example: pushcert instance device list --customer acme
    """
    from lifecycle.pki.fingerprints import short

    with one_instance(ctx, customer) as one, one.vault() as vault:
        known = vault.devices.all()
    if as_json:
        print_json(
            [
                {
                    "udid": d.udid,
                    "topic": str(d.topic),
                    "token_fingerprint": d.token_fingerprint,
                    "canary": d.canary,
                    "seen_at": d.seen_at.isoformat(),
                    "gone_at": None if d.gone_at is None else d.gone_at.isoformat(),
                }
                for d in known
            ]
        )
        return
    for d in known:
        marks = (" canary" if d.canary else "") + (" gone" if d.gone_at else "")
        console().print(f"{d.udid}  token {short(d.token_fingerprint)}{marks}", markup=False)


@device.command("canary")
def set_canary(
    ctx: typer.Context,
    udid: Annotated[str, typer.Argument(help="The device's UDID.")],
    customer: Customer = None,
    off: Annotated[bool, typer.Option("--off", help="No longer.")] = False,
) -> None:
    """Chooses a device for the own-token pushes of activation and isolation checks.

    Example: pushcert instance device canary UDID --customer acme
    """
    with one_instance(ctx, customer) as one, one.vault() as vault:
        vault.devices.set_canary(udid, not off)
    console().print(f"{udid} is {'no longer ' if off else ''}a canary.", markup=False)


@instance.command()
def ring(
    ctx: typer.Context,
    customer: Customer = None,
    leave: Annotated[bool, typer.Option("--leave", help="Take the consent back.")] = False,
) -> None:
    """Consents to the ring: other consenting customers probe with one of this one's tokens.

    Only with isolation.other_tenant = "ring" in config.toml; by default probes aim at the
    vendor's own canary tenant.

    Example: pushcert instance ring --customer acme
    """
    with one_instance(ctx, customer) as one, one.vault() as vault:
        vault.set_ring_consent(not leave)
    console().print(f"{customer} {'has left' if leave else 'is in'} the ring.", markup=False)


@instance.command()
def push(
    ctx: typer.Context,
    udids: Annotated[list[str], typer.Argument(help="UDIDs of the devices to wake.")],
    customer: Customer = None,
    as_json: AsJson = False,
) -> None:
    """Wakes devices through APNs. Exit code 4 when APNs refused one, 5 when it was not reached.

    Example: pushcert instance push 8F2A… --customer acme
    """
    from lifecycle.instance.push import push as push_to

    with one_instance(ctx, customer) as one, one.vault() as vault:
        answers = push_to(vault, one.pushes, udids)
    rows = [
        {
            "udid": a.udid,
            "status": a.status,
            "reason": a.reason,
            "fault": a.fault,
            "apns_id": a.apns_id,
        }
        for a in answers
    ]
    if as_json:
        print_json(rows)
    else:
        for a in answers:
            said = "pushed" if a.delivered else f"{a.status or ''} {a.reason or a.fault}".strip()
            console().print(f"{a.udid}: {said}", markup=False)
    if any(a.status is None for a in answers):
        raise Unavailable("Some devices got no push: APNs gave no answer.", "Try again.")
    if not all(a.delivered for a in answers):
        raise AttentionNeeded("APNs refused some of the pushes.")


@instance.command()
def verify(ctx: typer.Context, customer: Customer = None, as_json: AsJson = False) -> None:
    """Proves with test pushes that this instance reaches its own devices and no one else's.

    Exit code 4 on a breach, 5 when the check could not be made.

    Example: pushcert instance verify --customer acme
    """
    from cli.work import show_verdicts

    with one_instance(ctx, customer) as one:
        outcome = one.verify()
    show_verdicts([replace(outcome, slug=outcome.slug or "this instance")], as_json)
