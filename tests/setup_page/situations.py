"""Situations that a customer's page can be in: what is known, and what the page is then about."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from lifecycle.errors import Finding, Severity
from lifecycle.setup_page.decide import decide
from lifecycle.setup_page.facts import Attempt, Contact, Deed, Shown, Stage, VaultFacts
from lifecycle.setup_page.situation import Phase, Situation
from lifecycle.wire.messages import (
    CsrOrder,
    ReceivedCertificate,
    SignedRequest,
    Standing,
    Work,
)

NOW = datetime(2027, 3, 1, 9, tzinfo=UTC)
TOPIC = "com.apple.mgmt.External.6f1c0a52-93f9-4e6b-9d2c-0a7f5b3c2d11"
NEW_TOPIC = "com.apple.mgmt.External.99990a52-93f9-4e6b-9d2c-0a7f5b3c2d11"
ACTIVE = Shown(
    common_name="APSP:6f1c0a52-93f9-4e6b-9d2c-0a7f5b3c2d11",
    serial="3FA9C01B77DE",
    not_before=NOW - timedelta(days=337),
    not_after=NOW + timedelta(days=28),
    topic=TOPIC,
    fingerprint="a" * 64,
)
NEWER = replace(ACTIVE, serial="51C7E0", not_after=NOW + timedelta(days=365), fingerprint="b" * 64)
VAULT = VaultFacts(active=ACTIVE, waiting=True, devices=12)
EMPTY = VaultFacts()
IN_CARE = Standing(
    vendor="Example MDM",
    customer="Acme GmbH",
    slug="acme",
    language="de",
    fingerprint=ACTIVE.fingerprint,
    verdict="isolated",
    verdict_at=NOW - timedelta(days=3),
    renewal_opens_at=NOW + timedelta(days=300),
)
OPEN = IN_CARE.model_copy(
    update={"renewal_id": 7, "renewal_state": "delivered", "renewal_reason": "expiry"}
)
REQUEST = SignedRequest(
    renewal_id=7,
    request="UmVxdWVzdA==",
    renew_serial=ACTIVE.serial,
    renew_common_name=ACTIVE.common_name,
    renew_not_after=ACTIVE.not_after,
    apple_account="mdm@acme.example",
)
CREATE = SignedRequest(renewal_id=7, request="UmVxdWVzdA==", apple_account="mdm@acme.example")
ORDER = CsrOrder(renewal_id=7, email="it@acme.example", common_name="Acme GmbH")
RECEIVED = ReceivedCertificate(renewal_id=7, certificate="-----BEGIN CERTIFICATE-----")
CHANGED = Finding("topic_changed", "This certificate has the new topic X.", "Press Renew.")
PASTED = Finding("key_pasted", "The file also contains a private key.", "", Severity.NOTE)
FOREIGN = Finding("topic_of_another_customer", "It belongs to 'birch', not 'acme'.", "Use yours.")
UNTRANSLATED = Finding("vault_damaged", "The vault fell apart & nobody saw it.", "Mend it.")


@dataclass(frozen=True)
class Case:
    """What is known, and what the page is then about."""

    phase: Phase
    contact: Contact
    vault: VaultFacts = VAULT
    attempt: Attempt | None = None
    downloaded: bool = False
    now: datetime = NOW

    def situation(self) -> Situation:
        return decide(self.contact, self.vault, self.attempt, self.now, downloaded=self.downloaded)


def heard(work: Work) -> Contact:
    return Contact(work, NOW)


def standing(open_one: Standing = OPEN, **changes: object) -> Standing:
    return open_one.model_copy(update=changes)


def attempt(stage: Stage, deed: Deed = Deed.UPLOAD, **changes: object) -> Attempt:
    file = "MDM_ Example_Certificate.pem" if deed is Deed.UPLOAD else None
    begun = Attempt("n1", deed, stage, NOW, file=file)
    return replace(begun, **changes)  # type: ignore[arg-type]


def at_hand(request: SignedRequest = REQUEST, **changes: object) -> Contact:
    return heard(Work(standing=standing(OPEN, **changes), request=request))


SILENT = Contact(silent_since=NOW - timedelta(hours=2))
CUT_OFF = replace(at_hand(), silent_since=NOW - timedelta(hours=2))
IDLE = heard(Work(standing=IN_CARE))
DONE_AT_LAST = VaultFacts(active=NEWER, devices=12)
RENEWED = heard(Work(standing=standing(IN_CARE, fingerprint=NEWER.fingerprint)))


def verdict(name: str | None) -> Contact:
    at = None if name is None else NOW
    return heard(Work(standing=standing(IN_CARE, verdict=name, verdict_at=at)))


CASES: dict[str, Case] = {
    "asking": Case(Phase.ASKING, Contact()),
    "asking before there is anything": Case(Phase.ASKING, Contact(), EMPTY),
    "unreached": Case(Phase.UNREACHED, SILENT, replace(VAULT, waiting=False)),
    "unreached without a certificate": Case(Phase.UNREACHED, SILENT, EMPTY),
    "unreached with a key that waits": Case(Phase.TAKE, SILENT),
    "unreached with the first key that waits": Case(Phase.TAKE, SILENT, VaultFacts(waiting=True)),
    "turned away": Case(
        Phase.TURNED_AWAY,
        Contact(refused=(Finding("credential_revoked", "The credential was revoked.", "Ask."),)),
    ),
    "not in care": Case(Phase.NOT_IN_CARE, heard(Work())),
    "paused": Case(Phase.PAUSED, heard(Work(standing=standing(paused=True)))),
    "paused before the first": Case(
        Phase.PAUSED,
        heard(
            Work(
                standing=Standing(vendor="Example MDM", customer="Acme", language="en", paused=True)
            )
        ),
        EMPTY,
    ),
    "without": Case(
        Phase.WITHOUT,
        heard(Work(standing=Standing(vendor="Example MDM", customer="Acme", language="fr"))),
        EMPTY,
    ),
    "preparing": Case(
        Phase.PREPARING,
        heard(Work(standing=standing(renewal_state="requested"), csr=ORDER)),
        replace(VAULT, waiting=False),
    ),
    "preparing after a long silence": Case(
        Phase.PREPARING,
        heard(
            Work(
                standing=standing(
                    renewal_state="requested",
                    blocked_code="instance_silent",
                    blocked_message="The instance was last heard of in May.",
                ),
                csr=ORDER,
            )
        ),
    ),
    "signing": Case(Phase.SIGNING, heard(Work(standing=standing(renewal_state="csr_received")))),
    "held up by the signer": Case(
        Phase.HELD_UP,
        heard(
            Work(
                standing=standing(
                    renewal_state="csr_received",
                    blocked_code="signer_missing",
                    blocked_message="There is no MDM signing certificate.",
                )
            )
        ),
    ),
    "held up with a request that the portal would refuse": Case(
        Phase.HELD_UP, at_hand(blocked_code="signer_expired", blocked_message="It expired.")
    ),
    "held up for a reason without words": Case(
        Phase.HELD_UP,
        heard(
            Work(
                standing=standing(
                    renewal_state="requested", blocked_code="moon", blocked_message="Full <moon>."
                ),
                csr=ORDER,
            )
        ),
    ),
    "take": Case(Phase.TAKE, at_hand()),
    "take, downloaded": Case(Phase.TAKE, at_hand(), downloaded=True),
    "take, signed and not yet delivered": Case(Phase.TAKE, at_hand(renewal_state="signed")),
    "take, account unknown": Case(
        Phase.TAKE, at_hand(REQUEST.model_copy(update={"apple_account": None}))
    ),
    "take, a few days left": Case(Phase.TAKE, at_hand(), now=NOW + timedelta(days=24)),
    "take, last day": Case(Phase.TAKE, at_hand(), now=NOW + timedelta(days=27, hours=2)),
    "take, expired": Case(Phase.TAKE, at_hand(), now=NOW + timedelta(days=30)),
    "take, revoked": Case(Phase.TAKE, at_hand(renewal_reason="revoked")),
    "take, first certificate": Case(
        Phase.TAKE,
        at_hand(CREATE, renewal_reason="initial", fingerprint=None),
        VaultFacts(waiting=True),
    ),
    "take, first certificate, account unknown": Case(
        Phase.TAKE,
        at_hand(CREATE.model_copy(update={"apple_account": None}), fingerprint=None),
        VaultFacts(waiting=True),
    ),
    "take, another Apple Account": Case(
        Phase.TAKE, at_hand(CREATE, renewal_reason="apple_account_changed")
    ),
    "take, a new topic to accept": Case(
        Phase.TAKE,
        at_hand(CREATE, renewal_reason="apple_account_changed"),
        attempt=attempt(
            Stage.REFUSED, brought=replace(NEWER, topic=NEW_TOPIC), findings=(CHANGED,)
        ),
    ),
    "take, held up and usable all the same": Case(
        Phase.TAKE, at_hand(blocked_code="own_push_refused", blocked_message="Refused.")
    ),
    "take, the books differ": Case(Phase.TAKE, at_hand(fingerprint="c" * 64)),
    "take, refused": Case(
        Phase.TAKE,
        at_hand(),
        attempt=attempt(
            Stage.REFUSED,
            brought=NEWER,
            findings=(CHANGED, FOREIGN, UNTRANSLATED, PASTED),
        ),
    ),
    "take, refused, no certificate in the file": Case(
        Phase.TAKE,
        at_hand(),
        attempt=attempt(
            Stage.REFUSED, findings=(Finding("file_empty", "The file is empty.", "Again."),)
        ),
    ),
    "take, refused before the first": Case(
        Phase.TAKE,
        at_hand(CREATE, renewal_reason="initial", fingerprint=None),
        VaultFacts(waiting=True),
        attempt(Stage.REFUSED, findings=(Finding("key_mismatch", "Another key.", "Again."),)),
    ),
    "take, cut off": Case(Phase.TAKE, CUT_OFF),
    "take, a fault of ours": Case(Phase.TAKE, at_hand(), attempt=attempt(Stage.FAILED)),
    "taking": Case(Phase.TAKING, at_hand(), attempt=attempt(Stage.TAKING)),
    "taking, read": Case(Phase.TAKING, at_hand(), attempt=attempt(Stage.TAKING, brought=NEWER)),
    "unsent": Case(Phase.UNSENT, CUT_OFF, attempt=attempt(Stage.UNSENT, brought=NEWER)),
    "unsent, never heard": Case(Phase.UNSENT, SILENT, attempt=attempt(Stage.UNSENT)),
    "accepted": Case(Phase.ACCEPTED, heard(Work(standing=OPEN, received=RECEIVED))),
    "accepted and held up": Case(
        Phase.ACCEPTED,
        heard(
            Work(
                standing=standing(
                    blocked_code="apns_unreachable", blocked_message="APNs gave no answer."
                ),
                received=RECEIVED,
            )
        ),
        attempt=attempt(Stage.HELD_UP, brought=NEWER, findings=(PASTED,)),
    ),
    "verifying": Case(
        Phase.VERIFYING,
        RENEWED,
        DONE_AT_LAST,
        attempt(Stage.VERIFYING, brought=NEWER, findings=(PASTED,)),
    ),
    "checking alone": Case(Phase.VERIFYING, IDLE, VAULT, attempt(Stage.VERIFYING, Deed.CHECK)),
    "settled": Case(Phase.SETTLED, IDLE),
    "settled, not checked": Case(Phase.SETTLED, verdict(None)),
    "settled, inconclusive": Case(Phase.SETTLED, verdict("inconclusive")),
    "settled, inconclusive without a device": Case(
        Phase.SETTLED, verdict("inconclusive"), replace(VAULT, devices=0)
    ),
    "settled, breached": Case(Phase.SETTLED, verdict("breached")),
    "settled, nobody said when": Case(
        Phase.SETTLED, heard(Work(standing=standing(IN_CARE, renewal_opens_at=None)))
    ),
    "settled, expired": Case(Phase.SETTLED, IDLE, now=NOW + timedelta(days=40)),
    "settled, cut off": Case(Phase.SETTLED, replace(IDLE, silent_since=NOW)),
    "settled, the books differ": Case(
        Phase.SETTLED, heard(Work(standing=standing(IN_CARE, fingerprint="c" * 64)))
    ),
    "settled, just renewed": Case(
        Phase.SETTLED, RENEWED, DONE_AT_LAST, attempt(Stage.DONE, brought=NEWER)
    ),
    "settled, just renewed with a note": Case(
        Phase.SETTLED,
        RENEWED,
        DONE_AT_LAST,
        attempt(Stage.DONE, brought=NEWER, findings=(PASTED,)),
    ),
    "settled, just renewed and not verified": Case(
        Phase.SETTLED,
        RENEWED,
        DONE_AT_LAST,
        attempt(Stage.DONE, brought=NEWER, unverified=True),
    ),
    "settled, just checked": Case(Phase.SETTLED, IDLE, attempt=attempt(Stage.DONE, Deed.CHECK)),
    "settled, a deed refused": Case(
        Phase.SETTLED, IDLE, attempt=attempt(Stage.REFUSED, Deed.CHECK, findings=(UNTRANSLATED,))
    ),
}
