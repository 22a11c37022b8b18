"""Turns the evidence of an isolation check into a stored verdict, and alerts on a breach."""

from __future__ import annotations

from datetime import datetime

from sqlmodel import Session, col, delete, select

from lifecycle.vendor import audit, store
from lifecycle.vendor.facts import Verdict
from lifecycle.vendor.isolation import judge
from lifecycle.vendor.models import Certificate, Customer, IsolationCheck, TokenClaim
from lifecycle.vendor.notices import About, Notices
from lifecycle.wire.messages import Evidence


def conclude(
    session: Session, customer: Customer, evidence: Evidence, notices: Notices, now: datetime
) -> None:
    """Judges an ordered check; does nothing for one that has been judged already.

    The probes show what APNs lets this certificate do; the static check beside them shows
    whether the instance knows a device that another customer's instance knows too.
    """
    check = session.get(IsolationCheck, evidence.check_id)
    if check is None or check.customer_id != customer.id or check.verdict is not None:
        return
    certificate = session.get_one(Certificate, check.certificate_id)
    previous = store.latest_check(session, customer)
    if evidence.fingerprint != certificate.fingerprint:
        verdict, why = Verdict.INCONCLUSIVE, "The instance probed with another certificate."
    else:
        judgement = judge(evidence.answers, evidence.fault, own_topic=certificate.topic)
        verdict, why = judgement.verdict, judgement.why
    shared = _shared_tokens(session, customer, evidence)
    if shared:
        verdict = Verdict.BREACHED
        why = f"{shared[0]} also holds a device token of {customer.slug}."
    check.verdict = verdict
    check.why = why
    check.concluded_at = now
    check.answers = [answer.model_dump(mode="json") for answer in evidence.answers]
    customer.next_action_at = now
    session.add_all([check, customer])
    if previous is None or previous.verdict != verdict:
        audit.append(
            session,
            at=now,
            actor=f"instance:{customer.slug}",
            action=f"isolation_{verdict}",
            subject=customer.slug,
            detail={"check": check.id, "why": why},
        )
    newly = previous is None or previous.verdict != Verdict.BREACHED
    if verdict is Verdict.BREACHED and newly:
        notices.breach(session, About(customer, certificate), check, now)


def _shared_tokens(session: Session, customer: Customer, evidence: Evidence) -> list[str]:
    """Slugs of other customers that know one of these device tokens (by fingerprint)."""
    session.exec(delete(TokenClaim).where(col(TokenClaim.customer_id) == customer.id))
    own = store.key_of(customer)
    for fingerprint in set(evidence.token_fingerprints):
        session.add(TokenClaim(fingerprint=fingerprint, customer_id=own))
    session.flush()
    mine = select(TokenClaim.fingerprint).where(TokenClaim.customer_id == own)
    others = session.exec(
        select(Customer.slug)
        .join(TokenClaim)
        .where(col(TokenClaim.fingerprint).in_(mine), TokenClaim.customer_id != own)
        .order_by(Customer.slug)
        .distinct()
    )
    return list(others)
