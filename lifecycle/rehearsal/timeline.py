"""The timeline: what happened, when, to whom, in words a newcomer can follow."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from email.message import EmailMessage
from enum import StrEnum

from lifecycle.vendor.models import AuditEntry


class Tone(StrEnum):
    """How a line is meant."""

    NEWS = "news"
    MAIL = "mail"
    TROUBLE = "trouble"
    """Something goes wrong, on purpose."""
    CAUGHT = "caught"
    """pushcert notices, and says so."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the timeline."""

    day: int
    who: str
    tone: Tone
    text: str


@dataclass(slots=True)
class Timeline:
    """Collects lines and passes each one on at once."""

    tell: Callable[[Line], None] = lambda _: None
    lines: list[Line] = field(default_factory=list)

    def add(self, day: int, who: str, tone: Tone, text: str) -> None:
        """Adds a line."""
        line = Line(day, who, tone, text)
        self.lines.append(line)
        self.tell(line)


def told_by(entry: AuditEntry) -> tuple[Tone, str] | None:
    """An audit entry as a line; None for the steps in between, which need no line."""
    detail = entry.detail
    match entry.action:
        case "renewal_opened":
            return Tone.NEWS, f"renewal opens ({detail['reason']}); the instance makes a key"
        case "request_signed":
            return Tone.NEWS, "CSR vetted and signed with the MDM signing key"
        case "certificate_activated":
            own = "a push to an own device came through" if detail["own_push"] == 200 else "first"
            return Tone.NEWS, f"the new certificate is active ({own}); renewal fulfilled"
        case "isolation_isolated":
            return Tone.NEWS, "isolation proven by four probes"
        case "isolation_inconclusive" if "knows no device" in str(detail["why"]):
            return None
        case "isolation_inconclusive":
            return Tone.CAUGHT, f"isolation inconclusive: {detail['why']}"
        case "isolation_breached":
            return Tone.CAUGHT, f"BREACH: {str(detail['why']).split(' (probe')[0]}"
        case "renewal_blocked":
            return Tone.CAUGHT, f"renewal held up: {detail['code']}"
        case "instance_enrolled":
            return Tone.NEWS, "an instance makes itself known with the code of an invitation"
        case "credential_revoked":
            return Tone.NEWS, f"the instance is shut out: {detail['why']}"
        case "credential_rotated":
            return Tone.NEWS, "the instance changes the keys by which the vendor knows it"
        case "signer_in_force":
            return Tone.NEWS, f"in force until {str(detail['not_after'])[:10]}"
        case _:
            return None


def told_by_mail(message: EmailMessage) -> str:
    """A mail as a line: its subject, unfolded."""
    return " ".join(str(message["Subject"]).split())
