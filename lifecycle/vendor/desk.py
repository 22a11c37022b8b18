"""The vendor's side of the link: what one customer's instance may ask and hand in.

A desk is tied to one customer when it is made; nothing in a message can change for whom it
speaks. Every call is one transaction and safe to repeat.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlmodel import Session, select

from lifecycle.clock import Clock
from lifecycle.errors import Finding, Refused, raise_for, refuse
from lifecycle.pki.chain import TrustStore
from lifecycle.pki.csr import Csr, read_csr
from lifecycle.pki.push_certificate import Expected, PushCertificate, check_push_certificate
from lifecycle.pki.upload import read_upload
from lifecycle.vendor import audit, canary_seals, deployments, notices, store
from lifecycle.vendor.check_orders import order_isolation_check
from lifecycle.vendor.claims import check_claims, claim, claims_of, issued_serial
from lifecycle.vendor.database import Database
from lifecycle.vendor.evidence import conclude
from lifecycle.vendor.facts import Policy, RenewalReason, RenewalState
from lifecycle.vendor.models import Certificate, Customer, Renewal
from lifecycle.vendor.notices import Notices
from lifecycle.vendor.plan import opens_at
from lifecycle.vendor.signed_requests import request_of
from lifecycle.vendor.situation import Situation, situation
from lifecycle.wire.messages import (
    Activation,
    AnyReport,
    CanarySeals,
    CertificateReceipt,
    CertificateSubmission,
    CheckWanted,
    CsrOrder,
    CsrSubmission,
    Deployment,
    Evidence,
    ProbeOrder,
    ReceivedCertificate,
    Setback,
    SignedRequest,
    Standing,
    Work,
)


class Desk:
    """A ``VendorLink`` for one customer, straight onto the vendor's database.

    Args:
        database: the vendor's database.
        slug: the customer this desk speaks for.
        clock: tells when things happen.
        trust: what push certificates must chain to.
        notices: writes the messages that follow from a report.
        credential_id: of the instance, where it asks over the network.
        policy: what the planner decides by, to say when the next renewal opens.
        operator: who speaks for the instance, where vendor ops do so; for the audit log.
    """

    def __init__(
        self,
        database: Database,
        slug: str,
        clock: Clock,
        trust: TrustStore,
        notices: Notices,
        credential_id: str | None = None,
        policy: Policy | None = None,
        operator: str | None = None,
    ) -> None:
        self._database = database
        self._slug = slug
        self._clock = clock
        self._trust = trust
        self._notices = notices
        self._credential_id = credential_id
        self._policy = policy
        self._operator = operator

    def work(self) -> Work:
        """See ``VendorLink.work``. Nothing is wanted of a paused or off-boarded customer."""
        with self._database.reading() as session:
            record = situation(session, self._slug)
            customer = record.customer
            if customer.offboarded_at is not None:
                return Work()
            standing = self._standing(record)
            if standing.paused:
                return Work(standing=standing)
            renewal = record.renewal
            return Work(
                standing=standing,
                csr=None if renewal is None else _csr_order(customer, renewal),
                request=None if renewal is None else _signed_request(session, record, renewal),
                received=None
                if renewal is None or record.received is None
                else ReceivedCertificate(
                    renewal_id=store.key_of(renewal),
                    certificate=PushCertificate.from_der(record.received.der).pem,
                ),
                probes=None
                if record.ordered is None
                else ProbeOrder(check_id=store.key_of(record.ordered)),
                **self._canary(session, record),
            )

    def _canary(self, session: Session, record: Situation) -> dict[str, Any]:
        # Embedded instances read the canary tenant's vault: nothing is sealed, or looked up.
        if self._credential_id is None:
            return {}
        customer = record.customer
        if record.ordered is None:
            return {"sealing": canary_seals.sealing_for(session, customer)}
        return {
            "canary": canary_seals.sealed_for(session, customer, self._credential_id),
            "sealing": canary_seals.sealing_for(session, customer),
        }

    def _standing(self, record: Situation) -> Standing:
        customer, renewal, latest = record.customer, record.renewal, record.latest
        said = self._notices.letterhead
        return Standing(
            vendor=said.vendor,
            customer=customer.name,
            slug=customer.slug,
            language=customer.language or said.language,
            paused=customer.paused_at is not None,
            renewal_id=None if renewal is None else renewal.id,
            renewal_state=None if renewal is None else renewal.state,
            renewal_reason=None if renewal is None else renewal.reason,
            blocked_code=None if renewal is None else renewal.blocked_code,
            blocked_message=None if renewal is None else renewal.blocked_message,
            fingerprint=None if record.active is None else record.active.fingerprint,
            verdict=None if latest is None else latest.verdict,
            verdict_why=None if latest is None else latest.why,
            verdict_at=None if latest is None else latest.concluded_at,
            renewal_opens_at=self._renewal_opens_at(record),
        )

    def _renewal_opens_at(self, record: Situation) -> datetime | None:
        active = record.active
        if active is None or self._policy is None:
            return None
        return opens_at(active, record.customer.slug, self._policy)

    def submit_csr(self, submission: CsrSubmission) -> None:
        """See ``VendorLink.submit_csr``. The bytes are kept as received: they are signed."""
        csr = read_csr(bytes(submission.csr))
        now = self._clock.now()

        def record(session: Session) -> None:
            customer = store.customer_by_slug(session, self._slug)
            renewal = _own_open_renewal(session, customer, submission.renewal_id)
            if renewal.csr == csr.der:
                return
            if renewal.state != RenewalState.REQUESTED:
                raise refuse(
                    "csr_already_received",
                    f"Renewal {renewal.id} of '{customer.slug}' already has another CSR.",
                    "Cancel it with `pushcert renew --cancel` if that CSR must not be used.",
                )
            self._record_csr(session, customer, renewal, csr, now)

        self._database.carry_out(record)

    def _record_csr(
        self, session: Session, customer: Customer, renewal: Renewal, csr: Csr, now: datetime
    ) -> None:
        taken = check_claims(session, customer, {"key": csr.key_fingerprint})
        if taken:
            raise Refused(taken)
        claim(session, customer, {"key": csr.key_fingerprint})
        renewal.csr = csr.der
        renewal.csr_received_at = now
        renewal.state = RenewalState.CSR_RECEIVED
        _unblock(renewal)
        customer.next_action_at = now
        session.add_all([renewal, customer])
        audit.append(
            session,
            at=now,
            actor=f"instance:{customer.slug}",
            action="csr_received",
            subject=customer.slug,
            detail={"renewal": renewal.id, "key": csr.key_fingerprint},
        )

    def submit_certificate(self, submission: CertificateSubmission) -> CertificateReceipt:
        """See ``VendorLink.submit_certificate``."""
        certificate = read_upload(submission.certificate.encode()).certificate
        now = self._clock.now()
        if submission.adopted:
            return self._adopt(certificate, now)

        def look(session: Session) -> CertificateReceipt:
            customer = store.customer_by_slug(session, self._slug)
            record = store.load(session, customer)
            known = session.exec(
                select(Certificate).where(
                    Certificate.fingerprint == certificate.fingerprint,
                    Certificate.customer_id == customer.id,
                )
            ).first()
            if known is not None and known.state == store.RECEIVED and known.renewal_id:
                return CertificateReceipt(
                    renewal_id=known.renewal_id, fingerprint=certificate.fingerprint
                )
            findings = list(self._check(session, record, certificate, submission, now))
            if any(finding.refuses for finding in findings) or record.renewal is None:
                raise Refused(findings)
            if not submission.only_check:
                self._record_certificate(session, record, record.renewal, certificate, now)
            if not submission.only_check and _changes_topic(record, certificate):
                audit.append(
                    session,
                    at=now,
                    actor=self._operator or f"instance:{customer.slug}",
                    action="new_topic_accepted",
                    subject=customer.slug,
                    detail={
                        "old_topic": record.active.topic if record.active else None,
                        "new_topic": str(certificate.topic),
                        "devices_to_enrol_again": submission.devices,
                    },
                )
            return CertificateReceipt(
                renewal_id=store.key_of(record.renewal), fingerprint=certificate.fingerprint
            )

        if submission.only_check:
            with self._database.reading() as session:
                return look(session)
        return self._database.carry_out(look)

    def _adopt(self, certificate: PushCertificate, now: datetime) -> CertificateReceipt:
        from lifecycle.vendor import registry  # it makes its rows by way of this module

        findings = check_push_certificate(certificate, Expected(), self._trust, at=now)
        raise_for(one for one in findings if one.code != "certificate_expired")

        def adopt(session: Session) -> None:
            customer = store.customer_by_slug(session, self._slug)
            actor = f"instance:{customer.slug}"
            registry.adopt(session, customer, certificate, at=now, actor=actor)

        self._database.carry_out(adopt)
        return CertificateReceipt(fingerprint=certificate.fingerprint)

    def _check(
        self,
        session: Session,
        record: store.CustomerRecord,
        certificate: PushCertificate,
        submission: CertificateSubmission,
        now: datetime,
    ) -> list[Finding]:
        renewal, active = record.renewal, record.active
        keys = frozenset[str]()
        if renewal is not None and renewal.csr is not None:
            keys = frozenset({read_csr(renewal.csr).key_fingerprint})
        expected = Expected(
            key_fingerprints=keys,  # type: ignore[arg-type]
            topic=None if active is None else PushCertificate.from_der(active.der).topic,
            active=None if active is None else PushCertificate.from_der(active.der),
            accept_new_topic=submission.accept_new_topic,
        )
        findings = [
            *check_push_certificate(certificate, expected, self._trust, at=now),
            *check_claims(session, record.customer, claims_of(certificate)),
        ]
        accepted = submission.accept_new_topic == str(certificate.topic)
        if renewal is not None and accepted and _changes_topic(record, certificate):
            findings += _unannounced(record.customer, renewal)
        if renewal is None or renewal.state not in (RenewalState.SIGNED, RenewalState.DELIVERED):
            findings.append(
                Finding(
                    "no_request_outstanding",
                    f"Customer '{record.customer.slug}' has no signed request waiting for a"
                    " certificate.",
                    f"Start a renewal with `pushcert renew {record.customer.slug}` and use the"
                    " request it makes.",
                )
            )
        return findings

    def _record_certificate(
        self,
        session: Session,
        record: store.CustomerRecord,
        renewal: Renewal,
        certificate: PushCertificate,
        now: datetime,
    ) -> None:
        customer = record.customer
        if record.received is not None:
            record.received.state = store.REJECTED
            session.add(record.received)
        claim(session, customer, claims_of(certificate))
        set_aside = session.exec(
            select(Certificate).where(
                Certificate.fingerprint == certificate.fingerprint,
                Certificate.state == store.REJECTED,
            )
        ).first()
        if set_aside is None:
            row = certificate_row(customer, certificate, now, store.RECEIVED, store.key_of(renewal))
        else:  # another upload took its place, and now it comes again
            row = set_aside
            row.state, row.renewal_id, row.recorded_at = store.RECEIVED, renewal.id, now
        session.add(row)
        _unblock(renewal)
        customer.next_action_at = now
        session.add_all([renewal, customer])
        audit.append(
            session,
            at=now,
            actor=f"instance:{customer.slug}",
            action="certificate_received",
            subject=customer.slug,
            detail={
                "renewal": renewal.id,
                "topic": str(certificate.topic),
                "serial": certificate.serial,
                "fingerprint": certificate.fingerprint,
            },
        )

    def report(self, report: AnyReport) -> None:
        """See ``VendorLink.report``."""
        now = self._clock.now()

        def take(session: Session) -> None:
            customer = store.customer_by_slug(session, self._slug)
            match report:
                case Activation():
                    self._activated(session, customer, report, now)
                case Evidence():
                    conclude(session, customer, report, self._notices, now)
                case Setback():
                    _set_back(session, customer, report, now)
                case CheckWanted(after=after):
                    latest = store.load(session, customer).latest
                    if latest is None or latest.concluded_at == after:
                        order_isolation_check(session, customer, at=now)
                case CanarySeals():
                    canary_seals.keep(session, customer, report)
                case Deployment():
                    deployments.record(session, customer, report, now)

        self._database.carry_out(take)

    def _activated(
        self, session: Session, customer: Customer, report: Activation, now: datetime
    ) -> None:
        record = store.load(session, customer)
        new, renewal, old = record.received, record.renewal, record.active
        if new is None or renewal is None or new.fingerprint != report.fingerprint:
            return  # a repetition: the certificate is active, or another has taken its place
        if old is not None:
            old.state = store.SUPERSEDED
            old.superseded_at = now
            session.add(old)
            session.flush()  # the partial unique index sees one active certificate at a time
        new.state = store.ACTIVE
        new.activated_at = now
        renewal.state = RenewalState.FULFILLED
        renewal.ended_at = now
        _unblock(renewal)
        customer.next_action_at = now
        session.add_all([new, renewal, customer])
        self._notices.fulfilled(session, notices.About(customer, new, renewal), now)
        audit.append(
            session,
            at=now,
            actor=f"instance:{customer.slug}",
            action="certificate_activated",
            subject=customer.slug,
            detail={
                "renewal": renewal.id,
                "serial": new.serial,
                "fingerprint": new.fingerprint,
                "superseded": None if old is None else old.serial,
                "own_push": None if report.own_push is None else report.own_push.status,
            },
        )


def _changes_topic(record: store.CustomerRecord, certificate: PushCertificate) -> bool:
    return record.active is not None and record.active.topic != str(certificate.topic)


def _unannounced(customer: Customer, renewal: Renewal) -> list[Finding]:
    """The one legitimate change of topic is a renewal that was begun for it."""
    if renewal.reason == RenewalReason.APPLE_ACCOUNT_CHANGED:
        return []
    return [
        Finding(
            "topic_change_not_wanted",
            f"The topic of '{customer.slug}' must not change: this renewal ({renewal.reason}) is"
            " not one for another Apple Account.",
            f"If the account is to change on purpose, begin with `pushcert renew {customer.slug}"
            " --reason apple_account_changed --apple-account ADDRESS`.",
        )
    ]


def certificate_row(
    customer: Customer,
    certificate: PushCertificate,
    now: datetime,
    state: str,
    renewal_id: int | None = None,
) -> Certificate:
    """The registry's row for a push certificate; its public part only."""
    return Certificate(
        customer_id=store.key_of(customer),
        renewal_id=renewal_id,
        state=state,
        topic=str(certificate.topic),
        serial=certificate.serial,
        common_name=certificate.common_name,
        issuer=certificate.issuer,
        fingerprint=certificate.fingerprint,
        key_fingerprint=certificate.key_fingerprint,
        not_before=certificate.not_before,
        not_after=certificate.not_after,
        der=certificate.der,
        names_responder=certificate.ocsp_url is not None,
        recorded_at=now,
        activated_at=now if state == store.ACTIVE else None,
    )


def _csr_order(customer: Customer, renewal: Renewal) -> CsrOrder | None:
    if renewal.state != RenewalState.REQUESTED:
        return None
    return CsrOrder(
        renewal_id=store.key_of(renewal), email=customer.email, common_name=customer.name[:64]
    )


def _signed_request(session: Session, record: Situation, renewal: Renewal) -> SignedRequest | None:
    request = None if record.received is not None else request_of(session, renewal)
    if request is None:
        return None
    # With another Apple Account there is nothing to renew: that portal has no such row.
    creates = renewal.reason == RenewalReason.APPLE_ACCOUNT_CHANGED
    active = None if creates else record.active
    return SignedRequest(
        renewal_id=store.key_of(renewal),
        request=request,
        renew_serial=None if active is None else active.serial,
        renew_common_name=None if active is None else active.common_name,
        renew_not_after=None if active is None else active.not_after,
        apple_account=record.customer.apple_account,
    )


def _own_open_renewal(session: Session, customer: Customer, renewal_id: int) -> Renewal:
    renewal = store.open_renewal(session, customer)
    if renewal is None or renewal.id != renewal_id:
        raise refuse(
            "renewal_not_open",
            f"Renewal {renewal_id} of '{customer.slug}' is not open.",
            f"Start one with `pushcert renew {customer.slug}`.",
        )
    return renewal


def _set_back(session: Session, customer: Customer, report: Setback, now: datetime) -> None:
    renewal = store.open_renewal(session, customer)
    if renewal is None or renewal.id != report.renewal_id:
        return
    block(session, renewal, report.code, report.message, now)


def block(session: Session, renewal: Renewal, code: str, message: str, now: datetime) -> None:
    """Marks the renewal as held up; keeps the time at which this cause was first seen."""
    if renewal.blocked_code != code:
        renewal.blocked_at = now
    renewal.blocked_code = code
    renewal.blocked_message = message
    session.add(renewal)


def _unblock(renewal: Renewal) -> None:
    renewal.blocked_code = renewal.blocked_message = renewal.blocked_at = None


__all__ = ["Desk", "block", "certificate_row", "issued_serial"]
