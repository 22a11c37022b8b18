"""``renew`` on a terminal: what has been done, what is next, and a question only where a person
must act. Stopped anywhere, it goes on where it stood.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from cli.invocation import actor, console, print_json, read_file, say_notes, write_file
from cli.progress import working
from cli.renewal_words import (
    all_devices,
    document_of,
    listed,
    say_finished,
    say_portal,
    say_waiting,
    show_steps,
)
from cli.waiting import ask, line_or_arrival
from lifecycle.errors import PushcertError, Refused, refuse
from lifecycle.wording import counted

if TYPE_CHECKING:
    from lifecycle.arrivals import Arrivals
    from lifecycle.embedded import Embedded
    from lifecycle.instance.outcomes import UploadOutcome
    from lifecycle.renewing import Standing

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
    show_steps(at)
    if at.state is None:
        say_finished(at)
    elif at.uploadable and not at.blocked_by:
        say_portal(at, file)
    else:
        say_waiting(at)


@dataclass(slots=True)
class _Talk:
    """A dialogue under way.

    Attributes:
        told: what was shown last; it is not said again when nothing has changed.
        arrivals: the folders that are watched, for the renewal of this number.
    """

    embedded: Embedded
    slug: str
    wishes: Wishes
    told: Standing | None = None
    arrivals: tuple[int | None, Arrivals] | None = None

    def look(self) -> Path | None:
        """The certificate that is waited for, if it has arrived."""
        from lifecycle.arrivals import Arrivals, awaited_key

        number = None if self.told is None else self.told.renewal
        if self.arrivals is None or self.arrivals[0] != number:
            key = awaited_key(self.embedded.database, self.slug)
            self.arrivals = number, Arrivals(key, self.wishes.folders)
        return self.arrivals[1].look()


def converse(embedded: Embedded, slug: str, wishes: Wishes) -> None:
    """The dialogue. Ctrl-C, or the end of the input, ends it at any question: nothing is lost.

    Raises:
        Refused: the customer, or what the options ask for, is not possible.
    """
    talk = _Talk(embedded, slug, wishes)
    try:
        while not _one_round(talk):
            pass
    except (KeyboardInterrupt, EOFError):
        print(f"\nNothing is lost. Go on where you stopped with: pushcert renew {slug}")
        raise typer.Exit(130) from None


def ask_to_cancel(slug: str) -> None:
    """Asks once; anything but yes ends the command."""
    try:
        answer = ask(ASK_CANCEL.format(slug=slug))
    except (KeyboardInterrupt, EOFError):
        print("\nNothing was cancelled.")
        raise typer.Exit(130) from None
    if answer.lower() not in ("y", "yes"):
        print("Nothing was cancelled.")
        raise typer.Exit(0)


def _one_round(talk: _Talk) -> bool:
    """One look and at most one question; True when there is nothing left to ask."""
    from lifecycle import renewing

    with working("Working"):
        faults = renewing.drive(talk.embedded, talk.slug)
    for fault in faults:
        print(f"note: {fault}", file=sys.stderr)
    at = renewing.standing(talk.embedded, talk.slug)
    news, talk.told = at != talk.told, at
    if news:
        show_steps(at)
    if at.state is None:
        say_finished(at)
        return True
    if at.received and not at.remote:
        console().print("The certificate is accepted; the old one stays active until a test push")
        console().print("with the new one succeeds.")
        if at.blocked_message:
            console().print(f"Why not yet: {at.blocked_message}", markup=False)
        ask(ASK_AGAIN)
        return False
    if at.blocked_by or not at.uploadable:
        say_waiting(at)
        return True
    if news:
        _say_what_to_do(talk.embedded, at, talk.wishes)
    if at.remote:
        return True  # the certificate is taken in where the instance is
    return _take(talk, line_or_arrival(ASK_CERTIFICATE, talk.look))


def _say_what_to_do(embedded: Embedded, at: Standing, wishes: Wishes) -> None:
    from lifecycle import renewing

    say_portal(at, _save_request(embedded, at, wishes), wishes.folders)
    if at.reason == "apple_account_changed":
        devices = renewing.devices_that_enrol_again(embedded, at.slug)
        console().print(
            f"The topic will change: {all_devices(devices)} must enrol again.",
            style="bold yellow",
        )
    if at.reason == "key_compromise":
        console().print(
            "When the new certificate is active, press Revoke beside the old one in the portal.",
            style="bold yellow",
        )


def _take(talk: _Talk, answer: str | Path) -> bool:
    """Takes in the certificate that was named, or the one that is found; True ends the talk."""
    try:
        path = _path_of(talk, answer)
        outcome = _upload(talk.embedded, talk.slug, read_file(path), talk.wishes)
    except Refused as refused:
        for finding in refused.findings:
            print(f"pushcert: {finding} [{finding.code}]", file=sys.stderr)
        print("Nothing was changed.")
        return False
    except PushcertError as fault:
        print(f"pushcert: {fault} [{fault.code}]", file=sys.stderr)
        return False
    if outcome is None:
        print(f"Nothing was changed. Go on with: pushcert renew {talk.slug}")
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
        f"This certificate has the new topic {new}. With it, {all_devices(devices)} must enrol"
        " again; nothing brings the old topic back.",
        style="bold yellow",
        markup=False,
    )
    typed = ask(ASK_TOPIC)
    if not typed:
        return None
    return renewing.take_certificate(embedded, slug, data, accept_new_topic=typed, actor=actor())


def _path_of(talk: _Talk, answer: str | Path) -> Path:
    from lifecycle.arrivals import awaited_key, look_for_certificate

    if isinstance(answer, Path):
        print(f"Found {answer}.")
        return answer
    if answer:
        return Path(answer.strip("'\"")).expanduser()
    folders = talk.wishes.folders
    found = look_for_certificate(awaited_key(talk.embedded.database, talk.slug), folders)
    if found.fitting is not None:
        print(f"Found {found.fitting}.")
        return found.fitting
    if found.looked_like is not None:
        print(f"Found {found.looked_like}, which is not for this renewal:")
        return found.looked_like
    raise refuse(
        "certificate_not_found",
        f"There is no certificate in {listed(folders)}"
        f" ({counted(found.looked_at, 'file')} looked at).",
        "Download it from the portal, or type the path of the file.",
    )


def _save_request(embedded: Embedded, at: Standing, wishes: Wishes) -> Path | None:
    from lifecycle import renewing

    if not at.uploadable or at.request_file is None:
        return None
    file = wishes.request_out or Path(at.request_file)
    text = renewing.request_of(embedded, at.slug).encode()
    if not file.exists() or file.read_bytes() != text:
        write_file(file, text)
    return file
