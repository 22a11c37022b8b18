"""Writes what people are told into the outbox, in the transaction of the decision.

Every row has a key that names its occasion, so that planning the same thing twice, or being
killed and planning it again, cannot make a second row.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path

from sqlmodel import Session, col, select

from lifecycle.vendor import store
from lifecycle.vendor.database import insert_unique
from lifecycle.vendor.facts import RenewalReason
from lifecycle.vendor.kinds import ALERTS, MAIL, Kind
from lifecycle.vendor.ladder import Rung
from lifecycle.vendor.messages import Context, DigestSection, letter
from lifecycle.vendor.models import (
    Certificate,
    Customer,
    IsolationCheck,
    OutboxMessage,
    Renewal,
    Signer,
)
from lifecycle.vendor.signed_requests import identity_of
from lifecycle.vendor.undelivered import IN_DIGEST, NOTHING_TO_TELL


@dataclass(frozen=True, slots=True)
class About:
    """What a message is about: a customer, and the certificate and renewal it concerns."""

    customer: Customer
    certificate: Certificate | None = None
    renewal: Renewal | None = None


@dataclass(frozen=True, slots=True)
class OpsChannel:
    """One of vendor ops' chat channels, and the kinds of messages that it is to get."""

    name: str
    kinds: frozenset[str] = frozenset(ALERTS)


@dataclass(frozen=True, slots=True)
class Letterhead:
    """Who writes, to which ops, and how.

    Attributes:
        vendor: the vendor's name, as customers know it.
        ops: addresses of vendor ops; may be empty, then nothing is mailed to them.
        upload_at: where a customer uploads the certificate, as a phrase for a sentence.
        language: of what goes to ops, and to customers who have none of their own.
        templates: the vendor's own templates, which go before the bundled ones.
        channels: ops' chat channels.
        digest: ops get one message a day instead of a copy of each reminder. Breaches,
            revocations and the signer are always told at once.
    """

    vendor: str
    ops: tuple[str, ...] = ()
    upload_at: str = "the setup page of your MDM server"
    language: str = "en"
    templates: Path | None = None
    channels: tuple[OpsChannel, ...] = ()
    digest: bool = False


class Notices:
    """Writes messages into the outbox."""

    def __init__(self, head: Letterhead) -> None:
        self._head = head
        self._ops = head.ops
        self._copied = () if head.digest else head.ops

    @property
    def letterhead(self) -> Letterhead:
        """Who writes, and how."""
        return self._head

    def delivery(
        self, session: Session, about: About, rung: Rung | None, now: datetime, *, again: bool
    ) -> None:
        """The request, with what to do with it. Stands for ``rung`` when one is owed."""
        renewal = about.renewal
        which = None if renewal is None else identity_of(renewal)
        if renewal is None or which is None:
            raise ValueError("there is no request to deliver")
        self._put(
            session,
            Kind.DELIVERY,
            f"delivery:{renewal.id}:{which}",
            about,
            now,
            to=store.addresses_of(session, about.customer),
            copies=self._copied if rung is not None and rung.copy_ops else (),
            rung=rung,
            attach=True,
            again=again,
        )

    def reminder(self, session: Session, about: About, rung: Rung, now: datetime) -> None:
        """One rung, to a customer who has a request to upload."""
        self._put(
            session,
            Kind.REMINDER,
            self._rung_key(about, rung),
            about,
            now,
            to=store.addresses_of(session, about.customer),
            copies=self._copied if rung.copy_ops else (),
            rung=rung,
            attach=True,
        )

    def reminder_now(self, session: Session, about: About, now: datetime) -> OutboxMessage:
        """The reminder once more because a person wants it; no rung of a ladder is booked.

        Once for each instant: the caller sees to it that it is not too often.
        """
        key = f"reminder-now:{_renewal_id(about)}:{now.isoformat()}"
        self._put(
            session,
            Kind.REMINDER,
            key,
            about,
            now,
            to=store.addresses_of(session, about.customer),
            attach=True,
        )
        return session.exec(select(OutboxMessage).where(OutboxMessage.dedupe_key == key)).one()

    def ops_reminder(self, session: Session, about: About, rung: Rung, now: datetime) -> None:
        """One rung, to vendor ops alone: the customer has nothing to upload yet."""
        self._put(
            session,
            Kind.OPS_REMINDER,
            self._rung_key(about, rung),
            about,
            now,
            to=self._copied,
            rung=rung,
        )

    def fulfilled(self, session: Session, about: About, now: datetime) -> None:
        """The new certificate is active: both sides can stop thinking about it."""
        key = f"fulfilled:{_renewal_id(about)}"
        self._put(
            session,
            Kind.FULFILLED,
            key,
            about,
            now,
            to=store.addresses_of(session, about.customer),
            copies=self._ops,
        )

    def breach(self, session: Session, about: About, check: IsolationCheck, now: datetime) -> None:
        """An isolation check found a breach; to vendor ops."""
        self._put(
            session, Kind.BREACH, f"breach:{check.id}", about, now, to=self._ops, why=check.why
        )

    def revoked(self, session: Session, about: About, now: datetime) -> None:
        """The issuer revoked the active certificate; to vendor ops."""
        certificate = about.certificate
        key = f"revoked:{None if certificate is None else certificate.id}"
        self._put(session, Kind.REVOKED, key, about, now, to=self._ops)

    def signer_expiry(self, session: Session, signer: Signer, rung: Rung, now: datetime) -> None:
        """One rung of the signer's own ladder; to vendor ops."""
        ladder = signer_ladder(signer)
        context = Context(
            vendor=self._head.vendor,
            now=now,
            certificate_name=signer.expires_first,
            not_after=signer.not_after,
        )
        self._insert(
            session,
            Kind.SIGNER_EXPIRY,
            f"{ladder}:{rung.key}",
            context,
            now,
            recipients=list(self._ops),
            ladder=ladder,
            rung=rung.key,
        )

    def digest(
        self, session: Session, day: str, sections: tuple[DigestSection, ...], now: datetime
    ) -> None:
        """What has changed since the last digest, to vendor ops; once for each day.

        Without sections nothing is sent, and the day counts as told.
        """
        context = Context(
            vendor=self._head.vendor,
            now=now,
            digest=sections,
            digest_day=date.fromisoformat(day),
        )
        self._insert(
            session,
            Kind.DIGEST,
            digest_key(day),
            context,
            now,
            recipients=list(self._ops) if sections else [],
            untold=None if sections else NOTHING_TO_TELL,
        )

    @staticmethod
    def _rung_key(about: About, rung: Rung) -> str:
        return f"{store.ladder_name(about.certificate, about.renewal)}:{rung.key}"

    def _put(
        self,
        session: Session,
        kind: Kind,
        key: str,
        about: About,
        now: datetime,
        *,
        to: tuple[str, ...],
        copies: tuple[str, ...] = (),
        rung: Rung | None = None,
        attach: bool = False,
        again: bool = False,
        why: str | None = None,
    ) -> None:
        customer, certificate, renewal = about.customer, about.certificate, about.renewal
        # With another Apple Account there is nothing to renew: that portal has no such row.
        creates = renewal is not None and renewal.reason == RenewalReason.APPLE_ACCOUNT_CHANGED
        shown = None if creates and kind in (Kind.DELIVERY, Kind.REMINDER) else certificate
        context = Context(
            vendor=self._head.vendor,
            now=now,
            customer_name=customer.name,
            slug=customer.slug,
            apple_account=customer.apple_account,
            certificate_name=None if shown is None else shown.common_name,
            serial=None if shown is None else shown.serial,
            not_after=None if shown is None else shown.not_after,
            upload_at=self._head.upload_at,
            again=again,
            blocked=None if renewal is None else renewal.blocked_message,
            why=why,
            revoked=certificate is not None and certificate.revoked_at is not None,
        )
        self._insert(
            session,
            kind,
            key,
            context,
            now,
            customer_id=store.key_of(customer),
            renewal_id=None if renewal is None else renewal.id,
            recipients=list(to),
            copies=[address for address in copies if address not in to],
            ladder=None if rung is None else store.ladder_name(certificate, renewal),
            rung=None if rung is None else rung.key,
            attach_request=attach,
            language=customer.language if kind not in ALERTS else None,
        )

    def _insert(
        self,
        session: Session,
        kind: Kind,
        key: str,
        context: Context,
        now: datetime,
        *,
        recipients: list[str],
        copies: list[str] | None = None,
        customer_id: int | None = None,
        renewal_id: int | None = None,
        ladder: str | None = None,
        rung: str | None = None,
        attach_request: bool = False,
        language: str | None = None,
        untold: str | None = None,
    ) -> None:
        known = session.exec(select(OutboxMessage.id).where(OutboxMessage.dedupe_key == key))
        if known.first() is not None:
            return
        head = self._head
        text = letter(kind, context, language or head.language, head.templates)
        if untold is None and not recipients:
            in_digest = head.digest and kind == Kind.OPS_REMINDER
            # Nobody to tell: the row still books the rung, and says that nobody was told.
            untold = IN_DIGEST if in_digest else "no recipient is configured"
        chats = [] if untold in (IN_DIGEST, NOTHING_TO_TELL) else head.channels
        ways = [(MAIL, key, recipients, copies or [], untold)]
        if kind in ALERTS:
            ways += [
                (chat.name, f"{key}@{chat.name}", [chat.name], [], None)
                for chat in chats
                if kind in chat.kinds
            ]
        for channel, dedupe_key, to, cc, given_up in ways:
            written = session.execute(
                insert_unique(session, OutboxMessage)
                .values(
                    dedupe_key=dedupe_key,
                    kind=kind,
                    channel=channel,
                    customer_id=customer_id,
                    renewal_id=renewal_id,
                    ladder=ladder,
                    rung=rung,
                    recipients=to,
                    copies=cc,
                    subject=text.subject,
                    body=text.body,
                    html=text.html if channel == MAIL else None,
                    attach_request=attach_request,
                    created_at=now,
                    next_attempt_at=now if given_up is None else None,
                    attempts=0,
                    given_up_at=None if given_up is None else now,
                    last_error=given_up,
                    lease_lapsed=False,
                )
                .on_conflict_do_nothing()
                .returning(col(OutboxMessage.id))
            )
            # Of several that decide the same at one instant, one writes all rows of a message.
            if written.first() is None:
                return


def _renewal_id(about: About) -> int | None:
    return None if about.renewal is None else about.renewal.id


def digest_key(day: str) -> str:
    """The key under which the outbox books the digest of a day (``2026-11-24``)."""
    return f"digest:{day}"


def signer_ladder(signer: Signer) -> str:
    """The name under which the outbox books the rungs of a signer's ladder."""
    return f"signer:{signer.id}"
