"""Everything that can be wrong, as one tree of errors and one list of codes.

Checks do not raise at the first fault: they collect ``Finding`` values, so that a person
learns everything that is wrong with a file at once. ``Refused`` carries them to the edge.
Every class has the exit code of the command line (DESIGN.md, section 6).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar

__all__ = [
    "Finding",
    "InternalFault",
    "PushcertError",
    "Refused",
    "Severity",
    "Unavailable",
    "raise_for",
]
"""What a program that uses pushcert as a library meets (docs/library.md)."""


class Severity(StrEnum):
    """How much a finding weighs."""

    REFUSE = "refuse"
    """The input cannot be used."""
    NOTE = "note"
    """The input is used; the person should know this about it."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong, or worth knowing, about one input.

    Attributes:
        code: stable identifier, snake_case; scripts and docs refer to it.
        message: one sentence: what is wrong with *this* input.
        remedy: one sentence: what the person does next. Empty only for notes.
        severity: whether the finding refuses the input.
    """

    code: str
    message: str
    remedy: str = ""
    severity: Severity = Severity.REFUSE

    @property
    def refuses(self) -> bool:
        """True if this finding alone makes the input unusable."""
        return self.severity is Severity.REFUSE

    def __str__(self) -> str:
        return f"{self.message} {self.remedy}".strip()


class PushcertError(Exception):
    """Base of all errors raised on purpose."""

    code: ClassVar[str] = "internal_fault"
    exit_status: ClassVar[int] = 1

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message} {self.remedy}".strip()


class Refused(PushcertError):
    """The input is bad; nothing was written. Carries every finding, not only the first."""

    code = "refused"
    exit_status = 3

    def __init__(self, findings: Finding | Iterable[Finding]) -> None:
        self.findings: tuple[Finding, ...] = (
            (findings,) if isinstance(findings, Finding) else tuple(findings)
        )
        if not self.findings:
            raise ValueError("a refusal without a finding tells the person nothing")
        super().__init__(" ".join(str(f) for f in self.findings))

    @property
    def codes(self) -> tuple[str, ...]:
        """The codes of all findings, in the order they were found."""
        return tuple(f.code for f in self.findings)


class InternalFault(PushcertError):
    """pushcert contradicts itself: a defect, to be reported with the log."""


class AttentionNeeded(PushcertError):
    """The command did its work and what it found needs a person (breach, ``--fail-on``)."""

    code = "attention_needed"
    exit_status = 4


class Unavailable(PushcertError):
    """A network, APNs or database fault that may be gone at the next try."""

    code = "unavailable"
    exit_status = 5


class DatabaseLost(Unavailable):
    """The vendor's database is away, was lost in the midst of a transaction, or two transactions
    were in each other's way: the whole transaction may be tried again."""


def refuse(code: str, message: str, remedy: str) -> Refused:
    """A ``Refused`` with a single finding."""
    return Refused(Finding(code, message, remedy))


def raise_for(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Returns ``findings`` as a tuple if none of them refuses.

    Raises:
        Refused: at least one finding refuses; carries all of them, notes included.
    """
    found = tuple(findings)
    if any(f.refuses for f in found):
        raise Refused(found)
    return found
