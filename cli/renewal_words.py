"""What ``renew`` says: how far a renewal is, and what a person does next."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cli.invocation import console

if TYPE_CHECKING:
    from lifecycle.renewing import Standing

PORTAL = "https://identity.apple.com/pushcert"


def document_of(at: Standing) -> dict[str, Any]:
    """The standing for ``--json``. Keys may be added; none is renamed or removed."""
    return {
        "slug": at.slug,
        "renewal": at.renewal,
        "state": at.state,
        "reason": at.reason,
        "blocked_by": at.blocked_by,
        "blocked_message": at.blocked_message,
        "apple_account": at.apple_account,
        "renew_common_name": at.renew_common_name,
        "renew_serial": at.renew_serial,
        "not_after": None if at.not_after is None else at.not_after.isoformat(),
        "active_serial": at.active_serial,
        "acts": at.acts,
        "next_step": at.next_step,
        "steps": [{"what": step.what, "at": step.at.isoformat()} for step in at.steps],
        "verdict": at.verdict,
        "remote": at.remote,
    }


def all_devices(count: int) -> str:
    """How many devices, in words for the middle of a sentence."""
    if count == 1:
        return "the one device that is enrolled"
    return f"all {count:,} devices that are enrolled"


def listed(folders: Sequence[Path]) -> str:
    """The folders, in words."""
    return " or ".join(str(folder.absolute()) for folder in folders)


def show_steps(at: Standing) -> None:
    """What has been done, and when."""
    out = console()
    for step in at.steps:
        out.print(f"  done {step.at:%Y-%m-%d %H:%M} UTC  {step.what}", markup=False)


def say_finished(at: Standing) -> None:
    """There is nothing left to do."""
    if at.active_serial is None or at.not_after is None:
        console().print(f"No renewal of {at.slug} is open, and it has no certificate.")
        return
    console().print(
        f"No renewal of {at.slug} is open. Serial {at.active_serial} is active until"
        f" {at.not_after:%Y-%m-%d}; isolation: {at.verdict or 'not verified yet'}.",
        markup=False,
    )
    if at.apple_account is None:
        print(
            "note: write down which Apple Account it was; the next renewal needs the same one:"
            f" pushcert customer edit {at.slug} --apple-account ADDRESS",
            file=sys.stderr,
        )


def say_waiting(at: Standing) -> None:
    """Who must act, and on what, where it is nobody at this terminal."""
    if at.blocked_by:
        console().print(f"Held up, {at.acts} must act: {at.blocked_message}", markup=False)
    else:
        console().print(f"Next: {at.next_step}.", markup=False)
    console().print(f"Then go on with: pushcert renew {at.slug}", markup=False)


def say_portal(at: Standing, file: Path | None, folders: Sequence[Path] = ()) -> None:
    """What a person does at the portal.

    Args:
        at: with a request that can be taken there.
        file: where the request is; None: it has yet to be saved.
        folders: that are watched for the certificate; none: it has to be handed in.
    """
    out = console()
    account = at.apple_account or "the Apple Account that owns the certificate"
    save = f"Save the request:  pushcert request {at.slug} --out {at.request_file}"
    out.print(f"1. {save if file is None else f'The request is in  {file}'}", markup=False)
    out.print(f"2. At {PORTAL}, sign in as {account}", markup=False)
    if at.renew_serial:
        out.print(
            f"   and press Renew beside {at.renew_common_name}, serial {at.renew_serial}.",
            markup=False,
        )
        if at.not_after is not None:
            out.print(f"   It expires on {at.not_after:%Y-%m-%d}.", markup=False)
        out.print("   Do not press Create a Certificate. Upload the request.")
    else:
        out.print("   and press Create a Certificate. Upload the request.")
    if at.remote:
        out.print("3. Take the new certificate in at the customer's instance, on its setup page or")
        out.print("   with:  pushcert instance upload MDM_*.pem")
    elif folders:
        out.print("3. Download the new certificate. It is taken in as soon as it is in")
        out.print(f"   {listed(folders)}.", markup=False)
    else:
        out.print(
            f"3. Take the new certificate in:  pushcert upload {at.slug} MDM_*.pem", markup=False
        )
