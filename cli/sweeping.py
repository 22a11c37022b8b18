"""``verify --all``: progress while it runs, Ctrl-C, the summary and the exit code."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING

from cli.invocation import Invocation, actor, console, print_json
from lifecycle.errors import AttentionNeeded, Unavailable

if TYPE_CHECKING:
    from lifecycle.sweep.run import Outcome, Progress

_TAKE_UP = "Take it up with `pushcert verify --all --resume`."


def verify_all(run: Invocation, *, since: str | None, resume: bool, as_json: bool) -> None:
    """Sweeps, says what came of it, and raises what the exit code asks for."""
    from lifecycle.evidence import ensure_evidence_key, write_signed
    from lifecycle.since import parse_since
    from lifecycle.sweep.run import Choice, sweep
    from lifecycle.turns import one_sweep

    with run.vendor_side() as side, one_sweep(side.config), _stopped_by_ctrl_c() as stop:
        ensure_evidence_key(side.config)  # its trouble is better known before an hour's work
        start = None if since is None else parse_since(since, side.clock.now())
        choice = Choice(resume=resume, since=start, actor=actor())
        with _progress_bar() as progress:
            outcome = sweep(side, choice, progress=progress, stop=stop)
        document = write_signed(side.config, side.database, outcome.run_id)
    if as_json:
        print_json({**_as_json(outcome), "document": str(document)})
    else:
        _say(outcome)
        console().print(f"signed document: {document}", markup=False, soft_wrap=True)
    if outcome.breached:
        raise AttentionNeeded(
            f"Isolation is breached: {', '.join(slug for slug, _ in outcome.breached)}.",
            "See `pushcert customer show SLUG` for the probe, and find out who enrolled where.",
        )
    if not outcome.complete:
        raise Unavailable(f"{outcome.left} customers have not been checked.", _TAKE_UP)
    if outcome.unanswered:
        raise Unavailable(
            f"{outcome.unanswered} checks came to no verdict for want of answers from APNs.",
            "`pushcert tick` makes them again by itself.",
        )


@contextmanager
def _stopped_by_ctrl_c() -> Iterator[Callable[[], bool]]:
    """The first Ctrl-C asks to stop; the second stops at once."""
    asked = threading.Event()

    def ask(number: int, _frame: FrameType | None) -> None:
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()
        console(stderr=True).print("Stopping after the checks in hand; Ctrl-C again to drop them.")
        del number

    before = {s: signal.signal(s, ask) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked.is_set
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _progress_bar() -> Iterator[Callable[[Progress], None]]:
    """On a terminal: how many, how fast, how long yet. Elsewhere nothing."""
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        ProgressColumn,
        Task,
        TextColumn,
        TimeRemainingColumn,
    )
    from rich.progress import Progress as Bar
    from rich.text import Text

    class Rate(ProgressColumn):
        """Customers in a second."""

        def render(self, task: Task) -> Text:
            """See ``ProgressColumn``."""
            speed = task.finished_speed or task.speed
            return Text("" if speed is None else f"{speed:.0f}/s")

    out = console(stderr=True)
    columns = (
        TextColumn("verifying"),
        BarColumn(),
        MofNCompleteColumn(),
        Rate(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[waiting]}"),
    )
    with Bar(*columns, console=out, transient=True, disable=not out.is_terminal) as bar:
        task = bar.add_task("verifying", total=None, waiting="")

        def show(progress: Progress) -> None:
            waiting = f"{progress.waiting} to try again" if progress.waiting else ""
            bar.update(task, completed=progress.done, total=progress.total, waiting=waiting)

        yield show


def _as_json(outcome: Outcome) -> dict[str, object]:
    return {
        "run": outcome.run_id,
        "complete": outcome.complete,
        "left": outcome.left,
        "seconds": round(outcome.seconds, 3),
        "verdicts": {str(verdict): count for verdict, count in outcome.verdicts.items()},
        "breached": [{"slug": slug, "why": why} for slug, why in outcome.breached],
        "inconclusive": [{"slug": slug, "why": why} for slug, why in outcome.inconclusive],
    }


def _say(outcome: Outcome) -> None:
    out = console()
    counts = ", ".join(f"{count} {verdict}" for verdict, count in outcome.verdicts.items())
    out.print(f"run {outcome.run_id}: {counts}", markup=False)
    if outcome.left:
        out.print(f"{outcome.left} not checked yet", markup=False)
    for kind, named in (("breached", outcome.breached), ("inconclusive", outcome.inconclusive)):
        for slug, why in named:
            out.print(f"{kind}: {slug}: {why}", markup=False)
