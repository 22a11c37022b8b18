"""``renew`` on a terminal: what has been done, what is next, and a question only where a person
must act. Stopped anywhere, it goes on where it stood.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from cli.invocation import actor, console, print_json, read_file, say_notes, write_file
from lifecycle.errors import PushcertError, Refused, refuse

if TYPE_CHECKING:
    from lifecycle.embedded import Embedded
    from lifecycle.instance.outcomes import UploadOutcome
    from lifecycle.renewing import Standing

PORTAL = "https://identity.apple.com/pushcert"
ASK_CERTIFICATE = "Press Enter when you have the certificate, or type its path: "
ASK_TOPIC = "Type the new topic to accept that, or press Enter to stop here: "
ASK_AGAIN = "Press Enter to try the activation again: "
ASK_CANCEL = "Cancel the open renewal of {slug}? Its request cannot be used afterwards. [y/N] "
PROMPTS = (ASK_CERTIFICATE, ASK_TOPIC, ASK_AGAIN, ASK_CANCEL)
"""Everything that is ever asked."""


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the options said."""

    certificate: Path | None = None
    accept_new_topic: str | None = None
    request_out: Path | None = None
    watch: tuple[Path, ...] = ()

    @property
    def folders(self) -> tuple[Path, ...]:
        """Where a certificate may arrive."""
        return self.watch or (Path(), Path.home() / "Downloads")


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


def carry_on(embedded: Embedded, slug: str, wishes: Wishes, *, as_json: bool) -> None:
    """Does what can be done without asking, and says what is next."""
    from lifecycle import renewing

    faults = renewing.drive(embedded, slug)
    activated = False
    if wishes.certificate is not None:
        data = read_file(wishes.certificate)
        outcome = renewing.take_certificate(
            embedded, slug, data, accept_new_topic=wishes.accept_new_topic, actor=actor()
        )
        say_notes(outcome.notes)
        activated = outcome.activated
    at = renewing.standing(embedded, slug)
    file = _save_request(embedded, at, wishes) if wishes.request_out is not None else None
    for fault in faults:
        print(f"note: {fault}", file=sys.stderr)
    if as_json:
        print_json(
            {
                **document_of(at),
                "request_file": None if file is None else str(file),
                "activated": activated,
            }
        )
        return
    _show_steps(at)
    if at.state is None:
        _say_finished(at)
    elif at.uploadable and not at.blocked_by:
        _say_portal(at, file, scripted=file is None)
    else:
        _say_waiting(at)


def converse(embedded: Embedded, slug: str, wishes: Wishes) -> None:
    """The dialogue. Ctrl-C, or the end of the input, ends it at any question: nothing is lost.

    Raises:
        Refused: the customer, or what the options ask for, is not possible.
    """
    told: Standing | None = None
    try:
        while True:
            over, told = _one_round(embedded, slug, wishes, told)
            if over:
                return
    except (KeyboardInterrupt, EOFError):
        print(f"\nNothing is lost. Go on where you stopped with: pushcert renew {slug}")
        raise typer.Exit(130) from None


def ask_to_cancel(slug: str) -> None:
    """Asks once; anything but yes ends the command."""
    try:
        answer = input(ASK_CANCEL.format(slug=slug))
    except (KeyboardInterrupt, EOFError):
        print("\nNothing was cancelled.")
        raise typer.Exit(130) from None
    if answer.strip().lower() not in ("y", "yes"):
        print("Nothing was cancelled.")
        raise typer.Exit(0)


def _one_round(
    embedded: Embedded, slug: str, wishes: Wishes, told: Standing | None
) -> tuple[bool, Standing]:
    """One look and at most one question.

    Args:
        told: what was shown last; it is not said again when nothing has changed.

    Returns:
        Whether there is nothing left to ask, and what has been shown.
    """
    from lifecycle import renewing

    for fault in renewing.drive(embedded, slug):
        print(f"note: {fault}", file=sys.stderr)
    at = renewing.standing(embedded, slug)
    if at != told:
        _show_steps(at)
    if at.state is None:
        _say_finished(at)
        return True, at
    if at.received and not at.remote:
        console().print("The certificate is accepted; the old one stays active until a test push")
        console().print("with the new one succeeds.")
        if at.blocked_message:
            console().print(f"Why not yet: {at.blocked_message}", markup=False)
        input(ASK_AGAIN)
        return False, at
    if at.blocked_by or not at.uploadable:
        _say_waiting(at)
        return True, at
    if at != told:
        _say_what_to_do(embedded, at, wishes)
    if at.remote:
        return True, at  # the certificate is taken in where the instance is
    return _take(embedded, slug, wishes, input(ASK_CERTIFICATE).strip()), at


def _say_what_to_do(embedded: Embedded, at: Standing, wishes: Wishes) -> None:
    from lifecycle import renewing

    _say_portal(at, _save_request(embedded, at, wishes))
    if at.reason == "apple_account_changed":
        devices = renewing.devices_that_enrol_again(embedded, at.slug)
        console().print(
            f"The topic will change: all {devices} devices that are enrolled must enrol again.",
            style="bold yellow",
        )
    if at.reason == "key_compromise":
        console().print(
            "When the new certificate is active, press Revoke beside the old one in the portal.",
            style="bold yellow",
        )


def _take(embedded: Embedded, slug: str, wishes: Wishes, answer: str) -> bool:
    """Takes in the certificate that was named, or the one that is found; True ends the talk."""
    try:
        path = _path_of(embedded, slug, wishes, answer)
        outcome = _upload(embedded, slug, read_file(path), wishes)
    except Refused as refused:
        for finding in refused.findings:
            print(f"pushcert: {finding} [{finding.code}]", file=sys.stderr)
        print("Nothing was changed.")
        return False
    except PushcertError as fault:
        print(f"pushcert: {fault} [{fault.code}]", file=sys.stderr)
        return False
    if outcome is None:
        print(f"Nothing was changed. Go on with: pushcert renew {slug}")
        return True
    say_notes(outcome.notes)
    return False


def _upload(embedded: Embedded, slug: str, data: bytes, wishes: Wishes) -> UploadOutcome | None:
    from lifecycle import renewing
    from lifecycle.pki.upload import read_upload

    topic = wishes.accept_new_topic
    try:
        return renewing.take_certificate(
            embedded, slug, data, accept_new_topic=topic, actor=actor()
        )
    except Refused as refused:
        changing = renewing.standing(embedded, slug).reason == "apple_account_changed"
        if not changing or refused.codes != ("topic_changed",) or topic is not None:
            raise
    new = read_upload(data).certificate.topic
    devices = renewing.devices_that_enrol_again(embedded, slug)
    console().print(
        f"This certificate has the new topic {new}. With it, all {devices} devices that are"
        " enrolled must enrol again; nothing brings the old topic back.",
        style="bold yellow",
        markup=False,
    )
    typed = input(ASK_TOPIC).strip()
    if not typed:
        return None
    return renewing.take_certificate(embedded, slug, data, accept_new_topic=typed, actor=actor())


def _path_of(embedded: Embedded, slug: str, wishes: Wishes, answer: str) -> Path:
    from lifecycle import renewing

    if answer:
        return Path(answer.strip("'\"")).expanduser()
    found = renewing.look_for_certificate(embedded, slug, wishes.folders)
    if found.fitting is not None:
        print(f"Found {found.fitting}.")
        return found.fitting
    if found.looked_like is not None:
        print(f"Found {found.looked_like}, which is not for this renewal:")
        return found.looked_like
    raise refuse(
        "certificate_not_found",
        f"There is no certificate in {_listed(wishes.folders)} ({found.looked_at} files looked"
        " at).",
        "Download it from the portal, or type the path of the file.",
    )


def _listed(folders: Sequence[Path]) -> str:
    return " or ".join(str(folder.absolute()) for folder in folders)


def _save_request(embedded: Embedded, at: Standing, wishes: Wishes) -> Path | None:
    from lifecycle import renewing

    if not at.uploadable or at.request_file is None:
        return None
    file = wishes.request_out or Path(at.request_file)
    text = renewing.request_of(embedded, at.slug).encode()
    if not file.exists() or file.read_bytes() != text:
        write_file(file, text)
    return file


def _show_steps(at: Standing) -> None:
    out = console()
    for step in at.steps:
        out.print(f"  done {step.at:%Y-%m-%d %H:%M} UTC  {step.what}", markup=False)


def _say_finished(at: Standing) -> None:
    if at.active_serial is None or at.not_after is None:
        console().print(f"No renewal of {at.slug} is open, and it has no certificate.")
        return
    console().print(
        f"No renewal of {at.slug} is open. Serial {at.active_serial} is active until"
        f" {at.not_after:%Y-%m-%d}; isolation: {at.verdict or 'not verified yet'}.",
        markup=False,
    )


def _say_waiting(at: Standing) -> None:
    if at.blocked_by:
        console().print(f"Held up, {at.acts} must act: {at.blocked_message}", markup=False)
    else:
        console().print(f"Next: {at.next_step}.", markup=False)
    console().print(f"Then go on with: pushcert renew {at.slug}", markup=False)


def _say_portal(at: Standing, file: Path | None, *, scripted: bool = False) -> None:
    out = console()
    account = at.apple_account or "the Apple Account that owns the certificate"
    saved = f"pushcert request {at.slug} --out {at.request_file}" if scripted else f"{file}"
    first = "Save the request:  " if scripted else "The request is in  "
    out.print(f"1. {first}{saved}", markup=False)
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
    elif scripted:
        out.print(
            f"3. Take the new certificate in:  pushcert upload {at.slug} MDM_*.pem", markup=False
        )
    else:
        out.print("3. Download the new certificate.")
