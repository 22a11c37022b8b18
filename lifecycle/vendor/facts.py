"""What is known about one customer at one instant: the planner's whole input."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from lifecycle.vendor.ladder import LadderPolicy


class Status(StrEnum):
    """Where a customer stands; derived from facts and the clock, never stored."""

    NO_CERTIFICATE = "no_certificate"
    OK = "ok"
    DUE = "due"
    URGENT = "urgent"
    EXPIRED = "expired"
    REVOKED = "revoked"
    PAUSED = "paused"


class RenewalState(StrEnum):
    """Where a renewal stands (DESIGN.md, section 3)."""

    REQUESTED = "requested"
    CSR_RECEIVED = "csr_received"
    SIGNED = "signed"
    DELIVERED = "delivered"
    FULFILLED = "fulfilled"
    CANCELLED = "cancelled"
    SUPERSEDED = "superseded"

    @property
    def is_open(self) -> bool:
        """True while the renewal can still lead to a certificate."""
        return self in OPEN_STATES


OPEN_STATES = frozenset(
    {
        RenewalState.REQUESTED,
        RenewalState.CSR_RECEIVED,
        RenewalState.SIGNED,
        RenewalState.DELIVERED,
    }
)


class RenewalReason(StrEnum):
    """Why a renewal was opened."""

    INITIAL = "initial"
    EXPIRY = "expiry"
    MANUAL = "manual"
    KEY_COMPROMISE = "key_compromise"
    SIGNER_CHANGED = "signer_changed"
    APPLE_ACCOUNT_CHANGED = "apple_account_changed"
    REVOKED = "revoked"


class Verdict(StrEnum):
    """The outcome of an isolation check."""

    ISOLATED = "isolated"
    BREACHED = "breached"
    INCONCLUSIVE = "inconclusive"


class CustomerKind(StrEnum):
    """A customer, or the vendor's own tenant whose device the foreign probes address."""

    CUSTOMER = "customer"
    CANARY = "canary"


@dataclass(frozen=True, slots=True)
class Policy:
    """The vendor's choices that the planner goes by.

    Attributes:
        window: how long before expiry a renewal opens, at the latest customer's turn.
        spread: openings are spread over this much time from the start of the window.
        urgent: a certificate this close to its end makes the customer ``urgent``.
        ladder: the reminder ladders.
        isolation_every: how often isolation is checked while the certificate is active.
        isolation_retry: how soon an inconclusive or breached check is made again.
        revocation_every: how often the issuer is asked whether it revoked the certificate.
        retry: how soon something that is owed and could not be done is tried again.
        distributed: instances run on machines of their own; one that is not known is missing.
        instance_silent: an instance that was not heard of for this long holds a renewal up.
        four_eyes: nothing is signed before two people stand behind it.
    """

    window: timedelta = timedelta(days=45)
    spread: timedelta = timedelta(days=10)
    urgent: timedelta = timedelta(days=7)
    ladder: LadderPolicy = field(default_factory=LadderPolicy)
    isolation_every: timedelta = timedelta(days=7)
    isolation_retry: timedelta = timedelta(hours=6)
    revocation_every: timedelta = timedelta(days=1)
    retry: timedelta = timedelta(hours=1)
    distributed: bool = False
    instance_silent: timedelta = timedelta(days=1)
    four_eyes: bool = False

    def __post_init__(self) -> None:
        if self.spread + self.urgent > self.window:
            # Somebody would be urgent before their renewal opens.
            raise ValueError("the window must be at least as long as spread and urgent together")


@dataclass(frozen=True, slots=True)
class CertificateFacts:
    """The active push certificate. ``revoked_at`` is set once its issuer says so."""

    id: int
    topic: str
    serial: str
    common_name: str
    not_before: datetime
    not_after: datetime
    activated_at: datetime
    revoked_at: datetime | None = None
    revocation_checked_at: datetime | None = None
    names_responder: bool = False


@dataclass(frozen=True, slots=True)
class RenewalFacts:
    """The open renewal.

    Attributes:
        received: a certificate has come for it and waits for the instance to activate it.
        request_dies_at: when the signer that signed the request (or a CA above it) expires;
            after that the portal refuses the request. None before it is signed.
        opened_by: who asked for it, as the audit log names them; None where it is not known.
        approved_by: who approved the signature of the CSR that it has now.
    """

    id: int
    state: RenewalState
    reason: RenewalReason
    opened_at: datetime
    delivered_at: datetime | None = None
    request_dies_at: datetime | None = None
    received: bool = False
    blocked_code: str | None = None
    opened_by: str | None = None
    approved_by: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SignerFacts:
    """The MDM signing certificate in use, and how long its whole chain is good for.

    Attributes:
        unavailable_since, unavailable_why: since when its key cannot be used; None: it can.
    """

    fingerprint: str
    not_before: datetime
    not_after: datetime
    unavailable_since: datetime | None = None
    unavailable_why: str | None = None


@dataclass(frozen=True, slots=True)
class IsolationFacts:
    """The last isolation check of the active certificate.

    Attributes:
        ordered: a check is ordered and its evidence has not come.
        concluded_at, verdict: of the last check that was judged.
    """

    ordered: bool = False
    concluded_at: datetime | None = None
    verdict: Verdict | None = None


@dataclass(frozen=True, slots=True)
class InstanceFacts:
    """The instance of a customer, where it runs on a machine of its own.

    Attributes:
        heard_at: when it asked last, or enrolled.
    """

    heard_at: datetime


@dataclass(frozen=True, slots=True)
class CustomerFacts:
    """One customer, as the planner sees it.

    Attributes:
        paused_until: when a pause ends by itself; None: when somebody ends it.
        told: keys of the rungs already told, of whichever ladder applies (of the active
            certificate, or of the open first renewal).
        remote: the instance runs, or ran, on a machine of its own.
        instance: the one that may ask now; None where it is embedded, or was shut out.
    """

    slug: str
    paused: bool = False
    paused_until: datetime | None = None
    offboarded: bool = False
    kind: CustomerKind = CustomerKind.CUSTOMER
    active: CertificateFacts | None = None
    renewal: RenewalFacts | None = None
    isolation: IsolationFacts = IsolationFacts()
    told: frozenset[str] = frozenset()
    signer: SignerFacts | None = None
    remote: bool = False
    instance: InstanceFacts | None = None
