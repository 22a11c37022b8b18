"""The messages between an instance and the vendor: the whole of what may cross.

None of them has room for a private key or a device token. Tokens and keys appear only as
SHA-256 fingerprints. Which customer a message speaks for is never in the message: the
receiving side knows it from the link's credential. All times are aware UTC.
"""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import AwareDatetime, Base64Bytes, BaseModel, BeforeValidator, ConfigDict, Field

Sha256Hex = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Number = Annotated[int, Field(ge=0, le=2**63 - 1)]
"""Of a row in the vendor's books."""
Word = Annotated[str, Field(max_length=64, pattern=r"^[^\x00]*$")]
"""A code, a name or an identifier; NUL has no place in any database's text."""
TopicText = Annotated[str, Field(max_length=255, pattern=r"^[^\x00]*$")]
LONGEST_SENTENCE = 1000
Sentence = Annotated[str, Field(max_length=LONGEST_SENTENCE, pattern=r"^[^\x00]*$")]


def _bounded(said: object) -> object:
    if not isinstance(said, str):
        return said
    return "".join(c if c.isprintable() else "?" for c in said[:LONGEST_SENTENCE])


Said = Annotated[str, BeforeValidator(_bounded)]
"""What a third party said, as far as it can be shown: an odd answer of APNs is no reason to lose
the evidence that it is part of."""
Instant = Annotated[
    AwareDatetime,
    Field(ge=datetime(1970, 1, 1, tzinfo=UTC), le=datetime(9000, 1, 1, tzinfo=UTC)),
]
"""Of which UTC can be taken, and to which a day can be added; at the ends of the calendar not."""
Pem = Annotated[str, Field(max_length=48 * 1024)]
Seal = Annotated[Base64Bytes, Field(max_length=512)]


class Message(BaseModel):
    """Base of everything that crosses: immutable, and closed to unknown fields."""

    # Built when first used: a command needs few of them, and each takes its time to make.
    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)


class Probe(StrEnum):
    """The four test pushes of an isolation check."""

    OWN = "own"
    FOREIGN_TOKEN = "foreign_token"
    FOREIGN_TOPIC = "foreign_topic"
    UNKNOWN_TOKEN = "unknown_token"


class ProbeAnswer(Message):
    """What APNs answered to one probe; no token, no key.

    Attributes:
        probe: which of the four.
        topic: the ``apns-topic`` that was sent.
        token_fingerprint: SHA-256 fingerprint of the token that was addressed.
        status: HTTP status, or None when no answer came.
        reason: APNs's reason string, or None (a 200 has none).
        fault: when no answer came: the code of the fault (``apns_unreachable``,
            ``certificate_refused``, …); None when APNs answered.
        apns_id: the ``apns-id`` of the answer, for Apple's support.
        at: when the answer came.
    """

    probe: Probe
    topic: TopicText
    token_fingerprint: Sha256Hex
    status: Annotated[int, Field(ge=100, le=599)] | None = None
    reason: Said | None = None
    fault: Said | None = None
    apns_id: Said | None = None
    at: Instant


class CsrOrder(Message):
    """The vendor wants a CSR for this renewal; the subject it should carry."""

    renewal_id: Number
    email: str
    common_name: str
    country: str = "US"


class SignedRequest(Message):
    """The push certificate request, ready for the portal, and how to use it there.

    Attributes:
        request: the Base64 text to upload, as it stands.
        renew_serial: serial (hex) of the certificate to press *Renew* beside; None means
            that there is none yet and *Create a Certificate* is right.
        renew_common_name, renew_not_after: of that certificate, as the portal shows them.
        apple_account: the Apple Account to sign in with; None when it is not known.
    """

    renewal_id: Number
    request: str
    renew_serial: str | None = None
    renew_common_name: str | None = None
    renew_not_after: Instant | None = None
    apple_account: str | None = None


class ReceivedCertificate(Message):
    """A certificate that the vendor has accepted and the instance has not activated yet."""

    renewal_id: Number
    certificate: str
    """PEM, one certificate."""


class ProbeOrder(Message):
    """The vendor wants an isolation check. ``check_id`` comes back with the evidence."""

    check_id: Number


class SealedCanary(Message):
    """A device of the vendor's own tenant to aim the foreign probes at.

    Attributes:
        credential_id: of this instance, now or before it changed its keys: whom it is sealed to.
        topic: of the canary tenant.
        token_fingerprint: of the token that is sealed, to tell an old one from a new one.
        sealed: the token, encrypted by the canary's instance to this instance's sealing key
            (``lifecycle.wire.sealed_tokens``). The vendor passes it on and cannot open it.
    """

    credential_id: Word
    topic: TopicText
    token_fingerprint: Sha256Hex
    sealed: Seal


class SealOrder(Message):
    """An instance that is to probe with this canary tenant's device.

    Attributes:
        credential_id: of that instance.
        sealing_key: its X25519 public key, 32 bytes.
    """

    credential_id: Word
    sealing_key: Base64Bytes


class Sealing(Message):
    """What the vendor wants sealed by a canary tenant's instance.

    Attributes:
        token_fingerprint: of the canary token that the seals at the vendor hold; None while
            there are none. Another token than the instance's own makes them worthless.
        orders: instances without a seal; some of them, if they are many.
    """

    token_fingerprint: Sha256Hex | None = None
    orders: tuple[SealOrder, ...] = ()


class Standing(Message):
    """How the vendor's books show the customer; for the customer's own pages.

    Attributes:
        vendor: the vendor's name.
        customer: the customer's name.
        slug: the customer's short name; the request's file is called after it.
        language: of messages to this customer (``en``, ``de``, ``fr``, ``es``, ``ja``).
        paused: the vendor has paused this customer; nothing is wanted until that ends.
        renewal_id, renewal_state, renewal_reason: of the open renewal, if there is one.
        blocked_code, blocked_message: why that renewal cannot go on, if it cannot.
        fingerprint: of the certificate that the vendor's books have as active.
        verdict, verdict_why, verdict_at: of the last isolation check of that certificate.
        renewal_opens_at: when its next renewal opens by itself; None where there is no
            certificate to renew, or where nobody said.
    """

    vendor: str
    customer: str
    language: str
    slug: str | None = None
    paused: bool = False
    renewal_id: int | None = None
    renewal_state: str | None = None
    renewal_reason: str | None = None
    blocked_code: str | None = None
    blocked_message: str | None = None
    fingerprint: Sha256Hex | None = None
    verdict: str | None = None
    verdict_why: str | None = None
    verdict_at: Instant | None = None
    renewal_opens_at: Instant | None = None


class Work(Message):
    """All that the vendor wants from this instance now, and how its books stand.

    Attributes:
        canary: what to aim the foreign probes at; None in the embedded deployment, where the
            canary tenant's vault is at hand, and while no canary tenant has sealed one.
        sealing: asked of a canary tenant's instance alone.
        ask_again_seconds: when to ask again, over the network; None: the vendor does not say.
        vendor_time: what time it is at the vendor's, over the network.
    """

    csr: CsrOrder | None = None
    request: SignedRequest | None = None
    received: ReceivedCertificate | None = None
    probes: ProbeOrder | None = None
    canary: SealedCanary | None = None
    sealing: Sealing | None = None
    standing: Standing | None = None
    ask_again_seconds: int | None = None
    vendor_time: Instant | None = None


class CsrSubmission(Message):
    """A CSR made for a renewal. ``csr`` is DER; it travels as Base64."""

    renewal_id: Number
    csr: Base64Bytes


class CertificateSubmission(Message):
    """A certificate that came from the portal, public part only.

    Attributes:
        certificate: PEM, one certificate.
        accept_new_topic: the new topic, typed by a person who knows that every device must
            re-enrol; None refuses a changed topic.
        devices: with it: how many devices the instance knows of.
        only_check: record nothing; the instance has refused the file and wants to tell the
            person what the vendor would find as well.
        adopted: it is in use already, from before pushcert; it belongs to no renewal.
    """

    certificate: Pem
    accept_new_topic: TopicText | None = None
    devices: Number | None = None
    only_check: bool = False
    adopted: bool = False


class CertificateReceipt(Message):
    """The vendor has recorded the certificate against this renewal (or had already).

    ``renewal_id`` is None for a certificate that was adopted.
    """

    renewal_id: Number | None = None
    fingerprint: Sha256Hex


class Activation(Message):
    """The instance now pushes with this certificate.

    ``own_push`` is the answer that proved it, or None where there was no device to push to
    or the old certificate was already dead.
    """

    kind: Literal["activation"] = "activation"
    renewal_id: Number
    fingerprint: Sha256Hex
    own_push: ProbeAnswer | None = None


class Evidence(Message):
    """The answers of one isolation check, and fingerprints of all tokens of the instance.

    Attributes:
        fault: why no probe could be made (``no_canary``, ``no_other_tenant``, …), else None.
        token_fingerprints: of every device the instance knows, so that the vendor can see
            that no two customers share one.
    """

    kind: Literal["evidence"] = "evidence"
    check_id: Number
    fingerprint: Sha256Hex
    answers: Annotated[tuple[ProbeAnswer, ...], Field(max_length=64)] = ()
    fault: Said | None = None
    token_fingerprints: tuple[Sha256Hex, ...] = ()


class Setback(Message):
    """The instance cannot go on with a renewal just now, and why; shown as ``blocked_by``."""

    kind: Literal["setback"] = "setback"
    renewal_id: Number
    code: Word
    message: Sentence


class CheckWanted(Message):
    """A person at the instance wants its isolation checked now; ``work`` then has the order.

    Without an active certificate nothing is ordered, and nothing once there is a newer verdict:
    the message may come again, late, when the person has long had what they wanted.

    Attributes:
        after: when the last check was judged that the instance knows of (``verdict_at``); None:
            none was.
    """

    kind: Literal["check_wanted"] = "check_wanted"
    after: Instant | None = None


class CanarySeal(Message):
    """A canary token, sealed to one instance's key."""

    credential_id: Word
    sealed: Seal


class CanarySeals(Message):
    """What a canary tenant's instance has sealed; from any other instance it is refused.

    Seals of another token than ``token_fingerprint`` are worth nothing from here on.
    """

    kind: Literal["canary_seals"] = "canary_seals"
    topic: TopicText
    token_fingerprint: Sha256Hex
    seals: Annotated[tuple[CanarySeal, ...], Field(max_length=1000)]


class Deployment(Message):
    """How a deploy target of the instance stands; told after each attempt.

    Attributes:
        target, target_kind: its name and its kind.
        fingerprint: of the certificate that the last attempt was for.
        code, message: why it failed; None: the target has that certificate, as was verified.
        at: when that was.
        again_at: when the instance looks at the target next; None: not by itself.
        removed: the target is no longer configured; nothing else counts then.
    """

    kind: Literal["deployment"] = "deployment"
    target: str = Field(pattern=r"^[a-z0-9_-]{1,32}$")
    target_kind: str = Field(pattern=r"^[a-z0-9_-]{1,16}$")
    fingerprint: Sha256Hex
    code: str | None = Field(default=None, pattern=r"^[a-z0-9_]{1,64}$")
    message: Sentence | None = None
    at: Instant
    again_at: Instant | None = None
    removed: bool = False


AnyReport = Activation | Evidence | Setback | CheckWanted | CanarySeals | Deployment
Report = Annotated[AnyReport, Field(discriminator="kind")]
