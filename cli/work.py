"""``verify``, ``remind``, ``tick``, ``run``: what is owed, done now or as it falls due."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli import completion
from cli.invocation import AsJson, Invocation, actor, console, invocation, print_json
from cli.progress import track, working
from lifecycle.errors import AttentionNeeded, InternalFault, Unavailable
from lifecycle.wording import counted

if TYPE_CHECKING:
    from lifecycle.instance.outcomes import Verification
    from lifecycle.vendor.dry_run import Upcoming
    from lifecycle.vendor_plane import Tick


def register(app: typer.Typer) -> None:
    """Adds these commands to the command line."""
    for command in (verify, remind, tick, run):
        app.command()(command)


def verify(
    ctx: typer.Context,
    slugs: Annotated[
        list[str] | None,
        typer.Argument(help="Customers to check.", autocompletion=completion.slugs),
    ] = None,
    everyone: Annotated[bool, typer.Option("--all", help="Check every customer.")] = False,
    since: Annotated[
        str | None,
        typer.Option(
            "--since",
            help="With --all: leave out who has a verdict as new as this (12h, 7d, a date).",
        ),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="With --all: take up the run that was stopped last.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Proves with test pushes that a customer reaches their own devices and no one else's.

    Exit code 4 on a breach, 5 when a check could not be made. With --all, Ctrl-C stops after
    the checks in hand; nothing that was verified is lost.

    Example: pushcert verify acme
    """
    if bool(slugs) == everyone:
        raise typer.BadParameter("name customers, or give --all")
    if (since or resume) and not everyone:
        raise typer.BadParameter("--since and --resume go with --all")
    if since and resume:
        raise typer.BadParameter("a run that is taken up keeps its own --since")
    if everyone:
        from cli.sweeping import verify_all

        verify_all(invocation(ctx), since=since, resume=resume, as_json=as_json)
        return
    with invocation(ctx).embedded() as embedded:
        outcomes = [embedded.verify(slug) for slug in track(slugs or [], "Verifying")]
        with working("Sending messages"):
            embedded.send_mail()
    show_verdicts(outcomes, as_json)


def show_verdicts(outcomes: Sequence[Verification], as_json: bool) -> None:
    """Shows verdicts.

    Raises:
        AttentionNeeded: one of them is a breach.
        Unavailable: one could not be reached.
    """
    _print_verdicts(outcomes, as_json)
    breached = [o.slug for o in outcomes if o.verdict == "breached"]
    if breached:
        raise AttentionNeeded(
            f"Isolation is breached: {', '.join(breached)}.",
            "See `pushcert customer show SLUG` for the probe, and find out who enrolled where.",
        )
    failed = [o.slug for o in outcomes if o.failed]
    if failed:
        raise Unavailable(
            f"{len(failed)} customers could not be checked: {', '.join(failed)}.",
            "The table says why; run the command again when that is mended.",
        )


def _print_verdicts(outcomes: Sequence[Verification], as_json: bool) -> None:
    from rich.table import Table
    from rich.text import Text

    if as_json:
        print_json([{"slug": o.slug, "verdict": o.verdict, "why": o.why} for o in outcomes])
        return
    table = Table("slug", "verdict", "why", box=None)
    colours = {"isolated": "green", "breached": "bold red"}
    for o in outcomes:
        verdict = o.verdict or "not checked"
        table.add_row(o.slug, Text(verdict, style=colours.get(verdict, "yellow")), Text(o.why))
    console().print(table)


def remind(
    ctx: typer.Context,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be sent, and send nothing.")
    ] = False,
    slug: Annotated[
        str | None,
        typer.Option(
            "--explain",
            help="Why this customer gets a message or none; sends nothing.",
            autocompletion=completion.slugs,
        ),
    ] = None,
    now: Annotated[
        str | None,
        typer.Option("--now", help="Reminds this customer once more, whatever the ladder says."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Sends the messages that are owed now, and does nothing else that is.

    Example: pushcert remind --dry-run
    """
    if sum((dry_run, slug is not None, now is not None)) > 1:
        raise typer.BadParameter("give one of --dry-run, --explain and --now")
    opened = invocation(ctx)
    if slug is not None:
        _explain(opened, slug, as_json)
    elif now is not None:
        _remind_now(opened, now, as_json)
    elif dry_run:
        _preview(opened, as_json)
    else:
        from lifecycle.turns import one_tick

        with opened.vendor_plane() as plane, one_tick(plane.config):
            with working("Working") as update:
                done = plane.remind(watch=update)
            _finish(done, as_json, only_messages=True)


def _preview(opened: Invocation, as_json: bool) -> None:
    from lifecycle.vendor.dry_run import explain

    with opened.vendor_side() as side, working("Reading the registry"):
        letters = side.preview()
        everybody = list(explain(side.database, side.policy, side.clock.now()))
    if as_json:
        about: dict[str | None, list[dict[str, Any]]] = {}
        for one in letters:
            about.setdefault(one.slug, []).append(_as_document(one))
        rows = [
            {"slug": e.slug, "owed": e.owed, "why": e.why, "messages": about.get(e.slug, [])}
            for e in everybody
        ]
        others = [
            {"slug": None, "owed": m["rung"] or m["kind"], "why": "to vendor ops", "messages": [m]}
            for m in about.get(None, [])
        ]
        print_json([*rows, *others])
        return
    out = console()
    for one in letters:
        out.print(_in_a_line(one), markup=False)
    told = {one.slug for one in letters}
    rest = sum(e.slug not in told for e in everybody)
    said = f"{counted(len(letters), 'message')} would be sent now."
    if rest:
        said += f" {counted(rest, 'customer')} would get none; remind --explain SLUG says why."
    out.print(said, markup=False)


def _as_document(one: Upcoming) -> dict[str, Any]:
    from dataclasses import asdict

    document = asdict(one)
    del document["slug"]
    return {**document, "to": list(one.to), "copies": list(one.copies)}


def _in_a_line(one: Upcoming) -> str:
    rung = f" {one.rung}" if one.rung else ""
    copies = f", copy to {', '.join(one.copies)}" if one.copies else ""
    to = ", ".join(one.to) if one.channel == "mail" else f"the channel {one.channel}"
    failed = f" (failed {counted(one.failed, 'time')} so far)" if one.failed else ""
    until = one.held_until
    held = "" if until is None else f" (held back until {until:%Y-%m-%d %H:%M} UTC)"
    return f"{one.slug or 'vendor'}: {one.kind}{rung} to {to}{copies}{failed}{held}"


def _explain(opened: Invocation, slug: str, as_json: bool) -> None:
    from dataclasses import asdict

    from lifecycle.correspondence import configured_quiet_hours
    from lifecycle.vendor.dry_run import tell_story

    with opened.vendor_side() as side:
        story = tell_story(
            side.database,
            side.policy,
            slug,
            side.clock.now(),
            mail=side.config.smtp.host is not None,
            quiet=configured_quiet_hours(side.config),
        )
    if as_json:
        print_json(asdict(story))
        return
    out = console()
    out.print(f"{slug}: {story.owed or 'nothing'} is owed now ({story.why}).", markup=False)
    out.print(f"Messages go to {', '.join(story.to)}.", markup=False)
    for obstacle in story.obstacles:
        out.print(f"In the way: {obstacle}", markup=False)
    out.print("So far:" if story.told else "No message so far.")
    for line in story.told:
        out.print(f"  {line}", markup=False)


def _remind_now(opened: Invocation, slug: str, as_json: bool) -> None:
    from lifecycle.vendor import store
    from lifecycle.vendor.models import OutboxMessage
    from lifecycle.vendor.reminding import remind_now

    with opened.vendor_side() as side:
        now = side.clock.now()
        with side.database.transaction() as session:
            customer = store.customer_by_slug(session, slug)
            done = remind_now(session, customer, side.notices, at=now, actor=actor())
        side.send_mail()
        with side.database.reading() as session:
            sent = session.get_one(OutboxMessage, done.message_id).sent_at is not None
    if as_json:
        print_json(
            {
                "slug": slug,
                "reminded": done.again,
                "to": done.to,
                "at": done.at.isoformat(),
                "sent": sent,
            }
        )
        return
    to = ", ".join(done.to)
    if not done.again:
        console().print(
            f"{slug} was reminded by hand at {done.at:%Y-%m-%d %H:%M} UTC ({to}); not again yet.",
            markup=False,
        )
        return
    waits = "" if sent else " It waits in the outbox."
    console().print(f"Reminded {slug}: {to}.{waits}", markup=False)


def tick(ctx: typer.Context, as_json: AsJson = False) -> None:
    """Does everything that is owed now, once; for cron and systemd timers.

    Example: pushcert tick
    """
    from lifecycle.turns import one_tick

    with invocation(ctx).vendor_plane() as plane, one_tick(plane.config):
        with working("Working") as update:
            done = plane.tick(watch=update)
        _finish(done, as_json)


def _finish(done: Tick, as_json: bool, *, only_messages: bool = False) -> None:
    work, mail = done.work, done.mail
    if as_json:
        print_json(
            {
                "customers": work.customers,
                "actions": work.actions,
                "faults": work.faults,
                "sent": mail.sent,
                "failed": mail.failed,
            }
        )
    else:
        out = console()
        if not only_messages:
            did = ", ".join(_in_words(work.actions)) or "nothing was owed"
            out.print(f"{counted(work.customers, 'customer')} looked at: {did}.", markup=False)
        out.print(f"{counted(mail.sent, 'message')} sent, {mail.failed} failed.")
        for fault in work.faults:
            print(f"later again: {fault}", file=sys.stderr)
        for fault in mail.faults:
            print(f"not delivered: {fault}", file=sys.stderr)
        if mail.stopped:
            print("The other messages wait for the next try.", file=sys.stderr)
    if work.defects:
        raise InternalFault(f"Defects met: {'; '.join(work.defects)}. See the log.")


ACTIONS = {
    "OpenRenewal": ("renewal opened", "renewals opened"),
    "CancelRenewal": ("renewal cancelled", "renewals cancelled"),
    "Resume": ("customer resumed", "customers resumed"),
    "AskForCsr": ("CSR asked for", "CSRs asked for"),
    "SignRequest": ("request signed", "requests signed"),
    "Deliver": ("request handed over", "requests handed over"),
    "Remind": ("reminder written", "reminders written"),
    "AskForActivation": ("activation asked for", "activations asked for"),
    "AskForProbes": ("isolation check asked for", "isolation checks asked for"),
    "CheckRevocation": ("revocation check", "revocation checks"),
    "Block": ("renewal held up", "renewals held up"),
}
"""What the actions of the planner are called, one and many, in the order they are said."""


def _in_words(actions: dict[str, int]) -> list[str]:
    return [counted(actions[a], *words) for a, words in ACTIONS.items() if a in actions]


def run(ctx: typer.Context) -> None:
    """Runs the scheduler until SIGTERM; finishes the action in hand before it stops.

    A second one on the same database refuses politely.

    Example: pushcert run
    """
    from lifecycle.scheduler import run_until_stopped

    with invocation(ctx).vendor_plane() as plane:
        run_until_stopped(plane)
