"""What the page says, as values: without a word of any language. ``decide`` finds them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from lifecycle.errors import Finding
from lifecycle.setup_page.facts import Shown


class Phase(StrEnum):
    """The one thing that the page is about."""

    ASKING = "asking"
    """The vendor has been asked for the first time and has not answered yet."""
    UNREACHED = "unreached"
    """The vendor has not answered since the page was started."""
    TURNED_AWAY = "turned_away"
    """The vendor does not accept this instance."""
    NOT_IN_CARE = "not_in_care"
    """The vendor's books do not have the customer any more."""
    PAUSED = "paused"
    """The vendor has paused the customer."""
    WITHOUT = "without"
    """There is no certificate, and none is asked for."""
    PREPARING = "preparing"
    """The instance makes a key and a CSR."""
    SIGNING = "signing"
    """The vendor signs the request."""
    HELD_UP = "held_up"
    """The vendor has to act before anybody can go on."""
    TAKE = "take"
    """The request can be taken to the portal: the person acts."""
    TAKING = "taking"
    """A file is being checked and handed in."""
    UNSENT = "unsent"
    """A file waits for the vendor to be reached."""
    ACCEPTED = "accepted"
    """The vendor has recorded the new certificate; it is not active yet."""
    VERIFYING = "verifying"
    """The certificate is active; probes are made."""
    SETTLED = "settled"
    """There is a certificate, and nothing is due."""


class Urgency(StrEnum):
    """How near the end of the active certificate is."""

    NONE = "none"
    SOON = "soon"
    LAST_DAY = "last_day"
    EXPIRED = "expired"
    REVOKED = "revoked"


class StepState(StrEnum):
    """Where one of the three steps stands."""

    LATER = "later"
    """There is nothing to do about it yet."""
    NEXT = "next"
    """It can be done, after the step before it."""
    NOW = "now"
    RUNNING = "running"
    STOPPED = "stopped"
    DONE = "done"


class Check(StrEnum):
    """What happens to a file that was brought, in this order."""

    CHECKED = "checked"
    RECORDED = "recorded"
    ACTIVE = "active"
    VERIFIED = "verified"


@dataclass(frozen=True, slots=True)
class PortalRow:
    """What to press at the portal, and where.

    Attributes:
        creates: *Create a Certificate* is right.
        moves: because the certificate moves to another Apple Account; every device must enrol
            again.
        common_name, serial, not_after: of the row to press *Renew* beside.
        apple_account: to sign in with; None when it is not known.
    """

    creates: bool
    moves: bool = False
    common_name: str | None = None
    serial: str | None = None
    not_after: datetime | None = None
    apple_account: str | None = None


@dataclass(frozen=True, slots=True)
class HeldUp:
    """Why something cannot go on: a code, and a sentence in English."""

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Verification:
    """What the vendor's books say of the isolation of the active certificate.

    Attributes:
        verdict: ``isolated``, ``breached``, ``inconclusive``; None: not checked yet.
        at: when that was found.
        unanswered: a person wanted a check, and it could not be made just now.
    """

    verdict: str | None = None
    at: datetime | None = None
    unanswered: bool = False


@dataclass(frozen=True, slots=True)
class NewTopic:
    """A topic that changes on purpose, which a person has to accept by typing it."""

    topic: str
    devices: int


@dataclass(frozen=True, slots=True)
class Situation:
    """Everything that the page shows.

    Attributes:
        phase, urgency: see there.
        now: the instant that the page is of.
        vendor, customer: their names; None while the vendor has not told them.
        days: until the active certificate ends, begun days counted whole; None without one.
        steps: of download, portal and upload.
        progress: what becomes of the file that was brought.
        request_file: what the request is called; None while there is none to download.
        row: what to press at the portal; None while there is nothing to take there.
        can_upload: the page takes a file.
        certificate: the active one.
        devices: how many devices the instance knows.
        held_up: why something cannot go on.
        findings: what is wrong with the file that was brought; with ``brought`` and ``file``.
        notes: what the person should know about a file that is used all the same.
        new_topic: to be accepted by typing it.
        verification: of the active certificate; None while nothing can be said.
        renewal_opens_at: when the next renewal opens by itself.
        finished: this person's upload has just come to its end.
        failed: a fault of our own stopped it.
        silent_since, heard_at: while the vendor is not reached.
        books_differ: the vendor's books have another certificate as active than the vault.
        attempt: its number, while there is one to follow.
        refresh: after how many seconds something may have changed; None: a person acts next.
    """

    phase: Phase
    now: datetime
    urgency: Urgency = Urgency.NONE
    vendor: str | None = None
    customer: str | None = None
    days: int | None = None
    steps: tuple[StepState, StepState, StepState] = (StepState.LATER,) * 3
    progress: tuple[tuple[Check, StepState], ...] = ()
    request_file: str | None = None
    row: PortalRow | None = None
    can_upload: bool = False
    certificate: Shown | None = None
    devices: int = 0
    held_up: HeldUp | None = None
    findings: tuple[Finding, ...] = ()
    notes: tuple[Finding, ...] = ()
    brought: Shown | None = None
    file: str | None = None
    new_topic: NewTopic | None = None
    verification: Verification | None = None
    renewal_opens_at: datetime | None = None
    finished: bool = False
    failed: bool = False
    silent_since: datetime | None = None
    heard_at: datetime | None = None
    books_differ: bool = False
    attempt: str | None = None
    refresh: int | None = None
