"""One line of the doctor's."""

from __future__ import annotations

from dataclasses import dataclass

from lifecycle.errors import PushcertError, Refused


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What was looked at, whether it is well, and the remedy.

    Attributes:
        notice: it is no fault, and somebody should know it; ``well`` is True then.
    """

    what: str
    well: bool
    message: str
    remedy: str = ""
    notice: bool = False


def of_fault(what: str, fault: Exception, remedy: str, saying: str = "") -> Diagnosis:
    """The line for something that failed.

    Args:
        remedy: where the fault itself names none.
        saying: what could not be done; goes before what the fault says.
    """
    said = [str(fault)]
    if isinstance(fault, Refused):
        said = [finding.message for finding in fault.findings]
        remedy = " ".join(finding.remedy for finding in fault.findings) or remedy
    elif isinstance(fault, PushcertError):
        said, remedy = [fault.message], fault.remedy or remedy
    return Diagnosis(what, False, f"{saying}{' '.join(said)}", remedy)
