"""Waits for a line of a person, or for what the person would have typed, whichever comes first."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

LOOKS_EVERY_SECONDS = 1.0
"""Often enough that nobody thinks of pressing Enter."""


def line_or_arrival(question: str, look: Callable[[], Path | None]) -> str | Path:
    """The line that was typed, without its end, or what ``look`` found.

    Args:
        question: printed once; the answer is typed behind it.
        look: asked at once and then again and again while nobody types; None: not yet.

    Raises:
        EOFError: the input has ended.
    """
    import select

    arrived = look()
    if arrived is not None:
        return arrived
    print(question, end="", flush=True)
    # A terminal gives whole lines: once there is something to read, reading it does not wait.
    while not select.select([sys.stdin], [], [], LOOKS_EVERY_SECONDS)[0]:
        arrived = look()
        if arrived is not None:
            print()
            return arrived
    line = sys.stdin.readline()
    if not line:
        raise EOFError
    return line.strip()


def ask(question: str) -> str:
    """The answer to a question. What was typed before it was asked is no answer to it.

    Raises:
        EOFError: the input has ended.
    """
    import termios

    termios.tcflush(sys.stdin, termios.TCIFLUSH)
    return input(question).strip()
