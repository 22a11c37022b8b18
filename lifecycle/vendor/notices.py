"""Writes what people are told into the outbox, in the transaction of the decision.

Every row has a key that names its occasion, so that planning the same thing twice, or being
killed and planning it again, cannot make a second row.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlmodel import Session, select

from lifecycle.pki.fingerprints import fingerprint
from lifecycle.vendor import store
from lifecycle.vendor.ladder import Rung
from lifecycle.vendor.messages import Context, Kind, letter
from lifecycle.vendor.models import (
    Certificate,
    Customer,
    IsolationCheck,
    OutboxMessage,
    Renewal,
    Signer,
)


@dataclass(frozen=True, slots=True)
class About:
    """What a message is about: a customer, and the certificate and renewal it concerns."""

    customer: Customer
    certificate: Certificate | None = None
    renewal: Renewal | None = None


class Notices:
    """Writes messages into the outbox.

    Args:
        vendor: the vendor's name, as customers know it.
        ops: addresses of vendor ops; may be empty, then nothing is written for them alone.
        upload_at: where a customer uploads the certificate, as a phrase for a sentence.
    """

    def __init__(self, vendor: str, ops: tuple[str, ...], upload_at: str) -> None:
        self._vendor = vendor
        self._ops = ops
        self._upload_at = upload_at

    def delivery(
        self, session: Session, about: About, rung: Rung | None, now: datetime, *, again: bool
    ) -> None:
        """The request, with what to do with it. Stands for ``rung`` when one is owed."""
        renewal = about.renewal
        if renewal is None or renewal.request is None:
            raise ValueError("there is no request to deliver")
        digest = fingerprint(renewal.request.encode())[:16]
        self._put(
            session,
            Kind.DELIVERY,
            f"delivery:{renewal.id}:{digest}",
            about,
            now,
            to=(about.customer.email,),
            copies=self._ops if rung is not None and rung.copy_ops else (),
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
            to=(about.customer.email,),
            copies=self._ops if rung.copy_ops else (),
            rung=rung,
            attach=True,
        )

    def ops_reminder(self, session: Session, about: About, rung: Rung, now: datetime) -> None:
        """One rung, to vendor ops alone: the customer has nothing to upload yet."""
        self._put(
            session,
            Kind.OPS_REMINDER,
            self._rung_key(about, rung),
            about,
            now,
            to=self._ops,
            rung=rung,
        )

    def fulfilled(self, session: Session, about: About, now: datetime) -> None:
        """The new certificate is active: both sides can stop thinking about it."""
        key = f"fulfilled:{None if about.renewal is None else about.renewal.id}"
        self._put(
            session, Kind.FULFILLED, key, about, now, to=(about.customer.email,), copies=self._ops
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
            vendor=self._vendor,
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
        context = Context(
            vendor=self._vendor,
            now=now,
            customer_name=customer.name,
            slug=customer.slug,
            apple_account=customer.apple_account,
            certificate_name=None if certificate is None else certificate.common_name,
            serial=None if certificate is None else certificate.serial,
            not_after=None if certificate is None else certificate.not_after,
            upload_at=self._upload_at,
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
        )

    @staticmethod
    def _insert(
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
    ) -> None:
        known = session.exec(select(OutboxMessage.id).where(OutboxMessage.dedupe_key == key))
        if known.first() is not None:
            return
        text = letter(kind, context)
        session.add(
            OutboxMessage(
                dedupe_key=key,
                kind=kind,
                customer_id=customer_id,
                renewal_id=renewal_id,
                ladder=ladder,
                rung=rung,
                recipients=recipients,
                copies=copies or [],
                subject=text.subject,
                body=text.body,
                attach_request=attach_request,
                created_at=now,
                # Nobody to tell: the row still books the rung, and says that nobody was told.
                next_attempt_at=now if recipients else None,
                given_up_at=None if recipients else now,
                last_error=None if recipients else "no recipient is configured",
            )
        )
        session.flush()


def signer_ladder(signer: Signer) -> str:
    """The name under which the outbox books the rungs of a signer's ladder."""
    return f"signer:{signer.id}"
